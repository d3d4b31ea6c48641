package consoletest

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/gabion-dev/gabion/console"
	"github.com/gabion-dev/gabion/workload"
)

// Secret is what the registry of the made-up node sends with notifications.
const Secret = "made-up-for-tests-only"

// Digests of the images of the made-up node.
const (
	Dashboard = "sha256:d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1"
	Web       = "sha256:3e3e3e3e3e3e3e3e3e3e3e3e3e3e3e3e3e3e3e3e3e3e3e3e3e3e3e3e3e3e3e3e"
	Checkout  = "sha256:c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0"
	OrdersDB  = "sha256:dbdbdbdbdbdbdbdbdbdbdbdbdbdbdbdbdbdbdbdbdbdbdbdbdbdbdbdbdbdbdbdb"
)

// Images is the supply chain of the made-up node. It implements console.Images.
type Images struct {
	now time.Time

	mu    sync.Mutex
	list  []console.ImageDetail
	scans []console.ImageScan
	heard int
	empty bool
}

var _ console.Images = (*Images)(nil)

// Forget empties it, as on the first day.
func (w *Images) Forget() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.empty = true
}

// Heard is how many notifications came through.
func (w *Images) Heard() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.heard
}

func newImages(now time.Time) *Images {
	w := &Images{now: now.UTC()}
	ago := func(d time.Duration) time.Time { return w.now.Add(-d) }
	ref := func(ns, name string) workload.Ref {
		return workload.Ref{Namespace: ns, Name: name, Kind: "Deployment"}
	}
	base := func(digest, name, system string, targets ...string) console.ImageDetail {
		return console.ImageDetail{
			Image: console.Image{Digest: digest, Names: []string{name}, Platform: "linux/amd64", System: system, Complete: true, Targets: append([]string{}, targets...),
				Workloads: []workload.Ref{}, ScannedAt: ago(26 * time.Hour), MatchedAt: ago(40 * time.Minute), SeenAt: ago(70 * time.Minute),
				Database: console.ImageDatabase{Digest: "sha256:" + strings.Repeat("ab", 32), Data: ago(30 * time.Hour), Advisories: 412_806}},
			Command: []string{}, Layers: []console.ImageLayer{}, Plan: []console.ImageStep{}, SecretList: []console.ImageSecret{}, CheckList: []console.ImageCheck{},
			Signatures: []console.ImageSignature{}, ViolationList: []console.ImageViolation{}, GapList: []console.ImageGap{}, Containers: []console.ImageContainer{},
		}
	}
	layer := func(n int, size int64, command string, base bool, packages, findings, secrets int) console.ImageLayer {
		return console.ImageLayer{Digest: fmt.Sprintf("sha256:%064x", n+1), Size: size, Command: command, Base: base, Packages: packages, Findings: findings, Secrets: secrets}
	}

	dash := base(Dashboard, "registry.ops.example/careless/dashboard:latest", "Debian GNU/Linux 11 (bullseye)", "ops-registry")
	dash.Names = append(dash.Names, "registry.ops.example/careless/dashboard:1.8")
	dash.Size, dash.Packages, dash.Created = 318_402_113, 412, ago(410*24*time.Hour)
	dash.Open = console.Severities{Critical: 3, High: 11, Medium: 24, Low: 9, Negligible: 2}
	dash.Exploited, dash.Fixable, dash.Used, dash.Priority, dash.Image.Secrets, dash.Image.Checks, dash.Image.Violations = 2, 31, 3, 98, 1, 3, 2
	dash.Running, dash.Workloads = 1, []workload.Ref{ref("ops", "dashboard")}
	dash.Command = []string{"/srv/dashboard", "--open"}
	dash.Base = &console.ImageBase{Name: "index.docker.io/library/debian:11-slim", Layers: 1, How: "label+history"}
	dash.Layers = []console.ImageLayer{
		layer(0, 31_357_624, "/bin/sh -c #(nop) ADD file:4eedf861fb567fffb2694b65ebdd58d5e371a2c28c3863f363f333cb34e5eb7b in /", true, 96, 22, 0),
		layer(1, 91_204_118, "/bin/sh -c apt-get update && apt-get install -y curl openssl imagemagick", false, 204, 19, 0),
		layer(2, 195_828_371, "/bin/sh -c npm ci --omit=dev", false, 112, 8, 0),
		layer(3, 12_000, "COPY deploy/ /srv/deploy # buildkit", false, 0, 0, 1),
	}
	dash.Plan = []console.ImageStep{
		{Do: "upgrade Maven org.apache.logging.log4j:log4j-core 2.14.1 to 2.17.1", Where: "/srv/lib/log4j-core-2.14.1.jar", Closes: []string{"CVE-2021-44228", "CVE-2021-44832", "CVE-2021-45046", "CVE-2021-45105"}, Worst: "critical", Priority: 98},
		{Do: "rebuild on a newer debian:11-slim", Where: "base image", Closes: many("CVE-2023-44", 19), Worst: "high", Priority: 81},
		{Do: "upgrade npm lodash 4.17.20 to 4.17.21", Where: "/srv/node_modules/lodash/package.json", Closes: []string{"CVE-2020-28500", "CVE-2021-23337"}, Worst: "high", Priority: 55},
		{Do: "upgrade Debian:11 packages: curl to 7.74.0-1.3+deb11u14, openssl to 1.1.1w-0+deb11u2", Where: "/var/lib/dpkg/status", Closes: many("CVE-2024-91", 6), Worst: "medium", Priority: 41},
	}
	dash.Unfixed, dash.Settled = 18, 2
	dash.SecretList = []console.ImageSecret{{Title: "Private key", Severity: "high", Where: "/srv/deploy/id_ed25519", Line: 1, Masked: "-----BEGIN ****", Fingerprint: "9f2c64e1ab08d377", Layer: 3, Deleted: true, State: "open"}}
	dash.CheckList = []console.ImageCheck{
		{ID: "user", Title: "The image does not run as root", Severity: "high", Status: "fail", Evidence: []string{"USER is not set"}, Remedy: "Add USER with a number other than 0.", State: "open"},
		{ID: "tag", Title: "The image is not named latest", Severity: "low", Status: "fail", Evidence: []string{"registry.ops.example/careless/dashboard:latest"}, Remedy: "Use a tag that stays.", State: "open"},
		{ID: "secrets", Title: "No secrets in the image", Severity: "high", Status: "fail", Evidence: []string{"1 secret"}, Remedy: "Use build secrets.", State: "open"},
		{ID: "setuid", Title: "No setuid programs that were added", Severity: "medium", Status: "pass", Evidence: []string{}, State: "open"},
		{ID: "healthcheck", Title: "There is a health check", Severity: "low", Status: "unknown", Evidence: []string{"the manifest's format has no field for it"}, State: "open"},
	}
	dash.ViolationList = []console.ImageViolation{{Rule: "kev", Object: "CVE-2021-44228 in org.apache.logging.log4j:log4j-core 2.14.1"}, {Rule: "secrets", Object: "private-key in /srv/deploy/id_ed25519:1"}}
	dash.Containers = []console.ImageContainer{{ID: id("opsdashboard"), Name: "dashboard", Workload: ref("ops", "dashboard"), StartedAt: ago(50 * time.Hour), By: "digest"}}

	web := base(Web, "registry.shop.example/web:5.2.0", "Alpine Linux v3.20", "shop")
	web.Size, web.Packages, web.Created = 41_300_220, 71, ago(20*24*time.Hour)
	web.Open, web.Fixable, web.Priority = console.Severities{High: 1, Medium: 3}, 2, 58
	web.Running, web.Workloads, web.Signed = 2, []workload.Ref{ref("shop", "web")}, "valid"
	web.Layers = []console.ImageLayer{layer(8, 3_620_108, "ADD alpine-minirootfs-3.20.3-x86_64.tar.gz / # buildkit", true, 15, 2, 0), layer(9, 37_680_112, "RUN apk add --no-cache nginx", false, 56, 2, 0)}
	web.Plan = []console.ImageStep{{Do: "upgrade Alpine:v3.20 packages: nginx to 1.26.3-r1", Where: "/lib/apk/db/installed", Closes: []string{"CVE-2025-23419"}, Worst: "high", Priority: 58}}
	web.Unfixed = 2
	web.Signatures = []console.ImageSignature{{Kind: "sigstore", Valid: true, Identity: "https://ci.shop.example/release", Issuer: "https://ci.shop.example", SignedAt: ago(20 * 24 * time.Hour)}}
	web.CheckList = []console.ImageCheck{{ID: "user", Title: "The image does not run as root", Severity: "high", Status: "pass", Evidence: []string{"USER 101"}, State: "open"}}
	web.Containers = []console.ImageContainer{
		{ID: id("shopweb-5b7cd-kk2p9"), Name: "web-5b7cd-kk2p9", Workload: ref("shop", "web"), StartedAt: ago(8 * time.Hour), By: "digest"},
		{ID: id("shopweb-5b7cd-zz104"), Name: "web-5b7cd-zz104", Workload: ref("shop", "web"), StartedAt: ago(8 * time.Hour), By: "name"},
	}

	db := base(OrdersDB, "index.docker.io/library/postgres:16", "", "shop")
	db.Size, db.Packages, db.Complete, db.Gaps, db.Open, db.Priority = 149_880_123, 12, false, 2, console.Severities{Medium: 1}, 22
	db.Layers = []console.ImageLayer{layer(20, 29_100_000, "ADD rootfs", false, 12, 1, 0), layer(21, 120_780_123, "RUN apt-get install postgresql-16", false, 0, 0, 0)}
	db.GapList = []console.ImageGap{
		{Where: "layer 2 sha256:000000000015", What: "the content ends before the archive does", Means: "nothing in this layer was examined", Do: "pull or build the image again"},
		{Where: "operating system", What: "no os-release was found", Means: "its packages cannot be matched", Do: "see that the layer above is whole"},
	}
	db.Unfixed = 1

	ok := base(Checkout, "registry.shop.example/checkout:2.14.1", "distroless (Debian 12)", "shop")
	ok.Size, ok.Packages, ok.Signed, ok.Created = 18_211_006, 38, "valid", ago(3*24*time.Hour)
	ok.Layers = []console.ImageLayer{layer(30, 2_100_000, "bazel build", true, 9, 0, 0), layer(31, 16_111_006, "COPY checkout /app/checkout", false, 29, 0, 0)}
	ok.Signatures = web.Signatures
	ok.CheckList = web.CheckList
	ok.Running, ok.Workloads = 1, []workload.Ref{ref("shop", "checkout")}
	ok.Containers = []console.ImageContainer{{ID: id("shopcheckout-7d9f4-x2k8q"), Name: "checkout-7d9f4-x2k8q", Workload: ref("shop", "checkout"), StartedAt: ago(5 * time.Hour), By: "digest"}}

	w.list = []console.ImageDetail{ok, web, dash, db}
	return w
}

