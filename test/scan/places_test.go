package scan_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/gabion-dev/gabion/internal/testkit"
	"github.com/gabion-dev/gabion/scan/engine"
	"github.com/gabion-dev/gabion/scan/sbom"
)

// entriesOf reads a directory as entries of a layer.
func entriesOf(t testing.TB, root string) (out []entry) {
	t.Helper()
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == root {
			return err
		}
		rel, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		fi, err := d.Info()
		switch {
		case err != nil:
			return err
		case fi.IsDir():
			out = append(out, folder(rel))
		case fi.Mode()&fs.ModeSymlink != 0:
			to, err := os.Readlink(p)
			out = append(out, symlink(rel, to))
			return err
		case fi.Mode().IsRegular():
			b, err := os.ReadFile(p)
			out = append(out, entry{path: rel, text: string(b), mode: int64(fi.Mode().Perm())})
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// goProgram builds a program with the toolchain at hand.
func goProgram(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"go.mod": "module example.org/shop\n\ngo 1.24\n", "main.go": "package main\n\nfunc main() { println(\"shop\") }\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("go", "build", "-o", "shop", ".")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-buildvcs=false", "GOOS=linux")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	b, err := os.ReadFile(filepath.Join(dir, "shop"))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// shop is a small image with one of everything: busybox that runs, Debian's
// database, packages of languages in two layers, and a third that removes and
// replaces. Its layers go through links of their own and of those below.
func shop(t testing.TB) v1.Image {
	t.Helper()
	system := append(entriesOf(t, testkit.BusyboxRoot(t)), osRelease("debian", "12", "VERSION_CODENAME=bookworm\n"),
		dpkgStatus(software{name: "libssl3", source: "openssl", version: "3.0.9-1", vendor: "Debian OpenSSL Team <x@lists.debian.org>"},
			software{name: "nodejs", version: "18.19.0-1nodesource1", vendor: "Packagers <packages@nodesource.com>"}),
		file("var/lib/dpkg/info/nodejs.list", "/.\n/usr/lib/node_modules/npm/package.json\n"),
		file("usr/lib/node_modules/npm/package.json", `{"name":"npm","version":"10.2.3","license":"Artistic-2.0"}`),
		symlink("lib64", "usr/lib"), file("lib64/node_modules/corepack/package.json", `{"name":"corepack","version":"0.22.0"}`))
	languages := []entry{
		file("app/node_modules/lodash/package.json", `{"name":"lodash","version":"4.17.20","license":"MIT"}`),
		file("app/node_modules/@scope/gone/package.json", `{"name":"@scope/gone","version":"1.0.0"}`),
		file("usr/local/lib/python3.11/site-packages/flask-3.0.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: flask\nVersion: 3.0.0\nLicense: BSD-3-Clause\n\n"),
		file("usr/lib/ruby/gems/3.1.0/specifications/rack-2.2.7.gemspec", "Gem::Specification.new do |s|\n  s.name = \"rack\".freeze\n  s.version = \"2.2.7\"\nend\n"),
		file("app/Cargo.lock", "version = 3\n\n[[package]]\nname = \"time\"\nversion = \"0.1.42\"\nsource = \"registry+https://github.com/rust-lang/crates.io-index\"\n"),
		jar(t, "app/lib/log4j-core-2.14.1.jar", "org.apache.logging.log4j", "log4j-core", "2.14.1"),
		file("app/boot.jar", string(zipOf(t, file("BOOT-INF/lib/spring-beans-5.2.19.RELEASE.jar", jar(t, "", "org.springframework", "spring-beans", "5.2.19.RELEASE").text)))),
		program("app/shop", goProgram(t)), hardlink("app/same-shop", "app/shop"),
		program("opt/redis/redis-server", "\x7fELF"+strings.Repeat("\x00", 64)+"x"),
	}
	changes := []entry{
		file("app/node_modules/@scope/.wh.gone", ""),
		folder("app"), file("app/node_modules/lodash/package.json", `{"name":"lodash","version":"4.17.21","license":"MIT"}`),
		// A link of a layer below is not followed, it makes room.
		file("lib64/node_modules/late/package.json", `{"name":"late","version":"1.0.0"}`),
	}
	return imageOf(t, layerOf(t, system...), layerOf(t, languages...), layerOf(t, changes...))
}

var shopPackages = []string{
	"Debian:12|libssl3|3.0.9-1|openssl|3.0.9-1|/var/lib/dpkg/status",
	"Go|stdlib|",
	"Maven|org.apache.logging.log4j:log4j-core|2.14.1|||/app/lib/log4j-core-2.14.1.jar",
	"Maven|org.springframework:spring-beans|5.2.19.RELEASE|||/app/boot.jar!/BOOT-INF/lib/spring-beans-5.2.19.RELEASE.jar",
	"PyPI|flask|3.0.0|", "RubyGems|rack|2.2.7|", "crates.io|time|0.1.42|",
	"npm|corepack|0.22.0|||/usr/lib/node_modules/corepack/package.json",
	"npm|late|1.0.0|||/lib64/node_modules/late/package.json",
	"npm|lodash|4.17.21|", "npm|npm|10.2.3|",
}

func shopDatabase(t testing.TB) engine.Options {
	t.Helper()
	return engine.Options{Tool: "gabion test", DB: databaseOf(t,
		document{"debian", `{"openssl":{"CVE-2023-5363":{"releases":{"bookworm":{"status":"resolved","fixed_version":"3.0.11-1~deb12u2","urgency":"high"}}}}}`},
		osvOf("PYSEC-1", "CVE-2024-1", "PyPI", "other", "1"), osvOf("RUBYSEC-1", "CVE-2024-2", "RubyGems", "other", "1"), osvOf("GO-2024-1", "CVE-2024-3", "Go", "stdlib", "1.0.0"),
		osvOf("GHSA-2222-3333-4444", "CVE-2024-4", "npm", "other", "1.0.0"), osvOf("BIT-x-1", "CVE-2024-5", "Bitnami", "busybox", "1.0.0"),
		osvOf("GHSA-jfh8-c2jp-5v3q", "CVE-2021-44228", "Maven", "org.apache.logging.log4j:log4j-core", "2.15.0"),
		osvOf("RUSTSEC-2020-0071", "CVE-2020-26235", "crates.io", "time", "0.2.23"))}
}

// unpack lays a tar onto a directory, as one who exports a container would.
func unpack(t testing.TB, r io.Reader) string {
	t.Helper()
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return dir
		}
		if err != nil {
			t.Fatal(err)
		}
		p := strings.TrimSuffix(h.Name, "/")
		if err := root.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		switch h.Typeflag {
		case tar.TypeDir:
			err = root.MkdirAll(p, 0o755)
		case tar.TypeSymlink:
			err = root.Symlink(h.Linkname, p)
		case tar.TypeLink:
			err = root.Link(h.Linkname, p)
		case tar.TypeReg:
			var b []byte
			if b, err = io.ReadAll(tr); err == nil {
				err = root.WriteFile(p, b, fs.FileMode(h.Mode).Perm())
			}
		}
		if err != nil {
			t.Fatalf("%s: %v", h.Name, err)
		}
	}
}

