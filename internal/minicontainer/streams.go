package minicontainer

import (
	"fmt"
	"io"
	"os"
	"reflect"
	"sync"
	"time"
)

// streams carries standard input and output between the caller's readers and
// writers and a process. Files are passed as they are.
type streams struct {
	in, out, err *os.File // the process's ends
	own          []*os.File
	readers      []*os.File // our ends of its output
	writer       *os.File   // our end of its input
	copying      sync.WaitGroup
}

func newStreams(stdin io.Reader, stdout, stderr io.Writer) (*streams, error) {
	s := &streams{}
	var err error
	if s.in, err = s.input(stdin); err != nil {
		s.abort()
		return nil, err
	}
	if s.out, err = s.output(stdout); err != nil {
		s.abort()
		return nil, err
	}
	if stderr != nil && same(stdout, stderr) {
		s.err = s.out // one writer is written to from one goroutine
		return s, nil
	}
	if s.err, err = s.output(stderr); err != nil {
		s.abort()
		return nil, err
	}
	return s, nil
}

// same reports whether a and b are one writer.
func same(a, b io.Writer) bool {
	return a != nil && reflect.TypeOf(a).Comparable() && a == b
}

func (s *streams) null(flag int) (*os.File, error) {
	f, err := os.OpenFile(os.DevNull, flag, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", os.DevNull, err)
	}
	s.own = append(s.own, f)
	return f, nil
}

func (s *streams) input(r io.Reader) (*os.File, error) {
	if r == nil {
		return s.null(os.O_RDONLY)
	}
	if f, ok := r.(*os.File); ok {
		return f, nil
	}
	pr, pw, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make pipe: %w", err)
	}
	s.own, s.writer = append(s.own, pr), pw
	// Not waited for: r may block for ever after the process is gone.
	go func() {
		_, _ = io.Copy(pw, r)
		pw.Close()
	}()
	return pr, nil
}

func (s *streams) output(w io.Writer) (*os.File, error) {
	if w == nil {
		return s.null(os.O_WRONLY)
	}
	if f, ok := w.(*os.File); ok {
		return f, nil
	}
	pr, pw, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make pipe: %w", err)
	}
	s.own, s.readers = append(s.own, pw), append(s.readers, pr)
	s.copying.Go(func() {
		_, _ = io.Copy(w, pr)
		pr.Close()
	})
	return pw, nil
}

// started closes the process's ends here.
func (s *streams) started() {
	for _, f := range s.own {
		f.Close()
	}
	s.own = nil
}

// finish waits until the output is copied. A descendant that still holds the
// output open is given a moment, then no longer listened to.
func (s *streams) finish() {
	for _, r := range s.readers {
		_ = r.SetReadDeadline(time.Now().Add(2 * time.Second))
	}
	if s.writer != nil {
		s.writer.Close()
	}
	s.copying.Wait()
}

func (s *streams) abort() {
	s.started()
	s.finish()
}
