package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sys/unix"
)

// Config describes the embedded bus. Dir is required; zero fields get defaults.
type Config struct {
	// Dir holds the bus's files; it is made when missing (mode 0700).
	Dir string
	// MaxBytes bounds the messages kept. Default 1 GiB.
	MaxBytes int64
	// MaxAge is how long a message is kept even if a consumer has not had it.
	// Default 7 days.
	MaxAge time.Duration
	// MinFree is the room on the disk below which nothing is taken any more, in
	// bytes, so that a disk filled by others never breaks a write half way.
	// Default 16 MiB.
	MinFree uint64
	// Retry is the shortest time between two attempts to open the files again
	// after a failed write. Default 1 s.
	Retry time.Duration
	Log   *slog.Logger
}

const (
	streamName  = "GABION"
	root        = "m." // our subjects are below it, away from the server's own
	idHeader    = "Gabion-Id"
	chunkBytes  = 896 << 10 // staged in one of the server's 1 MiB buffers, not in 8 MiB
	chunkMsgs   = 1000      // the server's own bound for one atomic batch
	openTimeout = 20 * time.Second
	sendTimeout = 30 * time.Second // after it the server is taken for broken
)

// NATS is the embedded bus: a NATS server with JetStream on files, reachable
// only from within this process.
//
// The server syncs before it acknowledges (SyncAlways). A batch is published as
// one atomic JetStream batch, which costs one sync, so "acknowledged means on
// disk" holds under power loss too and is still fast.
//
// When a write fails the server closes the files for good. NATS then throws the
// server away and opens a new one on the same files as soon as the disk allows;
// consumers and watchers go over to it by themselves. The old server can leave a
// goroutine behind then; Config.MinFree exists to keep that rare.
type NATS struct {
	cfg     Config
	batches atomic.Uint64
	prefix  string // makes batch ids of this process unlike those of the one before

	mu      sync.Mutex // guards the rest
	cur     *session
	lastTry time.Time
	closed  bool
	active  map[string]bool // consumers

	life context.Context // ends with Close
	end  context.CancelFunc
}

var _ Bus = (*NATS)(nil)

// session is one life of the server.
type session struct {
	srv    *server.Server
	nc     *nats.Conn
	js     jetstream.JetStream
	stream jetstream.Stream

	mu      sync.Mutex
	buckets map[string]jetstream.KeyValue
	untrim  int64 // bytes acknowledged since the last trim
}

// Open starts the embedded bus on the files in cfg.Dir. When the disk is too
// full for that, the bus is given all the same and answers ErrFull until there
// is room.
func Open(ctx context.Context, cfg Config) (*NATS, error) {
	if cfg.MaxBytes == 0 {
		cfg.MaxBytes = 1 << 30
	}
	if cfg.MaxAge == 0 {
		cfg.MaxAge = 7 * 24 * time.Hour
	}
	if cfg.MinFree == 0 {
		cfg.MinFree = 16 << 20
	}
	if cfg.Retry == 0 {
		cfg.Retry = time.Second
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("open bus: %w", err)
	}
	b := &NATS{cfg: cfg, active: map[string]bool{}, prefix: nats.NewInbox()[len("_INBOX."):]}
	b.life, b.end = context.WithCancel(context.Background())
	s, err := b.open(ctx)
	if full := b.room(0); err != nil && full != nil {
		cfg.Log.Error("bus can not be opened for want of room; it will be as soon as there is some", "dir", cfg.Dir, "cause", err)
		return b, nil
	}
	if err != nil {
		b.end()
		return nil, fmt.Errorf("open bus in %s: %w", cfg.Dir, err)
	}
	b.cur = s
	return b, nil
}