// TestSameEverywhere: what is found depends on the content, not on where it lies.
func TestSameEverywhere(t *testing.T) {
	img := shop(t)
	o := shopDatabase(t)
	archive := archiveOf(t, img)
	want := scanRef(t, archive, o)
	for _, line := range shopPackages {
		if !slices.ContainsFunc(packages(want), func(s string) bool { return strings.HasPrefix(s, line) }) {
			t.Errorf("%q is missing of\n%s", line, strings.Join(packages(want), "\n"))
		}
	}
	if got := found(want); len(got) != 3 || want.Incomplete() {
		t.Errorf("findings %q\n%s", got, gapsOf(want))
	}
	for _, p := range want.Packages {
		if strings.Contains(p.Name, "gone") {
			t.Errorf("%s was removed", p.Name)
		}
	}
	same := func(t *testing.T, ref string, o engine.Options) {
		t.Helper()
		got := scanRef(t, ref, o)
		if d := cmp.Diff(packages(want), packages(got)); d != "" {
			t.Errorf("packages of %s:\n%s", ref, d)
		}
		if d := cmp.Diff(found(want), found(got)); d != "" || got.Incomplete() {
			t.Errorf("findings of %s:\n%s\n%s", ref, d, gapsOf(got))
		}
	}

	dir := filepath.Join(t.TempDir(), "layout")
	t.Run("layout", func(t *testing.T) {
		l, err := layout.Write(dir, empty.Index)
		if err != nil {
			t.Fatal(err)
		}
		if err := l.AppendImage(img); err != nil {
			t.Fatal(err)
		}
		same(t, "oci:"+dir, o)
	})
	t.Run("layout in an archive", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "oci.tar")
		if err := os.WriteFile(path, tarOf(t, entriesOf(t, dir)...), 0o600); err != nil {
			t.Fatal(err)
		}
		same(t, "tar:"+path, o)
	})
	push := func(t *testing.T, host string) {
		t.Helper()
		ref, err := name.ParseReference(host + "/shop/web:1")
		if err != nil {
			t.Fatal(err)
		}
		if err := remote.Write(ref, img); err != nil {
			t.Fatal(err)
		}
		o := o
		o.Image.PlainHTTP = true
		same(t, "registry:"+ref.Name(), o)
	}
	t.Run("registry", func(t *testing.T) {
		s := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
		defer s.Close()
		push(t, s.Listener.Addr().String())
	})
	t.Run("docker-registry", func(t *testing.T) { push(t, testkit.StartRegistry(t, "").Host) })
	t.Run("bills of materials", func(t *testing.T) {
		for _, format := range []sbom.Format{"cyclonedx-json", "spdx-json", "spdx-tag-value"} {
			path := filepath.Join(t.TempDir(), string(format))
			var b bytes.Buffer
			if err := sbom.Write(&b, format, want); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
				t.Fatal(err)
			}
			same(t, "sbom:"+path, o)
		}
	})
	t.Run("docker", func(t *testing.T) {
		d := testkit.StartDockerd(t)
		f, err := os.Open(archive)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := d.Do(http.MethodPost, "/images/load", f); err != nil {
			t.Fatal(err)
		}
		o := o
		o.Image.DockerSocket, o.Image.ContainerdSocket = d.Socket, d.ContainerdSocket
		same(t, "docker:"+tagName, o)
		saved, err := d.Do(http.MethodGet, "/images/"+tagName+"/get", nil)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "saved.tar")
		if err := os.WriteFile(path, saved, 0o600); err != nil {
			t.Fatal(err)
		}
		same(t, "tar:"+path, o)
		if _, err := d.Do(http.MethodPost, "/containers/create?name=shop", map[string]any{"Image": tagName, "HostConfig": map[string]any{"NetworkMode": "none"}}); err != nil {
			t.Fatal(err)
		}
		if _, err := d.Do(http.MethodPost, "/containers/shop/start", nil); err != nil {
			t.Fatal(err)
		}
		same(t, "container:shop", o)
		// What Docker makes of the layers is the truth about them.
		exported, err := d.Do(http.MethodGet, "/containers/shop/export", nil)
		if err != nil {
			t.Fatal(err)
		}
		same(t, "dir:"+unpack(t, bytes.NewReader(exported)), o)
	})
	t.Run("containerd", func(t *testing.T) {
		c := testkit.StartContainerd(t)
		c.Ctr(t, "images", "import", archive)
		o := o
		o.Image.ContainerdSocket, o.Image.DockerSocket = c.Socket, filepath.Join(t.TempDir(), "none.sock")
		same(t, "containerd:"+tagName, o)
		c.Ctr(t, "run", "-d", tagName, "shop-1", "/bin/busybox", "sleep", "100000")
		same(t, "container:shop-1", o)
		mounted := t.TempDir()
		c.Ctr(t, "images", "mount", tagName, mounted)
		defer c.Ctr(t, "images", "unmount", mounted)
		same(t, "dir:"+mounted, o)
	})
}