func many(prefix string, n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("%s%03d", prefix, i*7+11)
	}
	return out
}

// Images implements console.Images.
func (w *Images) Images(context.Context) ([]console.Image, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := []console.Image{}
	if !w.empty {
		for _, d := range w.list {
			out = append(out, d.Image)
		}
	}
	return out, nil
}

// Unscanned implements console.Images.
func (w *Images) Unscanned(context.Context) ([]console.RunningImage, error) {
	return []console.RunningImage{{Reference: "registry.shop.example/search:3.1.0", Containers: 1, ContainerID: id("shopsearch"), Workloads: []workload.Ref{{Namespace: "shop", Name: "search", Kind: "Deployment"}}}}, nil
}

// Image implements console.Images.
func (w *Images) Image(_ context.Context, digest string) (console.ImageDetail, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, d := range w.list {
		if d.Digest == digest {
			return d, nil
		}
	}
	return console.ImageDetail{}, fmt.Errorf("find image %s: %w", digest, console.ErrNotFound)
}

// ImageFindings implements console.Images.
func (w *Images) ImageFindings(ctx context.Context, digest string) ([]console.ImageFinding, error) {
	if _, err := w.Image(ctx, digest); err != nil {
		return nil, err
	}
	out := []console.ImageFinding{}
	if digest != Dashboard {
		return out, nil
	}
	yes, no := true, false
	out = append(out,
		console.ImageFinding{ID: "CVE-2021-44228", Aliases: []string{"GHSA-jfh8-c2jp-5v3q"}, Severity: "critical", Score: 10, Exploited: true, EPSS: 0.975,
			Package: "org.apache.logging.log4j:log4j-core", Version: "2.14.1", Ecosystem: "Maven", Path: "/srv/lib/log4j-core-2.14.1.jar", Layer: 2, Fix: "2.15.0", State: "open", Priority: 98,
			Reasons: []string{"known to be exploited", "reached from outside on tcp/8080", "critical"}, Used: &yes, Exposed: &yes, URL: "https://nvd.nist.gov/vuln/detail/CVE-2021-44228"},
		console.ImageFinding{ID: "CVE-2024-0001", Aliases: []string{}, Severity: "low", Package: "perl-base", Version: "5.32.1-4+deb11u2", Ecosystem: "Debian:11", Path: "/var/lib/dpkg/status", Layer: 0, Base: true,
			State: "ignored", Decision: "Exception/perl (platform team): no Perl is started", Expires: w.now.Add(90 * 24 * time.Hour), Priority: 0, Reasons: []string{}, Used: &no})
	for i := range 130 {
		sev := []string{"high", "medium", "medium", "low"}[i%4]
		out = append(out, console.ImageFinding{ID: fmt.Sprintf("CVE-2023-%05d", 44000+i), Aliases: []string{}, Severity: sev, Score: 7.5 - float64(i%4), EPSS: 0.001 * float64(i%9),
			Package: []string{"libssl1.1", "curl", "libxml2", "imagemagick-6-common"}[i%4], Version: "1.1.1n-0+deb11u5", Ecosystem: "Debian:11", Path: "/var/lib/dpkg/status", Layer: i % 2, Base: i%2 == 0,
			Fix: []string{"", "1.1.1w-0+deb11u2"}[i%2], State: "open", Priority: max(5, 80-i), Reasons: []string{sev}, Used: &no, Exposed: &yes})
	}
	return out, nil
}

