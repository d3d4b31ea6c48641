// Package epss reads the daily scores of the Exploit Prediction Scoring System
// by FIRST: CSV below a comment line with the model and the date.
//
// It knows of no package; the facts are tied to CVE ids.
package epss

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/gabion-dev/gabion/scan"
	"github.com/gabion-dev/gabion/scan/vuln"
	"github.com/gabion-dev/gabion/scan/vuln/feed/intake"
)

// maxLine bounds a line; real ones have 40 bytes.
const maxLine = 4096

// Import reads scores and hands every one to sink, with the date of the
// comment line (none: the zero date). A head that is not EPSS's is an error,
// a bad line is counted and named.
func Import(ctx context.Context, r io.Reader, sink func(vuln.Extra) error) (intake.Stats, error) {
	var s intake.Stats
	in := bufio.NewScanner(r)
	in.Buffer(make([]byte, maxLine), maxLine)
	var date time.Time
	headed := false
	for in.Scan() {
		line := strings.TrimSpace(in.Text())
		switch {
		case line == "":
		case strings.HasPrefix(line, "#"):
			d, err := scoreDate(line)
			if err != nil {
				return s, fmt.Errorf("read EPSS: %w", err)
			}
			date = d
			s.See(d)
		case !headed:
			if line != "cve,epss,percentile" {
				return s, fmt.Errorf("read EPSS: head of the table is %.60q, not \"cve,epss,percentile\"", line)
			}
			headed = true
		default:
			if err := one(ctx, line, date, &s, sink); err != nil {
				return s, err
			}
		}
	}
	switch err := in.Err(); {
	case errors.Is(err, bufio.ErrTooLong):
		return s, fmt.Errorf("read EPSS after record %d: line of more than %d bytes: %w", s.Records, maxLine, intake.ErrTooBig)
	case err != nil:
		return s, fmt.Errorf("read EPSS after record %d: %w", s.Records, err)
	case !headed:
		return s, errors.New("read EPSS: the head of the table is missing")
	}
	return s, nil
}

// scoreDate reads "#model_version:v2025.03.14,score_date:2025-08-26T00:00:00+0000".
func scoreDate(line string) (time.Time, error) {
	_, text, ok := strings.Cut(line, "score_date:")
	if !ok {
		return time.Time{}, nil
	}
	text, _, _ = strings.Cut(text, ",")
	t, err := intake.Time(strings.TrimSpace(text))
	if err != nil {
		return t, fmt.Errorf("score_date: %w", err)
	}
	return t, nil
}

func one(ctx context.Context, line string, date time.Time, s *intake.Stats, sink func(vuln.Extra) error) error {
	s.Records++
	if s.Records%4096 == 0 && ctx.Err() != nil {
		return ctx.Err()
	}
	f := strings.Split(line, ",")
	if len(f) != 3 {
		s.Refuse(f[0], fmt.Sprintf("%d fields instead of 3", len(f)))
		return nil
	}
	cve := intake.CVE(f[0])
	if cve == "" {
		s.Refuse(f[0], "cve: no CVE id")
		return nil
	}
	score, err := share(f[1])
	if err != nil {
		s.Refuse(cve, "epss: "+err.Error())
		return nil
	}
	percentile, err := share(f[2])
	if err != nil {
		s.Refuse(cve, "percentile: "+err.Error())
		return nil
	}
	if err := sink(vuln.Extra{CVE: cve, EPSS: &scan.EPSS{Score: score, Percentile: percentile, Date: date}}); err != nil {
		s.Refuse(cve, err.Error())
		return ctx.Err()
	}
	s.Kept++
	return nil
}

func share(text string) (float64, error) {
	v, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
	if err != nil || !(v >= 0 && v <= 1) {
		return 0, fmt.Errorf("%.30q is not between 0 and 1", text)
	}
	return v, nil
}
