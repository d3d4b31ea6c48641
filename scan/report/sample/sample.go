// Package sample makes the one rich report that tests of every output share:
// each kind of thing a report can hold, in each state, and strings that try to
// break out of every format.
//
// It is for tests and for pictures in documents only. The one idea: what a
// format does with this report is looked at once, by a person, and held by
// golden files from then on.
package sample

import (
	"strings"
	"time"

	"github.com/gabion-dev/gabion/scan"
)

// Hostile tries to write on terminals, to end JSON, HTML, Markdown, CSV and
// workflow commands, and to look like other text.
const Hostile = "evil\x1b[31m\a\r\n::error file=x::pwned\n##[group]x\n<script>alert(1)</script>\"'`|*_[a](javascript:alert(1))</text>]]>{{.}}=cmd|' /C calc'!A0\u202e\u2028\u0000"

// Now is the moment the sample's texts are about.
func Now() time.Time { return day(2026, 3, 10) }

func day(y int, m time.Month, d int) time.Time { return time.Date(y, m, d, 0, 0, 0, 0, time.UTC) }

func digest(c string) string { return "sha256:" + strings.Repeat(c, 64) }

// Package numbers of the report.
const (
	openssl = iota
	libc
	bash
	busybox
	lodash
	log4j
	cryptography
	evil
)

