package scanning

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/gabion-dev/gabion/scan"
	"github.com/gabion-dev/gabion/scan/decide"
	"github.com/gabion-dev/gabion/scan/engine"
	"github.com/gabion-dev/gabion/scan/image"
	"github.com/gabion-dev/gabion/scan/server"
)

// Remote lets a server scan: an image in a registry is pulled by the server; of
// everything else only those layers are read here that the server does not
// know. Thresholds are judged here, by what this job was told.
func Remote(ctx context.Context, c *server.Client, ref string, o Options) (*scan.Report, error) {
	for _, f := range []struct {
		name string
		set  bool
	}{
		{"--skip", len(o.Skip) > 0}, {"--files", o.Files},
		{"--allow-license", len(o.Allow) > 0}, {"--deny-license", len(o.Deny) > 0}, {"--exceptions", len(o.Exceptions) > 0},
	} {
		if f.set {
			return nil, fmt.Errorf("%s is for the server to say, to gabion scan serve; leave it out, or scan without --server", f.name)
		}
	}
	o.Skip = []string{"vulnerabilities"}
	s, err := Setup(o)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	d, err := fileDecisions(o)
	if err != nil {
		return nil, err
	}
	progress := func(e server.Event) {
		if o.Progress != nil && e.Total > 0 {
			o.Progress(engine.Progress{Bytes: e.Done, Size: e.Total})
		}
	}
	where, err := image.ParseRef(ref, nil)
	if err != nil {
		return nil, err
	}
	var r *scan.Report
	switch {
	case s.Engine.Sign != nil:
		return nil, errors.New("--server checks no signatures; verify them here, without it")
	case where.Kind == scan.SBOM:
		return nil, errors.New("--server takes no bill of materials; scan it here, without it: that needs no layer")
	case where.Kind == scan.Registry:
		req := server.Request{Reference: where.Name, Platform: o.Image.Platform, Decisions: d}
		if i := s.Engine.Image; i.Username+i.Password+i.Token != "" {
			req.Credentials = &server.Credentials{Username: i.Username, Password: i.Password, Token: i.Token}
		}
		r, err = c.Scan(ctx, req, progress)
	default:
		r, err = sendLayers(ctx, c, ref, s.Engine, d, progress)
	}
	if err != nil {
		return nil, err
	}
	r.Violations = append([]scan.Violation{}, decide.Judge(r, s.Engine.Thresholds)...)
	return r, nil
}

func sendLayers(ctx context.Context, c *server.Client, ref string, e engine.Options, d server.Decisions, progress func(server.Event)) (*scan.Report, error) {
	version := engine.Version(e)
	img, err := image.Open(ctx, ref, e.Image)
	if err != nil {
		return nil, err
	}
	defer img.Close()
	ids := make([]string, 0, len(img.Layers))
	for _, l := range img.Layers {
		ids = append(ids, l.DiffID)
	}
	missing, err := c.Missing(ctx, version, ids)
	if err != nil {
		return nil, err
	}
	layers, lost, gaps, err := engine.ReadLayers(ctx, img, e, func(l scan.Layer) bool { return l.DiffID != "" && !slices.Contains(missing, l.DiffID) })
	if err != nil {
		return nil, err
	}
	req := server.MergeRequest{Version: version, Image: img.Image, Gaps: append(gaps, img.Gaps...), Lost: lost, Decisions: d}
	if img.Kind == scan.Directory {
		req.Image.Layers = make([]scan.Layer, 1)
	}
	for n, contents := range layers {
		if contents == nil {
			continue
		}
		data, err := contents.MarshalBinary()
		if err != nil {
			return nil, fmt.Errorf("layer %d: %w", n+1, err)
		}
		l := &req.Image.Layers[n]
		if l.DiffID == "" {
			l.DiffID = fmt.Sprintf("sha256:%x", sha256.Sum256(data))
		}
		if err := c.Put(ctx, version, l.DiffID, data); err != nil {
			return nil, err
		}
	}
	if e.Secrets != nil {
		req.Secrets = e.Secrets.Config(img.Config)
	}
	return c.Merge(ctx, req, progress)
}

// fileDecisions are the files as they are: the server reads them.
func fileDecisions(o Options) (server.Decisions, error) {
	d := server.Decisions{Base: o.Base}
	name := o.Ignore
	if name == "" {
		name = decide.IgnoreName
	}
	data, err := os.ReadFile(name)
	if err == nil {
		d.Ignore, d.IgnoreName = data, name
	}
	for _, file := range o.VEX {
		data, err := os.ReadFile(file)
		if err != nil {
			return d, fmt.Errorf("read VEX document: %w", err)
		}
		d.VEX = append(d.VEX, data)
	}
	return d, nil
}
