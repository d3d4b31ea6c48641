package images

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/gabion-dev/gabion/console"
	"github.com/gabion-dev/gabion/facts"
	"github.com/gabion-dev/gabion/workload"
)

func compareText(a, b string) int { return strings.Compare(a, b) }

// running are the containers of this machine, found by what runtimes call
// their image.
type running struct {
	byDigest, byName map[string][]workload.Container
}

func (r *Room) running() running {
	out := running{map[string][]workload.Container{}, map[string][]workload.Container{}}
	for _, c := range r.d.Running() {
		if c.ImageDigest != "" {
			out.byDigest[c.ImageDigest] = append(out.byDigest[c.ImageDigest], c)
		}
		name, digest := canonical(c.Image)
		if digest != "" && digest != c.ImageDigest {
			out.byDigest[digest] = append(out.byDigest[digest], c)
		}
		if name != "" {
			out.byName[name] = append(out.byName[name], c)
		}
	}
	return out
}

// of gives the containers of an image, those known by digest first.
func (l running) of(rec *record) []console.ImageContainer {
	var out []console.ImageContainer
	add := func(by string, list []workload.Container) {
		for _, c := range list {
			if !slices.ContainsFunc(out, func(x console.ImageContainer) bool { return x.ID == c.ID }) {
				out = append(out, console.ImageContainer{ID: c.ID, Name: c.Name, Workload: c.Workload, StartedAt: c.StartedAt, By: by})
			}
		}
	}
	add("digest", l.byDigest[rec.Digest])
	if rec.ConfigID != "" {
		add("digest", l.byDigest[rec.ConfigID])
	}
	for _, name := range rec.Names {
		add("name", l.byName[name])
	}
	return out
}

// canonical writes a reference as registries know it,
// "index.docker.io/library/nginx:latest", and gives the digest in it.
func canonical(ref string) (name, digest string) {
	name, digest, _ = strings.Cut(ref, "@")
	if name == "" || strings.HasPrefix(name, "sha256:") {
		return "", digest
	}
	host, rest, ok := strings.Cut(name, "/")
	if !ok || !strings.ContainsAny(host, ".:") && host != "localhost" {
		host, rest = "docker.io", name
	}
	if host == "docker.io" {
		host = "index.docker.io"
		if !strings.Contains(rest, "/") {
			rest = "library/" + rest
		}
	}
	if !strings.Contains(rest, ":") {
		if digest != "" {
			return "", digest // pinned: the name says nothing more
		}
		rest += ":latest"
	}
	return host + "/" + rest, digest
}

// Unscanned implements console.Images.
func (r *Room) Unscanned(context.Context) ([]console.RunningImage, error) {
	l := r.running()
	known := map[string]bool{}
	for _, rec := range r.all() {
		for _, c := range l.of(rec) {
			known[c.ID] = true
		}
	}
	byImage := map[string]*console.RunningImage{}
	for _, c := range r.d.Running() {
		key := c.Image + "\x00" + c.ImageDigest
		if known[c.ID] || c.Image == "" && c.ImageDigest == "" {
			continue
		}
		i := byImage[key]
		if i == nil {
			i = &console.RunningImage{Reference: c.Image, Digest: c.ImageDigest, ContainerID: c.ID, Workloads: []workload.Ref{}}
			byImage[key] = i
		}
		i.Containers++
		i.Workloads = addRef(i.Workloads, c.Workload)
	}
	out := make([]console.RunningImage, 0, len(byImage))
	for _, key := range slices.Sorted(maps.Keys(byImage)) {
		out = append(out, *byImage[key])
	}
	return out, nil
}

// maxRefs bounds the workloads listed beside an image.
const maxRefs = 10

func addRef(list []workload.Ref, ref workload.Ref) []workload.Ref {
	if len(list) >= maxRefs || slices.Contains(list, ref) {
		return list
	}
	return append(list, ref)
}

// find looks an image up by either of its digests.
func (r *Room) find(digest string) (*record, bool) {
	if rec, ok := r.record(digest); ok {
		return rec, true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, rec := range r.records {
		if digest != "" && rec.ConfigID == digest {
			return rec, true
		}
	}
	return nil, false
}

// Facts tells other rooms what is known of images.
func (r *Room) Facts() facts.Images { return imageFacts{r} }

type imageFacts struct{ r *Room }

// Image implements facts.Images.
func (f imageFacts) Image(digest string) (facts.Image, bool) {
	rec, ok := f.r.find(digest)
	if !ok {
		return facts.Image{}, false
	}
	o := rec.Open
	return facts.Image{
		Digest: rec.Digest, ConfigID: rec.ConfigID, Names: slices.Clone(rec.Names), Complete: rec.Complete,
		Open:      map[string]int{"critical": o.Critical, "high": o.High, "medium": o.Medium, "low": o.Low, "negligible": o.Negligible, "unknown": o.Unknown},
		Exploited: rec.Exploited, Secrets: rec.Secrets, Root: rec.Root, Signers: slices.Clone(rec.Signers), Database: rec.Database.Digest,
	}, true
}

// maxFiles is how many lists of executables stay in memory.
const maxFiles = 64

type cachedFiles struct {
	digest string
	files  map[string]string
}

// Executables implements facts.Images. The first question about an image reads
// the store, the next ones are answered from memory.
func (f imageFacts) Executables(digest string) (map[string]string, bool) {
	rec, ok := f.r.find(digest)
	if !ok {
		return nil, false
	}
	f.r.mu.Lock()
	for _, c := range f.r.files {
		if c.digest == rec.Digest {
			f.r.mu.Unlock()
			return maps.Clone(c.files), true
		}
	}
	f.r.mu.Unlock()
	text, err := f.r.packed(context.Background(), kindFiles, rec.Digest)
	if err != nil {
		return nil, false
	}
	var files map[string]string
	if json.Unmarshal(text, &files) != nil {
		return nil, false
	}
	f.r.mu.Lock()
	defer f.r.mu.Unlock()
	f.r.files = append(f.r.files, cachedFiles{rec.Digest, files})
	if len(f.r.files) > maxFiles {
		f.r.files = slices.Delete(f.r.files, 0, 1)
	}
	return maps.Clone(files), true
}