// ImagePackages implements console.Images.
func (w *Images) ImagePackages(ctx context.Context, digest string) ([]console.ImagePackage, error) {
	d, err := w.Image(ctx, digest)
	if err != nil {
		return nil, err
	}
	out := make([]console.ImagePackage, d.Packages)
	for i := range out {
		out[i] = console.ImagePackage{Name: fmt.Sprintf("lib%03d", i), Version: fmt.Sprintf("1.%d.0-1", i), Ecosystem: "Debian:11", Path: "/var/lib/dpkg/status", Layer: 0, Licenses: []string{"MIT"}}
	}
	return out, nil
}

// ImageDocument implements console.Images.
func (w *Images) ImageDocument(ctx context.Context, digest, format string) (console.ImageDocument, error) {
	d, err := w.Image(ctx, digest)
	if err != nil {
		return console.ImageDocument{}, err
	}
	return console.ImageDocument{Name: d.Names[0] + "." + format + ".json", ContentType: "application/json", Data: []byte(`{"format":"` + format + `"}`)}, nil
}

// ScanTargets implements console.Images.
func (w *Images) ScanTargets(context.Context) ([]console.ScanTarget, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.empty {
		return []console.ScanTarget{}, nil
	}
	return []console.ScanTarget{
		{Name: "ops-registry", Registry: "registry.ops.example", Schedule: "@every 6h", State: "failed", Problem: "read catalogue: 401 Unauthorized: check spec.credentials", Last: w.now.Add(-70 * time.Minute), Images: 1},
		{Name: "shop", Registry: "registry.shop.example", Schedule: "@daily", State: "waiting", Last: w.now.Add(-5 * time.Hour), Images: 3, Scanned: 1, Webhook: true},
	}, nil
}

