package image

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/gabion-dev/gabion/internal/testkit"
	"github.com/gabion-dev/gabion/scan"
	"github.com/gabion-dev/gabion/scan/walk"
)

// upperOf lists what a walk of a container's writable layer shows.
func upperOf(t *testing.T, img *Image) []string {
	t.Helper()
	var list []string
	if _, err := walk.Dir(context.Background(), img.Upper(), walk.Limits{}, walk.VisitorFunc(func(e *walk.Entry, _ io.Reader) error {
		list = append(list, e.Type.String()+" "+e.Path)
		return nil
	})); err != nil {
		t.Fatal(err)
	}
	return list
}

// change is what the containers of these tests do before they wait.
const change = "echo x > /root/new; rm /etc/group; rm -r /tmp; mkdir /tmp; echo y > /tmp/y; echo done; sleep 100000"

// changed checks what change leaves in a container's writable layer.
func changed(t *testing.T, img *Image) {
	t.Helper()
	testkit.Eventually(t, "the container has changed its files", func() bool {
		_, err := os.Stat(filepath.Join(img.Upper(), "tmp/y"))
		return err == nil
	})
	got := upperOf(t, img)
	for _, want := range []string{"regular root/new", "whiteout etc/group", "opaque tmp", "regular tmp/y"} {
		if !slices.Contains(got, want) {
			t.Errorf("writable layer of %s has no %q: %v", img.Name, want, got)
		}
	}
	last := img.Layers[len(img.Layers)-1]
	if img.Kind != scan.Container || last.MediaType != UpperMediaType || len(img.Gaps) != 0 {
		t.Errorf("%s: %s, last layer %+v, gaps %v", img.Name, img.Kind, last, img.Gaps)
	}
	if _, err := img.Blob(context.Background(), len(img.Layers)-1); !errors.Is(err, ErrUnsupported) {
		t.Errorf("the writable layer is a blob: %v", err)
	}
}

func TestDocker(t *testing.T) {
	d := testkit.StartDockerd(t)
	o := Options{DockerSocket: d.Socket, ContainerdSocket: d.ContainerdSocket, TempDir: t.TempDir()}
	img := open(t, "docker:"+testkit.BusyboxImage, o)
	if left, err := os.ReadDir(o.TempDir); err != nil || len(left) != 0 || img.Kind != scan.Daemon || len(img.Layers) != 1 {
		t.Errorf("opened: %s %+v, spooled %v", img.Kind, img.Layers, left)
	}
	want := entries(t, img)
	if !slices.ContainsFunc(want[0], func(s string) bool { return strings.HasPrefix(s, "regular bin/busybox ") }) {
		t.Errorf("entries: %v", want[0][:min(5, len(want[0]))])
	}
	if !slices.Equal(img.Config.Cmd, []string{"sleep", "100000"}) || !slices.Equal(img.Config.Env, []string{"PATH=/bin"}) {
		t.Errorf("configuration: %+v", img.Config)
	}

	// The archive that docker save writes holds the same.
	raw, err := d.Do("GET", "/images/"+testkit.BusyboxImage+"/get", nil)
	if err != nil {
		t.Fatal(err)
	}
	saved := open(t, writeFile(t, "saved.tar", raw), o)
	if saved.Kind != scan.DockerArchive || saved.ConfigID != img.ConfigID || !same(saved.Image, img.Image) || !slices.Equal(entries(t, saved)[0], want[0]) {
		t.Errorf("docker save: %+v, the daemon: %+v", saved.Image, img.Image)
	}
	if !slices.ContainsFunc(saved.Tags, func(s string) bool { return strings.HasSuffix(s, "gabiontest/busybox:1") }) {
		t.Errorf("tags: %v", saved.Tags)
	}

	d.Run(t, "changed", nil, "sh", "-c", change)
	c := open(t, "container:changed", o)
	changed(t, c)
	if !slices.Equal(entries(t, c)[0], want[0]) {
		t.Error("the container's image has other entries")
	}

	for _, ref := range []string{"docker:nothing/here:1", "container:nothing"} {
		if _, err := Open(context.Background(), ref, o); !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: %v", ref, err)
		}
	}
	o.Platform = "linux/s390x"
	if _, err := Open(context.Background(), "docker:"+testkit.BusyboxImage, o); !errors.Is(err, ErrPlatform) {
		t.Errorf("another platform: %v", err)
	}
}