func (b *NATS) open(ctx context.Context) (*session, error) {
	srv, err := server.NewServer(&server.Options{
		ServerName: "gabion",
		DontListen: true, // in-process connections only
		NoSigs:     true,
		NoLog:      true, // SetLoggerV2 below takes over
		JetStream:  true,
		StoreDir:   b.cfg.Dir,
		SyncAlways: true,
		// Buckets are small; the allowance keeps the stream's bound from being
		// refused as more than there may be.
		JetStreamMaxStore:      b.cfg.MaxBytes + 1<<30,
		JetStreamMaxMemory:     64 << 20,
		DisableJetStreamBanner: true,
		MaxPayload:             8 << 20,
	})
	if err != nil {
		return nil, err
	}
	srv.SetLoggerV2(natsLog{b.cfg.Log}, false, false, false)
	s := &session{srv: srv, buckets: map[string]jetstream.KeyValue{}}
	srv.Start()
	if !srv.ReadyForConnections(openTimeout) {
		s.close()
		return nil, errors.New("the embedded server does not get ready")
	}
	if err := b.connect(ctx, s); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (b *NATS) connect(ctx context.Context, s *session) (err error) {
	s.nc, err = nats.Connect("", nats.InProcessServer(s.srv), nats.NoReconnect(), nats.Name("gabion"))
	if err != nil {
		return err
	}
	if s.js, err = jetstream.New(s.nc); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	s.stream, err = s.js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
		Name:               streamName,
		Description:        "what happened, until every consumer has had it",
		Subjects:           []string{root + ">"},
		Retention:          jetstream.LimitsPolicy,
		Discard:            jetstream.DiscardNew, // refuse loudly, never lose silently
		MaxBytes:           b.cfg.MaxBytes,
		MaxAge:             b.cfg.MaxAge,
		Storage:            jetstream.FileStorage,
		AllowAtomicPublish: true,
	})
	return err
}

func (s *session) close() {
	if s.nc != nil {
		s.nc.Close()
	}
	s.srv.Shutdown()
	s.srv.WaitForShutdown()
}

// session gives the present server, or opens a new one if there is none.
func (b *NATS) session(ctx context.Context) (*session, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil, ErrClosed
	}
	if b.cur != nil {
		return b.cur, nil
	}
	if err := b.room(0); err != nil {
		return nil, err
	}
	if time.Since(b.lastTry) < b.cfg.Retry {
		return nil, fmt.Errorf("%w: the files could not be written a moment ago", ErrFull)
	}
	b.lastTry = time.Now()
	s, err := b.open(ctx)
	if err != nil {
		return nil, fmt.Errorf("%w: open again: %v", ErrFull, err)
	}
	b.cfg.Log.Info("bus works again", "dir", b.cfg.Dir)
	b.cur = s
	return s, nil
}

// room says ErrFull when size more bytes would leave less than MinFree.
func (b *NATS) room(size int) error {
	var st unix.Statfs_t
	if err := unix.Statfs(b.cfg.Dir, &st); err != nil {
		return fmt.Errorf("%w: look at %s: %v", ErrFull, b.cfg.Dir, err)
	}
	free := st.Bavail * uint64(st.Bsize)
	// A batch is staged before it is stored: it needs its size twice.
	if free < b.cfg.MinFree+2*uint64(size) {
		return fmt.Errorf("%w: %s has %d MiB left, free at least %d MiB", ErrFull, b.cfg.Dir, free>>20, b.cfg.MinFree>>20)
	}
	return nil
}

// drop throws a server away whose files can not be written any more.
func (b *NATS) drop(s *session, why error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.cur != s {
		return
	}
	b.cfg.Log.Error("bus can not write, will open its files again", "dir", b.cfg.Dir, "cause", why)
	b.cur = nil
	b.lastTry = time.Now()
	s.close()
}

// classify turns an error of the server into one that callers know, and drops
// the session when it is of no more use.
func (b *NATS) classify(ctx context.Context, s *session, err error) error {
	var api *jetstream.APIError
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil && errors.Is(err, ctx.Err()):
		return err
	case errors.As(err, &api) && strings.Contains(api.Description, "maximum"):
		return fmt.Errorf("%w: the bound of %d bytes is reached (%s)", ErrFull, b.cfg.MaxBytes, api.Description)
	case errors.As(err, &api) && api.Code < 500 && !strings.Contains(api.Description, "batch"):
		return err // our own mistake; the server is well
	}
	b.drop(s, err)
	b.mu.Lock()
	closed := b.closed
	b.mu.Unlock()
	if closed {
		return ErrClosed
	}
	return fmt.Errorf("%w: %v", ErrFull, err)
}

