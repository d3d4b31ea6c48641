package scan_test

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gabion-dev/gabion/internal/testkit"
	"github.com/gabion-dev/gabion/scan"
	"github.com/gabion-dev/gabion/scan/engine"
	"github.com/gabion-dev/gabion/scan/image"
	"github.com/gabion-dev/gabion/scan/walk"
)

const dpkgDatabase = "var/lib/dpkg/status"

// statusOf finds the database of dpkg in an image: that of the highest layer
// that has one, or of the directory.
func statusOf(t testing.TB, ref string) []byte {
	t.Helper()
	img, err := image.Open(t.Context(), ref, image.Options{TempDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer img.Close()
	var status []byte
	take := walk.VisitorFunc(func(e *walk.Entry, r io.Reader) (err error) {
		if e.Path == dpkgDatabase && r != nil {
			status, err = io.ReadAll(r)
		}
		return err
	})
	if img.Kind == scan.Directory {
		if _, err := walk.Dir(t.Context(), img.Root, walk.Limits{}, take); err != nil {
			t.Fatal(err)
		}
		return status
	}
	for n, l := range img.Layers {
		blob, err := img.Blob(t.Context(), n)
		if err != nil {
			t.Fatal(err)
		}
		_, err = walk.Layer(t.Context(), blob, walk.Want{Digest: l.Digest, DiffID: l.DiffID}, walk.Limits{}, take)
		_ = blob.Close()
		if err != nil {
			t.Fatal(err)
		}
	}
	return status
}

// sameAsDpkg compares the packages of a scan with what dpkg itself reads.
func sameAsDpkg(t *testing.T, ref string) {
	t.Helper()
	_, err := exec.LookPath("dpkg-query")
	testkit.Require(t, "dpkg", err == nil, "dpkg-query is not installed")
	status := statusOf(t, ref)
	if len(status) == 0 {
		t.Fatalf("%s has no %s", ref, dpkgDatabase)
	}
	admin := t.TempDir()
	if err := os.WriteFile(filepath.Join(admin, "status"), status, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(admin, "info"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(admin, "available"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("dpkg-query", "--admindir="+admin, "-W", "-f=${db:Status-Status} ${binary:Package} ${Version} ${Architecture} ${source:Package} ${source:Version}\n")
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("dpkg-query: %v: %s", err, complaints.String())
	}
	var want, got []string
	for line := range strings.Lines(string(out)) {
		f := strings.Fields(line)
		if f[0] == "not-installed" || f[0] == "config-files" {
			continue
		}
		f[1], _, _ = strings.Cut(f[1], ":")
		want = append(want, strings.Join(f[1:], " "))
	}
	r := scanRef(t, ref, engine.Options{})
	for _, p := range r.Packages {
		if p.Found != "dpkg" {
			continue
		}
		source, version := p.Source, p.SourceVersion
		if source == "" {
			source = p.Name
		}
		if version == "" {
			version = p.Version
		}
		got = append(got, strings.Join([]string{p.Name, p.Version, p.Arch, source, version}, " "))
	}
	slices.Sort(want)
	slices.Sort(got)
	if d := cmp.Diff(want, got); d != "" || len(want) == 0 {
		t.Errorf("%d packages by dpkg-query, %d by the scan:\n%s", len(want), len(got), d)
	}
	t.Logf("%d packages of dpkg, the same by both", len(got))
}

// TestThisMachine compares with dpkg on the database of the machine the test
// runs on, which has states that no image has, and on the image that
// GABION_SCAN_IMAGE names besides.
func TestThisMachine(t *testing.T) {
	status, err := os.ReadFile("/" + dpkgDatabase)
	testkit.Require(t, "dpkg", err == nil, "this machine has no database of dpkg")
	odd := "\nPackage: removed\nStatus: deinstall ok config-files\nArchitecture: amd64\nVersion: 1.0\nMaintainer: x <x@example.org>\nDescription: x\n" +
		"\nPackage: half\nStatus: install reinstreq half-installed\nArchitecture: amd64\nVersion: 1.0\nMaintainer: x <x@example.org>\nDescription: x\n" +
		"\nPackage: held\nStatus: hold ok unpacked\nArchitecture: amd64\nSource: other (2:3)\nVersion: 1.0\nMaintainer: x <x@example.org>\nDescription: x\n"
	ref := archiveOf(t, imageOf(t, layerOf(t, osRelease("debian", "12", ""), file(dpkgDatabase, strings.TrimRight(string(status), "\n")+"\n"+odd))))
	for _, image := range []string{ref, os.Getenv("GABION_SCAN_IMAGE")} {
		if image != "" {
			sameAsDpkg(t, image)
		}
	}
}