func TestContainerd(t *testing.T) {
	c := testkit.StartContainerd(t, "k8s.io")
	o := Options{ContainerdSocket: c.Socket, DockerSocket: "/nothing.sock"}
	img := open(t, "containerd:"+testkit.BusyboxImage, o)
	if img.Kind != scan.Daemon || len(img.Layers) != 1 || img.Digest == "" || img.ConfigID == "" {
		t.Errorf("opened: %+v", img.Image)
	}
	want := entries(t, img)
	if short := open(t, "containerd:gabiontest/busybox:1", o); short.Digest != img.Digest {
		t.Errorf("by its short name: %+v", short.Image)
	}

	c.Ctr(t, "-n", "k8s.io", "run", "-d", testkit.BusyboxImage, "changed-0123456789", "/bin/sh", "-c", change)
	for _, id := range []string{"changed-0123456789", "changed-0"} {
		got := open(t, "container:"+id, o)
		changed(t, got)
		if !slices.Equal(entries(t, got)[0], want[0]) {
			t.Error("the container's image has other entries")
		}
	}

	for _, ref := range []string{"containerd:nothing/here:1", "container:nothing"} {
		if _, err := Open(context.Background(), ref, o); !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: %v", ref, err)
		}
	}
	// What containerd throws away is told when it is wanted.
	c.Ctr(t, "-n", "k8s.io", "content", "rm", img.Layers[0].Digest)
	lost := open(t, "containerd:"+testkit.BusyboxImage, o)
	if _, err := lost.Blob(context.Background(), 0); !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "discard_unpacked_layers") {
		t.Errorf("a layer that is gone: %v", err)
	}
}

// TestUnreachableUpper: a container whose files cannot be reached is scanned by
// its image, and that is said.
func TestUnreachableUpper(t *testing.T) {
	for _, dir := range []string{"", "/nothing/there"} {
		img := &Image{}
		img.addUpper("abc", dir, nil)
		if len(img.Gaps) != 1 || img.Gaps[0].Minor || img.Upper() != "" || len(img.Layers) != 0 {
			t.Errorf("%q: %+v", dir, img)
		}
	}
}

// TestSkopeo opens what another tool wrote.
func TestSkopeo(t *testing.T) {
	_, err := exec.LookPath("skopeo")
	testkit.Require(t, "skopeo", err == nil, "install skopeo")
	dir := writeLayout(t, testImage(t, "amd64"))
	want := open(t, dir, Options{})
	for _, format := range []string{"docker-archive", "oci-archive", "oci"} {
		out := filepath.Join(t.TempDir(), "out")
		cmd := exec.Command("skopeo", "--insecure-policy", "copy", "--override-arch", "amd64", "oci:"+dir, format+":"+out+":example.com/app:1")
		if b, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("skopeo to %s: %v: %s", format, err, b)
		}
		got := open(t, out, Options{})
		if !same(got.Image, want.Image) || !slices.EqualFunc(entries(t, got), entries(t, want), slices.Equal[[]string]) {
			t.Errorf("%s: %+v", format, got.Image)
		}
	}
}

// TestHistoryOfDocker: Docker does not say which steps made no layer.
func TestHistoryOfDocker(t *testing.T) {
	steps := []dockerStep{{CreatedBy: "CMD"}, {CreatedBy: "RUN", Size: 5}, {CreatedBy: "ADD", Size: 7, Created: 1700000000}}
	got := history(steps, 2)
	if got[0].CreatedBy != "ADD" || got[0].EmptyLayer || got[2].CreatedBy != "CMD" || !got[2].EmptyLayer || got[0].Created.Year() != 2023 {
		t.Errorf("%+v", got)
	}
	// Three layers, two of a size: which was empty is unknown, and none is guessed.
	img := scan.Image{}
	config := &v1.ConfigFile{History: history(steps, 3), RootFS: v1.RootFS{DiffIDs: make([]v1.Hash, 3)}}
	config.History = append(config.History, v1.History{CreatedBy: "more"})
	if err := fill(&img, config, make([]scan.Layer, 3), Options{}.filled()); err != nil {
		t.Fatal(err)
	}
	for _, l := range img.Layers {
		if l.Command != "" {
			t.Errorf("layer has the command %q", l.Command)
		}
	}
}
