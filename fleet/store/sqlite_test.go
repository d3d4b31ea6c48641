package store_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gabion-dev/gabion/event"
	"github.com/gabion-dev/gabion/fleet/store"
	"github.com/gabion-dev/gabion/internal/testkit"
)

const childPath = "GABION_TEST_STORE_CHILD"

// childAppender turns this test binary into a program that prints the ids that
// Append returned for until it is killed.
func childAppender() {
	path := os.Getenv(childPath)
	if path == "" {
		return
	}
	s, err := store.Open(context.Background(), store.Config{Path: path})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	for n := 0; ; n++ {
		batch := samples(1 + n%40)
		for i := range batch {
			batch[i].ID = fmt.Sprintf("%d-%d-%d", os.Getpid(), n, i)
		}
		if _, err := s.Append(context.Background(), batch); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		for _, e := range batch {
			fmt.Println(e.ID)
		}
	}
}

func TestDurableOnReturnSurvivesKill(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events.db")
	var acked []string
	for range 4 {
		cmd := exec.Command(os.Args[0], "-test.run=^$")
		cmd.Env = append(os.Environ(), childPath+"="+path)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for kill, n := 50+rand.IntN(1500), 0; lines.Scan(); n++ {
			acked = append(acked, lines.Text())
			if n == kill {
				_ = cmd.Process.Kill()
			}
		}
		if err := cmd.Wait(); err == nil {
			t.Fatal("the child ended by itself")
		}
	}
	s := open(t, path)
	for _, id := range acked {
		if _, err := s.Event(t.Context(), id); err != nil {
			t.Fatalf("acknowledged but not there: %v", err)
		}
	}
	if r := s.Recovered(); len(r) != 0 {
		t.Errorf("a kill was taken for damage: %v", r)
	}
	t.Logf("%d acknowledged over 4 kills", len(acked))
}

func TestReopenKeepsSequenceAndKinds(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events.db")
	s := open(t, path)
	appendAll(t, s, samples(10)...)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Append(t.Context(), samples(1)); !errors.Is(err, store.ErrClosed) {
		t.Errorf("Append after Close: %v", err)
	}
	s = open(t, path)
	if p := query(t, s, store.Query{Kinds: []event.Kind{"process"}}); len(p.Events) != 3 {
		t.Errorf("%d events by kind after reopening", len(p.Events))
	}
	if e := appendAll(t, s, sample(10))[0]; e.Seq != 11 {
		t.Errorf("seq %d after reopening, want 11", e.Seq)
	}
	if st, _ := os.Stat(path); st.Mode().Perm() != 0o600 {
		t.Errorf("file mode %v", st.Mode())
	}
}

func TestDamagedFileIsSetAside(t *testing.T) {
	cases := []struct {
		name  string
		spoil func(t *testing.T, path string)
	}{
		{"no database at all", func(t *testing.T, path string) {
			write(t, path, 0, []byte(strings.Repeat("this is not a database. ", 400)))
		}},
		{"header overwritten", func(t *testing.T, path string) { write(t, path, 0, make([]byte, 100)) }},
		{"pages overwritten", func(t *testing.T, path string) {
			write(t, path, 4096, []byte(strings.Repeat("\xff", 40960)))
		}},
		{"cut short", func(t *testing.T, path string) {
			st, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Truncate(path, st.Size()/2/4096*4096); err != nil {
				t.Fatal(err)
			}
		}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "events.db")
			s := open(t, path)
			appendAll(t, s, samples(500)...)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			c.spoil(t, path)
			var told []store.Recovered
			s, err := store.Open(t.Context(), store.Config{Path: path, OnRecovered: func(r store.Recovered) { told = append(told, r) }})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			r := s.Recovered()
			if len(r) != 1 || len(told) != 1 || r[0].Cause == "" || !strings.Contains(r[0].String(), r[0].Aside) {
				t.Fatalf("recovered %+v, told %+v", r, told)
			}
			if _, err := os.Stat(r[0].Aside); err != nil {
				t.Errorf("the damaged file is gone: %v", err)
			}
			appendAll(t, s, samples(10)...)
			if st, _ := s.Stats(t.Context()); st.Events != 10 {
				t.Errorf("%d events in the fresh file", st.Events)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if again := open(t, path); len(again.Recovered()) != 0 {
				t.Error("the fresh file was taken for damaged")
			}
		})
	}
}

func write(t *testing.T, path string, at int64, data []byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(data, at); err != nil {
		t.Fatal(err)
	}
}

