package console

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"strings"
)

// ImageList is a page of images, and what runs here without having been scanned.
type ImageList struct {
	List[Image]
	// Kept says whether any image is kept at all, whatever the filters say.
	Kept int `json:"kept" doc:"Images that are kept, whatever the filters say"`
	// Unscanned is bounded; it ignores the filters.
	Unscanned []RunningImage `json:"unscanned"`
	Targets   []ScanTarget   `json:"targets"`
}

// maxUnscanned bounds ImageList.Unscanned.
const maxUnscanned = 100

// DigestInput names an image.
type DigestInput struct {
	Digest string `path:"digest" maxLength:"160" pattern:"^[a-z0-9]+:[0-9a-f]+$" doc:"sha256:..."`
}

func (s *Server) imageRoutes(r *registrar) {
	images := s.deps.Images
	type listInput struct {
		PageInput
		Text     string `query:"q" maxLength:"200" doc:"In names, digest, system or workload"`
		Severity string `query:"severity" enum:"critical,high,medium,low,negligible" doc:"With an open finding of this severity or worse"`
		KEV      bool   `query:"kev" doc:"With a finding that is known to be exploited"`
		Running  bool   `query:"running" doc:"Runs here now"`
		Fixable  bool   `query:"fixable" doc:"With an open finding that has a fix"`
		State    string `query:"state" enum:"incomplete,violated" doc:"Not examined completely, or beyond what its ScanTarget allows"`
	}
	route(r, r.op("list-images", "Images", "Images that were scanned, most urgent first"), "list images",
		func(ctx context.Context, in *listInput) (*body[ImageList], error) {
			all, err := images.Images(ctx)
			if err != nil {
				return nil, err
			}
			out := ImageList{Kept: len(all)}
			text := strings.ToLower(in.Text)
			all = slices.DeleteFunc(slices.Clone(all), func(i Image) bool {
				return in.KEV && i.Exploited == 0 || in.Running && i.Running == 0 || in.Fixable && i.Fixable == 0 ||
					in.State == "incomplete" && i.Complete || in.State == "violated" && i.Violations == 0 ||
					!i.Open.reach(in.Severity) || !strings.Contains(hay(i), text)
			})
			slices.SortFunc(all, byUrgency)
			out.List = page(all, in.PageInput)
			if out.Unscanned, err = images.Unscanned(ctx); err != nil {
				return nil, err
			}
			out.Unscanned = out.Unscanned[:min(len(out.Unscanned), maxUnscanned)]
			out.Targets, err = images.ScanTargets(ctx)
			return &body[ImageList]{out}, err
		})

	route(r, r.op("get-image", "Images", "One image: plan, layers, secrets, checks, signatures, where it runs", 404), "read the image",
		func(ctx context.Context, in *DigestInput) (*body[ImageDetail], error) {
			d, err := images.Image(ctx, in.Digest)
			return &body[ImageDetail]{d}, err
		})

	type findingsInput struct {
		DigestInput
		PageInput
		Text     string `query:"q" maxLength:"200" doc:"In id, package or path"`
		Severity string `query:"severity" enum:"critical,high,medium,low,negligible" doc:"This and worse"`
		Fixable  bool   `query:"fixable"`
		Settled  bool   `query:"settled" doc:"Those that a decision has settled, in place of the open ones"`
	}
	route(r, r.op("list-image-findings", "Images", "Findings of an image, most urgent first", 404), "list findings",
		func(ctx context.Context, in *findingsInput) (*body[List[ImageFinding]], error) {
			all, err := images.ImageFindings(ctx, in.Digest)
			if err != nil {
				return nil, err
			}
			text := strings.ToLower(in.Text)
			all = slices.DeleteFunc(slices.Clone(all), func(f ImageFinding) bool {
				return in.Settled != (f.Decision != "") || in.Fixable && f.Fix == "" || !atLeast(f.Severity, in.Severity) ||
					!strings.Contains(strings.ToLower(f.ID+" "+strings.Join(f.Aliases, " ")+" "+f.Package+" "+f.Path), text)
			})
			return &body[List[ImageFinding]]{page(all, in.PageInput)}, nil
		})

	type packagesInput struct {
		DigestInput
		PageInput
		Text string `query:"q" maxLength:"200" doc:"In name, version, ecosystem, licence or path"`
	}
	route(r, r.op("list-image-packages", "Images", "Packages of an image, by name", 404), "list packages",
		func(ctx context.Context, in *packagesInput) (*body[List[ImagePackage]], error) {
			all, err := images.ImagePackages(ctx, in.Digest)
			if err != nil {
				return nil, err
			}
			text := strings.ToLower(in.Text)
			all = slices.DeleteFunc(slices.Clone(all), func(p ImagePackage) bool {
				return !strings.Contains(strings.ToLower(p.Name+" "+p.Version+" "+p.Ecosystem+" "+p.Path+" "+strings.Join(p.Licenses, " ")), text)
			})
			return &body[List[ImagePackage]]{page(all, in.PageInput)}, nil
		})

	type sbomInput struct {
		DigestInput
		Format string `query:"format" enum:"cyclonedx,spdx,spdx-tag-value" default:"cyclonedx"`
	}
	route(r, r.op("get-image-sbom", "Images", "Bill of materials of an image, as a file", 404), "write the bill of materials",
		func(ctx context.Context, in *sbomInput) (*download, error) {
			return documentOf(ctx, images, in.Digest, in.Format)
		})
	type reportInput struct {
		DigestInput
		Format string `query:"format" enum:"json,ndjson,html,markdown,sarif,junit,gitlab" default:"json"`
	}
	route(r, r.op("get-image-report", "Images", "Whole report of an image, as a file", 404), "write the report",
		func(ctx context.Context, in *reportInput) (*download, error) {
			return documentOf(ctx, images, in.Digest, in.Format)
		})

	route(r, r.op("list-image-scans", "Images", "Scans that were asked for, newest first"), "list scans",
		func(ctx context.Context, _ *struct{}) (*body[List[ImageScan]], error) {
			all, err := images.Scans(ctx)
			return &body[List[ImageScan]]{page(all, PageInput{Limit: 100})}, err
		})

	type scanInput struct {
		Body ImageToScan
	}
	type scanOutput struct {
		Status int
		Body   ImageScan
	}
	scan := r.op("scan-image", "Images", "Scan an image of a registry or of a running container", 422, 429)
	scan.DefaultStatus = http.StatusAccepted
	route(r, scan, "scan the image",
		func(ctx context.Context, in *scanInput) (*scanOutput, error) {
			if (in.Body.Reference == "") == (in.Body.Container == "") {
				return nil, problem(http.StatusUnprocessableEntity, "refused", "Name either a reference or a container.")
			}
			who := identity(ctx).Name
			job, err := images.ScanImage(ctx, in.Body, who)
			if err != nil {
				return nil, err
			}
			s.change(ctx, who, "asked-scan", who+" asked to scan "+clip(job.What, 200), map[string]string{"scan": job.ID})
			return &scanOutput{http.StatusAccepted, job}, nil
		})
}