// Report is an image with a base image and gaps. Every call makes a new one.
func Report() *scan.Report {
	yes, no := true, false
	r := &scan.Report{
		Schema: scan.ReportSchema, Tool: "gabion v1.2.3",
		Image: scan.Image{
			Name: "registry.example/team/shop:4.2", Kind: scan.Registry, Digest: digest("a"), ConfigID: digest("b"),
			Tags: []string{"registry.example/team/shop:4.2"}, Platform: "linux/amd64",
			Layers: []scan.Layer{
				{Digest: digest("1"), DiffID: digest("4"), Size: 29 << 20, Command: "ADD rootfs.tar.xz /", Base: true},
				{Digest: digest("2"), DiffID: digest("5"), Size: 11 << 20, Command: "RUN /bin/sh -c apt-get install -y bash"},
				{Digest: digest("3"), DiffID: digest("6"), Size: 62 << 20, Command: "COPY . /app # " + Hostile},
			},
			Config: scan.Config{Created: day(2026, 2, 1), Env: []string{"PATH=/usr/bin", "TOKEN=not-to-be-printed"}, Cmd: []string{"node", "/app/main.js"}},
		},
		Release: scan.Release{ID: "debian", Version: "12", Codename: "bookworm", Name: "Debian GNU/Linux 12 (bookworm)", Ecosystem: "Debian:12"},
		Base:    &scan.Base{Name: "debian:12-slim", Layers: 1, How: "history"},
		Database: scan.Database{Digest: digest("d"), Built: day(2026, 3, 1), Data: day(2026, 2, 28), Advisories: 37020, Packages: 9001,
			Sources: []scan.Source{{Name: "debian-tracker", Licence: "MIT", Data: day(2026, 2, 28), Advisories: 20000, Partial: "without security notices"}}},
		Packages: []scan.Package{
			openssl:      {Name: "libssl3", Version: "3.0.11-1~deb12u1", Ecosystem: "Debian:12", PURL: "pkg:deb/debian/libssl3@3.0.11-1~deb12u1?arch=amd64&distro=debian-12", Source: "openssl", SourceVersion: "3.0.11-1~deb12u1", Arch: "amd64", Licenses: []string{"Apache-2.0"}, Found: "dpkg", Path: "/var/lib/dpkg/status", Layer: 0, Programs: []string{"/usr/lib/x86_64-linux-gnu/libssl.so.3"}},
			libc:         {Name: "libc6", Version: "2.36-9+deb12u3", Ecosystem: "Debian:12", PURL: "pkg:deb/debian/libc6@2.36-9%2Bdeb12u3?arch=amd64&distro=debian-12", Source: "glibc", SourceVersion: "2.36-9+deb12u3", Arch: "amd64", Licenses: []string{"LGPL-2.1-only", "GPL-2.0-only"}, Found: "dpkg", Path: "/var/lib/dpkg/status", Layer: 0},
			bash:         {Name: "bash", Version: "5.2.15-2+b2", Ecosystem: "Debian:12", PURL: "pkg:deb/debian/bash@5.2.15-2%2Bb2?arch=amd64&distro=debian-12", Arch: "amd64", Licenses: []string{"GPL-3.0-only"}, Found: "dpkg", Path: "/var/lib/dpkg/status", Layer: 1},
			busybox:      {Name: "busybox", Version: "1.36.1", Ecosystem: "Binary", PURL: "pkg:generic/busybox@1.36.1", Found: "classifier", Path: "/usr/local/bin/busybox", Layer: 1},
			lodash:       {Name: "@shop/lodash", Version: "4.17.20", Ecosystem: "npm", PURL: "pkg:npm/%40shop/lodash@4.17.20", Licenses: []string{"MIT"}, Found: "npm", Path: "/app/node_modules/lodash/package.json", Layer: 2},
			log4j:        {Name: "org.apache.logging.log4j:log4j-core", Version: "2.14.1", Ecosystem: "Maven", PURL: "pkg:maven/org.apache.logging.log4j/log4j-core@2.14.1", Licenses: []string{"Apache License, version two"}, Found: "java", Path: "/app/shop.jar!/BOOT-INF/lib/log4j-core-2.14.1.jar", Layer: 2},
			cryptography: {Name: "cryptography", Version: "41.0.2", Ecosystem: "PyPI", PURL: "pkg:pypi/cryptography@41.0.2", Licenses: []string{"Apache-2.0 OR BSD-3-Clause"}, Found: "python", Path: "/usr/lib/python3/dist-packages/cryptography-41.0.2.dist-info/METADATA", Layer: 2, Dev: true},
			evil:         {Name: Hostile, Version: "1" + Hostile, Ecosystem: "npm", PURL: "pkg:npm/evil@1", Licenses: []string{Hostile}, Found: "npm", Path: "/app/" + Hostile + strings.Repeat("/very-long-folder-name", 40) + "/package.json", Layer: 2},
		},
		Files: []scan.File{{Path: "/usr/local/bin/busybox", Digest: digest("e"), Size: 1 << 20, Mode: 0o755, Kind: "elf", Layer: 1}},
		Findings: []scan.Finding{
			{Advisory: scan.Advisory{ID: "CVE-2021-44228", Aliases: []string{"GHSA-jfh8-c2jp-5v3q"}, Severity: scan.Critical, CVSS: "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:C/C:H/I:H/A:H", Score: 10, Source: "osv:Maven", Published: day(2021, 12, 10), Modified: day(2025, 1, 2),
				KEV: &scan.KEV{Added: day(2021, 12, 10), Due: day(2021, 12, 24), Ransomware: true}, EPSS: &scan.EPSS{Score: 0.97565, Percentile: 1}, SSVC: &scan.SSVC{Exploitation: "active", Automatable: "yes", Impact: "total"},
				Summary: "Lookups in messages run code from elsewhere", URL: "https://nvd.nist.gov/vuln/detail/CVE-2021-44228"},
				Package: log4j, Fix: "2.15.0", State: scan.Open, Priority: 100, Reasons: []string{"exploited (KEV, by ransomware)", "critical, CVSS 10.0", "seen running", "fix available"}, Used: &yes, Exposed: &yes},
			{Advisory: scan.Advisory{ID: "CVE-2023-5363", Aliases: []string{"DSA-5532-1"}, Severity: scan.High, CVSS: "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:N/A:N", Score: 7.5, Source: "debian-tracker", Published: day(2023, 10, 24), EPSS: &scan.EPSS{Score: 0.004}, Summary: "Key and initialisation vector lengths are processed wrongly"},
				Package: openssl, Fix: "3.0.11-1~deb12u2", State: scan.Open, Priority: 62, Reasons: []string{"high, CVSS 7.5", "fix available", "in the base image"}, Base: true, Used: &no},
			{Advisory: scan.Advisory{ID: "CVE-2023-4911", Severity: scan.High, Source: "debian-tracker", Score: 7.8, CVSS: "CVSS:3.1/AV:L/AC:L/PR:L/UI:N/S:U/C:H/I:H/A:H", KEV: &scan.KEV{Added: day(2023, 11, 21)}},
				Package: libc, Fix: "2.36-9+deb12u4", State: scan.Open, Priority: 88, Reasons: []string{"exploited (KEV)", "high, CVSS 7.8", "fix available", "in the base image"}, Base: true},
			{Advisory: scan.Advisory{ID: "CVE-2020-28500", Aliases: []string{"GHSA-29mw-wpgm-hmr9"}, Severity: scan.Medium, Source: "osv:npm", Score: 5.3}, Package: lodash, Fix: "4.17.21", State: scan.Open, Priority: 35, Reasons: []string{"medium, CVSS 5.3", "fix available"}},
			{Advisory: scan.Advisory{ID: "CVE-2022-3715", Severity: scan.Low, Source: "debian-tracker"}, Package: bash, State: scan.Unsupported, Priority: 12, Reasons: []string{"low", "the distributor will not fix it"}},
			{Advisory: scan.Advisory{ID: "CVE-2024-0001", Severity: scan.Unknown, Source: "osv:npm", Summary: Hostile, URL: "javascript:alert(1)"}, Package: evil, Fix: Hostile, State: scan.Open, Priority: 10, Reasons: []string{Hostile}},
			{Advisory: scan.Advisory{ID: "CVE-2021-23337", Severity: scan.High, Source: "osv:npm", Score: 7.2}, Package: lodash, Fix: "4.17.21", State: scan.NotAffected, Decision: &scan.Decision{By: "VEX shop.openvex.json", Reason: "vulnerable_code_not_in_execute_path"}},
			{Advisory: scan.Advisory{ID: "CVE-2023-49083", Severity: scan.High, Source: "osv:PyPI", Score: 7.5}, Package: cryptography, Fix: "41.0.6", State: scan.Ignored, Decision: &scan.Decision{By: "ignore file .gabionignore.yaml:3", Owner: "team-shop", Reason: "not reachable: no PKCS7 is read" + Hostile, Expires: day(2026, 6, 30)}},
			{Advisory: scan.Advisory{ID: "CVE-2022-0001", Severity: scan.Negligible, Source: "debian-tracker"}, Package: busybox, State: scan.Fixed, Decision: &scan.Decision{By: "VEX vendor.json", Reason: "patched in this build"}},
		},
		Secrets: []scan.Secret{
			{Detector: "aws-access-key", Title: "AWS access key", Severity: scan.Critical, Where: "/app/.env", Line: 3, Masked: "AKIA****************", Fingerprint: "00112233aabbccdd", Layer: 2, State: scan.Open},
			{Detector: "private-key", Title: "Private key", Severity: scan.High, Where: "/root/.ssh/" + Hostile, Line: 1, Masked: "-----BEGIN****", Fingerprint: "1111222233334444", Layer: 1, Deleted: true, State: scan.Open},
			{Detector: "generic-token", Title: "Token", Severity: scan.Medium, Where: "env TOKEN", Masked: "not-****", Fingerprint: "5555666677778888", Layer: -1, State: scan.Ignored, Decision: &scan.Decision{By: "Exception/shop", Owner: "team-shop", Reason: "a test token", Expires: day(2026, 4, 1)}},
		},
		Checks: []scan.Check{
			{ID: "GAB-IMG-001", Title: "The image names a user that is not root", Severity: scan.High, Status: "fail", Evidence: []string{"User is empty: root"}, Remedy: "Add USER with a number above 0.", Refs: []string{"CIS Docker 1.6.0 4.1"}, State: scan.Open},
			{ID: "GAB-IMG-006", Title: "The image has a health check", Severity: scan.Low, Status: "fail", Evidence: []string{Hostile}, Remedy: "Add HEALTHCHECK.", State: scan.Open},
			{ID: "GAB-IMG-007", Title: "Packages come from signed repositories", Severity: scan.Medium, Status: "unknown", State: scan.Open},
			{ID: "GAB-IMG-008", Title: "No setuid program is left", Severity: scan.Medium, Status: "fail", Evidence: []string{"/usr/bin/su"}, State: scan.Ignored, Decision: &scan.Decision{By: "Exception/shop", Owner: "team-shop", Reason: "needed"}},
			{ID: "GAB-IMG-010", Title: "No secret is in the environment", Severity: scan.High, Status: "pass", State: scan.Open},
		},
		Licenses: []scan.License{
			{License: "GPL-3.0-only", Packages: []int{bash}, Verdict: "denied"},
			{License: "MIT", Packages: []int{lodash}, Verdict: "allowed"},
			{License: Hostile, Packages: []int{evil}, Verdict: "unlisted"},
		},
		Signatures: []scan.Signature{
			{Kind: "sigstore", Valid: true, Identity: "https://github.com/example/shop/.github/workflows/release.yml@refs/heads/main", Issuer: "https://token.actions.githubusercontent.com", SignedAt: day(2026, 2, 1)},
			{Kind: "notation", Why: "certificate is not trusted", Identity: Hostile},
		},
		Plan: []scan.Step{
			{Do: "upgrade Maven org.apache.logging.log4j:log4j-core 2.14.1 to 2.15.0", Where: "/app/shop.jar!/BOOT-INF/lib/log4j-core-2.14.1.jar", Closes: []string{"CVE-2021-44228"}, Worst: scan.Critical, Priority: 100},
			{Do: "upgrade the base image debian:12-slim", Where: "base image", Closes: []string{"CVE-2023-4911", "CVE-2023-5363"}, Worst: scan.High, Priority: 88},
			{Do: "upgrade npm @shop/lodash 4.17.20 to 4.17.21", Where: "/app/node_modules/lodash/package.json", Closes: []string{"CVE-2020-28500"}, Worst: scan.Medium, Priority: 35},
			{Do: "upgrade npm " + Hostile, Where: "/app/" + Hostile, Closes: []string{"CVE-2024-0001"}, Worst: scan.Unknown, Priority: 10},
		},
		Violations: []scan.Violation{
			{Rule: "--fail-on high", Object: "CVE-2021-44228 in org.apache.logging.log4j:log4j-core 2.14.1"},
			{Rule: "--fail-on high", Object: "CVE-2023-4911 in libc6 2.36-9+deb12u3"},
			{Rule: "secrets", Object: "aws-access-key in /app/.env:3"},
			{Rule: "licence", Object: "GPL-3.0-only of bash 5.2.15-2+b2 " + Hostile},
		},
		Gaps: []scan.Gap{
			{Where: "/opt/tool/app.jar", What: "java: zip: not a valid zip file", Means: "packages in it are unknown", Do: "check whether the file is whole"},
			{Where: "layer 2 " + Hostile, What: "gzip: invalid checksum " + Hostile, Means: "nothing of this layer is known", Do: "push the image again"},
			{Where: "database", What: "debian-tracker is 10 days old", Minor: true},
		},
	}
	r.Sort()
	return r
}

// Clean is a report of an image in which nothing is wrong.
func Clean() *scan.Report {
	r := Report()
	r.Packages = r.Packages[:libc+1]
	r.Findings, r.Secrets, r.Checks, r.Licenses, r.Signatures = []scan.Finding{}, []scan.Secret{}, []scan.Check{}, nil, nil
	r.Plan, r.Violations, r.Gaps = nil, []scan.Violation{}, []scan.Gap{}
	return r
}
