package bus

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
)

// bucket gives the key-value bucket of that name, making it when needed.
func (s *session) bucket(ctx context.Context, name string) (jetstream.KeyValue, error) {
	if err := checkName("bucket", name); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if kv := s.buckets[name]; kv != nil {
		return kv, nil
	}
	kv, err := s.js.CreateOrUpdateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: name, History: 1, Storage: jetstream.FileStorage})
	if err != nil {
		return nil, err
	}
	s.buckets[name] = kv
	return kv, nil
}

// change runs one write on a bucket.
func (b *NATS) change(ctx context.Context, bucket, key string, size int, fn func(jetstream.KeyValue) error) error {
	if err := checkKey(key); err != nil {
		return err
	}
	if err := checkName("bucket", bucket); err != nil {
		return err
	}
	if err := b.room(size); err != nil {
		return err
	}
	s, err := b.session(ctx)
	if err != nil {
		return err
	}
	kv, err := s.bucket(ctx, bucket)
	if err == nil {
		err = fn(kv)
	}
	return b.classify(ctx, s, err)
}

// Put implements Bus.
func (b *NATS) Put(ctx context.Context, bucket, key string, data []byte) error {
	err := b.change(ctx, bucket, key, len(data), func(kv jetstream.KeyValue) error {
		_, err := kv.Put(ctx, key, data)
		return err
	})
	if err != nil {
		return fmt.Errorf("put %s/%s: %w", bucket, key, err)
	}
	return nil
}

// DeleteKey implements Bus. Deleting a key that is not there is no error.
func (b *NATS) DeleteKey(ctx context.Context, bucket, key string) error {
	err := b.change(ctx, bucket, key, 0, func(kv jetstream.KeyValue) error { return kv.Delete(ctx, key) })
	if err != nil {
		return fmt.Errorf("delete %s/%s: %w", bucket, key, err)
	}
	return nil
}

// Get implements Bus.
func (b *NATS) Get(ctx context.Context, bucket, key string) ([]byte, error) {
	if err := checkKey(key); err != nil {
		return nil, err
	}
	s, err := b.session(ctx)
	if err != nil {
		return nil, fmt.Errorf("get %s/%s: %w", bucket, key, err)
	}
	kv, err := s.bucket(ctx, bucket)
	if err != nil {
		return nil, fmt.Errorf("get %s/%s: %w", bucket, key, err)
	}
	e, err := kv.Get(ctx, key)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		err = ErrNoKey
	}
	if err != nil {
		return nil, fmt.Errorf("get %s/%s: %w", bucket, key, err)
	}
	return e.Value(), nil
}

// Watch implements Bus.
func (b *NATS) Watch(ctx context.Context, bucket, prefix string, fn func(key string, data []byte)) error {
	if err := checkName("bucket", bucket); err != nil {
		return err
	}
	known := map[string]uint64{} // revision of every key that fn has been told of
	return b.keep(ctx, "watch "+bucket, func(ctx context.Context, s *session) error {
		return watch(ctx, s, bucket, prefix, known, fn)
	})
}

func watch(ctx context.Context, s *session, bucket, prefix string, known map[string]uint64, fn func(key string, data []byte)) error {
	kv, err := s.bucket(ctx, bucket)
	if err != nil {
		return err
	}
	pattern := ">"
	if strings.HasSuffix(prefix, ".") && checkKey(strings.TrimSuffix(prefix, ".")) == nil {
		pattern = prefix + ">" // whole tokens: let the server choose
	}
	w, err := kv.Watch(ctx, pattern)
	if err != nil {
		return err
	}
	defer func() { _ = w.Stop() }()
	lost := s.nc.StatusChanged() // closed with the connection
	present := map[string]bool{}
	first := true
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-lost:
			if s.nc.IsClosed() {
				return errors.New("connection lost")
			}
		case e, ok := <-w.Updates():
			if !ok {
				return errors.New("watch ended")
			}
			if e == nil { // everything present has come
				first = false
				for k := range known {
					if !present[k] { // went away while there was no session
						delete(known, k)
						fn(k, nil)
					}
				}
				continue
			}
			if !strings.HasPrefix(e.Key(), prefix) {
				continue
			}
			tell(e, known, present, first, fn)
		}
	}
}

// tell passes one entry on unless it is known already.
func tell(e jetstream.KeyValueEntry, known map[string]uint64, present map[string]bool, first bool, fn func(key string, data []byte)) {
	rev, told := known[e.Key()]
	switch {
	case e.Operation() != jetstream.KeyValuePut:
		if told {
			delete(known, e.Key())
			fn(e.Key(), nil)
		}
	case !told || rev != e.Revision():
		known[e.Key()] = e.Revision()
		fn(e.Key(), append([]byte{}, e.Value()...))
	}
	if first && e.Operation() == jetstream.KeyValuePut {
		present[e.Key()] = true
	}
}