// download is a file; browsers keep it and never show it as a page of this
// console.
type download struct {
	ContentType string `header:"Content-Type"`
	Disposition string `header:"Content-Disposition"`
	Body        []byte
}

func documentOf(ctx context.Context, images Images, digest, format string) (*download, error) {
	d, err := images.ImageDocument(ctx, digest, format)
	if err != nil {
		return nil, err
	}
	return &download{d.ContentType, `attachment; filename="` + fileName(d.Name) + `"`, d.Data}, nil
}

// fileName keeps what is safe in a header and on every file system.
func fileName(name string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '-' || r == '_' {
			return r
		}
		return '-'
	}, clip(name, 120))
}

func hay(i Image) string {
	words := append(slices.Clone(i.Names), i.Digest, i.System)
	for _, w := range i.Workloads {
		words = append(words, w.String())
	}
	return strings.ToLower(strings.Join(append(words, i.Targets...), " "))
}

// severityWords are the severities that can be asked for, worst first.
func severityWords() []string { return []string{"critical", "high", "medium", "low", "negligible"} }

// atLeast reports whether a severity is that bad or worse; everything is as bad
// as nothing asked for.
func atLeast(severity, least string) bool {
	if least == "" {
		return true
	}
	i := slices.Index(severityWords(), severity)
	return i >= 0 && i <= slices.Index(severityWords(), least)
}

// reach reports whether something is that bad or worse.
func (s Severities) reach(least string) bool {
	if least == "" {
		return true
	}
	for i, n := range []int{s.Critical, s.High, s.Medium, s.Low, s.Negligible} {
		if n > 0 && i <= slices.Index(severityWords(), least) {
			return true
		}
	}
	return false
}

// byUrgency puts first what to look at first.
func byUrgency(a, b Image) int {
	return cmp.Or(cmp.Compare(b.Priority, a.Priority), cmp.Compare(b.Exploited, a.Exploited),
		cmp.Compare(b.Open.Critical, a.Open.Critical), cmp.Compare(b.Open.High, a.Open.High), cmp.Compare(b.Secrets, a.Secrets),
		cmp.Compare(b.Running, a.Running), slices.Compare(a.Names, b.Names), cmp.Compare(a.Digest, b.Digest))
}

// hookRoute serves the notifications of registries. They come from machines
// without a session: the shared secret of the ScanTarget is all that counts.
func (s *Server) hookRoute() {
	s.mux.HandleFunc("POST /hooks/registry/{target}", func(w http.ResponseWriter, r *http.Request) {
		var hook http.Handler
		if r.TLS != nil { // never a secret in the clear, never over the command line's socket
			hook = s.deps.Images.Hook(r.PathValue("target"))
		}
		if hook == nil {
			s.writeError(w, r, problem(http.StatusNotFound, "not-found", "No ScanTarget of that name asks for notifications."))
			return
		}
		watched := &statusWriter{ResponseWriter: w}
		hook.ServeHTTP(watched, r)
		if watched.status == http.StatusUnauthorized {
			s.refused(r, "", "webhook", "Console refused a notification for "+clip(r.PathValue("target"), 100)+": the shared secret is missing or wrong")
		}
	})
}

// statusWriter remembers the status of an answer.
type statusWriter struct {
	http.ResponseWriter
	status int
}

// WriteHeader implements http.ResponseWriter.
func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}