// Publish implements Bus.
func (b *NATS) Publish(ctx context.Context, subject, id string, data []byte) error {
	return b.PublishBatch(ctx, []Message{{Subject: subject, ID: id, Data: data}})
}

// PublishBatch implements Bus. It splits what is larger than one atomic batch.
func (b *NATS) PublishBatch(ctx context.Context, msgs []Message) error {
	for _, m := range msgs {
		if err := checkSubject(m.Subject, false); err != nil {
			return fmt.Errorf("publish: %w", err)
		}
	}
	for len(msgs) > 0 {
		n, size := 0, 0
		for n < len(msgs) && n < chunkMsgs && (n == 0 || size+len(msgs[n].Data) <= chunkBytes) {
			size += len(msgs[n].Data)
			n++
		}
		if err := b.publish(ctx, msgs[:n], size); err != nil {
			return fmt.Errorf("publish %d messages: %w", n, err)
		}
		msgs = msgs[n:]
	}
	return nil
}

// publish stores one chunk; when the bound is reached it makes room by
// forgetting what everyone has had, and tries once more.
func (b *NATS) publish(ctx context.Context, chunk []Message, size int) error {
	if err := b.room(size); err != nil {
		return err
	}
	s, err := b.session(ctx)
	if err != nil {
		return err
	}
	err = b.classify(ctx, s, b.send(ctx, s, chunk))
	if errors.Is(err, ErrFull) && b.isCurrent(s) && s.trim(ctx, b.cfg.MaxBytes, true) {
		err = b.classify(ctx, s, b.send(ctx, s, chunk))
	}
	return err
}

func (b *NATS) isCurrent(s *session) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.cur == s
}

func (b *NATS) send(ctx context.Context, s *session, chunk []Message) error {
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	if len(chunk) == 1 {
		_, err := s.js.PublishMsg(ctx, natsMsg(chunk[0]))
		return err
	}
	batch := fmt.Sprintf("%s-%d", b.prefix, b.batches.Add(1))
	for i, m := range chunk {
		msg := natsMsg(m)
		msg.Header.Set("Nats-Batch-Id", batch)
		msg.Header.Set("Nats-Batch-Sequence", fmt.Sprint(i+1))
		if i < len(chunk)-1 {
			if err := s.nc.PublishMsg(msg); err != nil {
				return err
			}
			continue
		}
		msg.Header.Set("Nats-Batch-Commit", "1")
		_, err := s.js.PublishMsg(ctx, msg)
		return err
	}
	return nil
}

func natsMsg(m Message) *nats.Msg {
	msg := nats.NewMsg(root + m.Subject)
	msg.Data = m.Data
	msg.Header.Set(idHeader, m.ID)
	return msg
}

// trim removes what every consumer has acknowledged when the stream is more
// than half full (or force), and says whether it removed anything.
func (s *session) trim(ctx context.Context, maxBytes int64, force bool) bool {
	info, err := s.stream.Info(ctx)
	if err != nil || info.State.Msgs == 0 || !force && info.State.Bytes < uint64(maxBytes)/2 {
		return false
	}
	floor := info.State.LastSeq
	n := 0
	list := s.stream.ListConsumers(ctx)
	for c := range list.Info() {
		n++
		if c.NumPending == 0 && c.NumAckPending == 0 {
			continue // has had everything that was there when we looked
		}
		floor = min(floor, c.AckFloor.Stream)
	}
	if list.Err() != nil || n == 0 || floor < info.State.FirstSeq {
		return false
	}
	return s.stream.Purge(ctx, jetstream.WithPurgeSequence(floor+1)) == nil
}

// Close implements Bus. It waits until the server has stopped.
func (b *NATS) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil
	}
	b.closed = true
	b.end()
	if b.cur != nil {
		b.cur.close()
		b.cur = nil
	}
	return nil
}
