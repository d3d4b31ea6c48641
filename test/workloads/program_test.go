package workloads

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/gabion-dev/gabion/internal/minicontainer"
)

// The test binary is a static Go program too: a server and its probe.
func TestMain(m *testing.M) {
	minicontainer.Init()
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case serveArg:
			os.Exit(serve())
		case probeArg:
			os.Exit(probe(os.Args[2]))
		}
	}
	os.Exit(m.Run())
}

func serve() int {
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, www) })
	fmt.Fprintln(os.Stderr, http.ListenAndServe("127.0.0.1:8080", nil))
	return 1
}

func probe(url string) int {
	client := http.Client{Timeout: 5 * time.Second}
	res, err := client.Get(url)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer res.Body.Close()
	_, _ = io.Copy(os.Stdout, res.Body)
	if res.StatusCode != http.StatusOK {
		return 1
	}
	return 0
}