// Scans implements console.Images.
func (w *Images) Scans(context.Context) ([]console.ImageScan, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]console.ImageScan{}, w.scans...), nil
}

// ScanImage implements console.Images. Two wait at most.
func (w *Images) ScanImage(_ context.Context, what console.ImageToScan, actor string) (console.ImageScan, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	name := what.Reference + what.Container
	switch {
	case strings.HasPrefix(name, "dir:"):
		return console.ImageScan{}, fmt.Errorf("%s names a file of this machine: %w", name, console.ErrRefused)
	case len(w.scans) >= 2:
		return console.ImageScan{}, fmt.Errorf("2 scans wait: %w", console.ErrBusy)
	}
	s := console.ImageScan{ID: fmt.Sprintf("scan-%d", len(w.scans)+1), What: name, Actor: actor, State: "waiting", Asked: w.now}
	w.scans = append([]console.ImageScan{s}, w.scans...)
	return s, nil
}

// Hook implements console.Images.
func (w *Images) Hook(target string) http.Handler {
	if target != "shop" {
		return nil
	}
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != Secret {
			http.Error(rw, "the shared secret is missing or wrong", http.StatusUnauthorized)
			return
		}
		w.mu.Lock()
		w.heard++
		w.mu.Unlock()
		rw.WriteHeader(http.StatusAccepted)
	})
}
