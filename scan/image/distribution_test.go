package image

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/gabion-dev/gabion/internal/testkit"
)

// TestDistribution opens an image out of the registry that most are made of.
func TestDistribution(t *testing.T) {
	path, err := exec.LookPath("docker-registry")
	testkit.Require(t, "docker-registry", err == nil, "install docker-registry")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	config := writeFile(t, "config.yml", fmt.Appendf(nil, "version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: %q}}\nhttp: {addr: %q}\n", t.TempDir(), addr))
	cmd := exec.Command(path, "serve", config)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Env = append(os.Environ(), "OTEL_TRACES_EXPORTER=none")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
	})
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	testkit.Eventually(t, "the registry answers", func() bool {
		resp, err := client.Get("http://" + addr + "/v2/")
		if err != nil {
			return false
		}
		_ = resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
	img := testImage(t, "amd64")
	push(t, addr+"/team/app:1", img)
	got := open(t, addr+"/team/app:1", Options{})
	want := open(t, writeLayout(t, img), Options{})
	if got.Digest != want.Digest || !same(got.Image, want.Image) || fmt.Sprint(entries(t, got)) != fmt.Sprint(entries(t, want)) {
		t.Errorf("%+v", got.Image)
	}
	// It knows ranges: a transfer can go on in the middle.
	d := mustDigest(t, got.Layers[1].Digest)
	b, err := got.repo.from(t.Context(), got.repo.at, d, 10)
	if err != nil {
		t.Fatal(err)
	}
	rest, err := readSmall(b, 1<<20, "layer")
	_ = b.Close()
	if err != nil || int64(len(rest)) != got.Layers[1].Size-10 {
		t.Errorf("from byte 10 on: %d bytes of %d, %v", len(rest), got.Layers[1].Size, err)
	}
}