// TestDamageMetWhileRunning spoils the file under an open store.
func TestDamageMetWhileRunning(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events.db")
	s := open(t, path)
	appendAll(t, s, samples(3000)...)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, path)
	st, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	write(t, path, 8192, []byte(strings.Repeat("\xff", int(st.Size())-8192)))
	var wg sync.WaitGroup
	for i := range 4 { // whoever meets it first, everyone goes on
		wg.Go(func() {
			e := sample(5000 + i)
			if _, err := s.Append(context.Background(), []event.Event{e}); err != nil {
				t.Errorf("append over damage: %v", err)
			}
			if _, err := s.Events(context.Background(), store.Query{Text: "nothing"}); err != nil {
				t.Errorf("query over damage: %v", err)
			}
		})
	}
	wg.Wait()
	if n := len(s.Recovered()); n != 1 {
		t.Errorf("set aside %d times", n)
	}
}

func TestNewerFileIsRefusedAndKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events.db")
	s := open(t, path)
	appendAll(t, s, samples(3)...)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	write(t, path, 60, []byte{0, 0, 0, 99}) // user_version in the header
	_, err := store.Open(t.Context(), store.Config{Path: path})
	if err == nil || !strings.Contains(err.Error(), "version 99") {
		t.Fatalf("Open gave %v", err)
	}
	if left, _ := filepath.Glob(path + ".damaged*"); len(left) != 0 {
		t.Errorf("a newer file was set aside: %v", left)
	}
}

func TestPruneGivesRoomBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events.db")
	s := open(t, path)
	for i := range 10 {
		batch := samples(1000)
		for j := range batch {
			batch[j].ID = fmt.Sprint(i, j)
		}
		appendAll(t, s, batch...)
	}
	before, err := s.Stats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Prune(t.Context(), store.Retention{MaxBytes: 1 << 20}); err != nil {
		t.Fatal(err)
	}
	after, err := s.Stats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if st, _ := os.Stat(path); st.Size() > 1<<20 || after.Bytes > 1<<20+1<<16 {
		t.Errorf("file has %d bytes (with log %d, before %d), bound %d", st.Size(), after.Bytes, before.Bytes, 1<<20)
	}
}

func TestFullDiskIsSaidAndPasses(t *testing.T) {
	testkit.RequireRoot(t)
	dir := t.TempDir()
	if err := unix.Mount("gabiontest", dir, "tmpfs", 0, "size=8m"); err != nil {
		testkit.Require(t, "tmpfs", false, err.Error())
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	s := open(t, filepath.Join(dir, "events.db"))
	stored, refused := 0, false
	for n := 0; n < 200 && !refused; n++ {
		batch := samples(200)
		for i := range batch {
			batch[i].ID = fmt.Sprint(n, "-", i)
		}
		_, err := s.Append(t.Context(), batch)
		switch {
		case err == nil:
			stored += len(batch)
		case errors.Is(err, store.ErrFull):
			refused = true
		default:
			t.Fatalf("append on a full disk: %v, want ErrFull", err)
		}
	}
	if !refused || stored == 0 {
		t.Fatalf("stored %d, refused %v", stored, refused)
	}
	if p := query(t, s, store.Query{Limit: 10}); len(p.Events) != 10 {
		t.Errorf("reading stopped on a full disk")
	}
	if err := unix.Mount("gabiontest", dir, "tmpfs", unix.MS_REMOUNT, "size=32m"); err != nil {
		t.Fatal(err)
	}
	appendAll(t, s, sample(0))
	if st, err := s.Stats(t.Context()); err != nil || st.Events != int64(stored+1) {
		t.Errorf("%d events, %v; want %d", st.Events, err, stored+1)
	}
	if len(s.Recovered()) != 0 {
		t.Error("a full disk was taken for damage")
	}
}

func TestManyWritersAndReaders(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "events.db"))
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 20 {
				batch := samples(20)
				for j := range batch {
					batch[j].ID = fmt.Sprint(w, i, j)
				}
				if _, err := s.Append(context.Background(), batch); err != nil {
					t.Error(err)
				}
			}
		})
		wg.Go(func() {
			for i := range 20 {
				if _, err := s.Events(context.Background(), store.Query{Kinds: []event.Kind{"process"}}); err != nil {
					t.Error(err)
				}
				if err := s.Put(context.Background(), "k", fmt.Sprint(w, i), []byte("x")); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	seen := map[uint64]bool{}
	after := uint64(0)
	for {
		p := query(t, s, store.Query{AfterSeq: &after, Limit: 1000})
		if len(p.Events) == 0 {
			break
		}
		for _, e := range p.Events {
			if seen[e.Seq] || e.Seq <= after {
				t.Fatalf("seq %d twice or out of order", e.Seq)
			}
			seen[e.Seq], after = true, e.Seq
		}
	}
	if len(seen) != 1600 {
		t.Errorf("%d events", len(seen))
	}
}
