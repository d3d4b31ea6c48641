package sink

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"time"

	"github.com/gabion-dev/gabion/event"
)

// Headers of a webhook request. The signature is "sha256=" and the hex
// HMAC-SHA256 over the timestamp, a dot and the body; a receiver refuses old
// timestamps, so that a recorded request is of no use later.
const (
	HeaderTimestamp = "X-Gabion-Timestamp" // seconds since 1970
	HeaderSignature = "X-Gabion-Signature"
	HeaderEvent     = "X-Gabion-Event" // the event's ID: the same cause may come again
)

// Webhook posts events as JSON.
type Webhook struct {
	url, shown, secretFile string
	client                 *http.Client
}

var _ Sender = (*Webhook)(nil)

// NewWebhook makes a sender for an http or https URL. secretFile may be empty;
// it is read for every request, so that a secret can be changed in place.
func NewWebhook(target, secretFile string) (*Webhook, error) {
	u, err := url.Parse(target)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("open webhook: %.200q is no http or https URL", target)
	}
	tr := http.DefaultTransport.(*http.Transport).Clone()
	tr.MaxIdleConnsPerHost = 1
	return &Webhook{
		url: target,
		// Queries often carry tokens: they are not shown.
		shown:      u.Scheme + "://" + u.Host + u.EscapedPath(),
		secretFile: secretFile,
		client: &http.Client{Transport: tr, CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse // the address was chosen on purpose
		}},
	}, nil
}

// Name implements Sender.
func (w *Webhook) Name() string { return "webhook " + w.shown }

// Send implements Sender. Answers 2xx are success; 408, 425, 429 and 5xx are
// tried again; others are permanent.
func (w *Webhook) Send(ctx context.Context, e event.Event) error {
	body, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("post to %s: %w: %v", w.shown, ErrPermanent, err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("post to %s: %w: %v", w.shown, ErrPermanent, err)
	}
	stamp := strconv.FormatInt(time.Now().Unix(), 10)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "gabion")
	req.Header.Set(HeaderEvent, e.ID)
	req.Header.Set(HeaderTimestamp, stamp)
	if w.secretFile != "" {
		secret, err := readSecret(w.secretFile)
		if err != nil {
			return fmt.Errorf("post to %s: %w", w.shown, err)
		}
		req.Header.Set(HeaderSignature, Sign(secret, stamp, body))
	}
	res, err := w.client.Do(req)
	if err != nil {
		var ue *url.Error
		if errors.As(err, &ue) {
			err = ue.Err // without the URL and its query
		}
		return fmt.Errorf("post to %s: %w", w.shown, err)
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, 64<<10)) // lets the connection be used again
	switch c := res.StatusCode; {
	case c >= 200 && c < 300:
		return nil
	case c == http.StatusRequestTimeout || c == http.StatusTooEarly || c == http.StatusTooManyRequests || c >= 500:
		return fmt.Errorf("post to %s: answer %s", w.shown, res.Status)
	default:
		return fmt.Errorf("post to %s: %w: answer %s", w.shown, ErrPermanent, res.Status)
	}
}

// Close implements Sender.
func (w *Webhook) Close() error {
	w.client.CloseIdleConnections()
	return nil
}

// Sign gives the signature header's value.
func Sign(secret []byte, timestamp string, body []byte) string {
	m := hmac.New(sha256.New, secret)
	_, _ = io.WriteString(m, timestamp+".")
	_, _ = m.Write(body)
	return "sha256=" + hex.EncodeToString(m.Sum(nil))
}

// readSecret reads a key without surrounding blanks. An empty one is an error:
// it would sign nothing.
func readSecret(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read secret: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, 64<<10))
	if err != nil {
		return nil, fmt.Errorf("read secret: %w", err)
	}
	if data = bytes.TrimSpace(data); len(data) == 0 {
		return nil, fmt.Errorf("read secret: %s is empty", path)
	}
	return data, nil
}
