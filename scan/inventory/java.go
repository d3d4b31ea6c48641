package inventory

import (
	"archive/zip"
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"
	"strings"

	"github.com/google/osv-scalibr/extractor/filesystem/language/java/groupid"
)

const javaPlugin = "java-archive"

// javaExts are the archives that hold classes of packages.
var javaExts = []string{".jar", ".war", ".ear", ".par", ".sar", ".nar", ".jpi", ".hpi", ".lpkg", ".kar"}

// Bounds of one archive with all that lies in it.
const (
	maxZipDirectory = 24 << 20 // bytes of the list of entries
	maxJavaBytes    = 1 << 30  // unpacked from nested archives
	maxJavaArchives = 20000
)

func isJava(name string) bool {
	ext := strings.ToLower(path.Ext(name))
	for _, e := range javaExts {
		if ext == e {
			return true
		}
	}
	return false
}

func readJava(f *file, out *result) error {
	if f.size == 0 {
		return nil // a placeholder, as some builds leave it
	}
	s := &javaScan{cfg: f.cfg, out: out, bytes: maxJavaBytes, archives: maxJavaArchives}
	s.archive(f.at, f.size, "/"+f.path, 1)
	return errors.Join(s.errs...)
}

// javaScan goes through an archive and those nested in it.
type javaScan struct {
	cfg      *Config
	out      *result
	bytes    int64 // that may still be unpacked
	archives int   // that may still be opened
	errs     []error
}

// fail keeps an error; the rest goes on.
func (s *javaScan) fail(where string, err error) {
	if len(s.errs) < 10 {
		s.errs = append(s.errs, fmt.Errorf("%s: %w", where, err))
	}
}

func (s *javaScan) archive(at io.ReaderAt, size int64, where string, depth int) {
	if s.archives--; s.archives < 0 {
		if s.archives == -1 {
			s.fail(where, fmt.Errorf("more than %d archives in one", maxJavaArchives))
		}
		return
	}
	z, err := openZip(at, size)
	if err != nil {
		s.fail(where, err)
		return
	}
	var poms []pom
	var m manifest
	for _, e := range z.File {
		base := path.Base(e.Name)
		switch {
		case base == "pom.properties":
			if err := withEntry(e, func(r io.Reader) (err error) {
				p, err := readPom(io.LimitReader(r, 64<<10))
				if err == nil && p.ok() {
					poms = append(poms, p)
				}
				return err
			}); err != nil {
				s.fail(where+"!/"+e.Name, err)
			}
		case strings.EqualFold(e.Name, "META-INF/MANIFEST.MF"):
			if err := withEntry(e, func(r io.Reader) (err error) {
				m, err = readManifest(io.LimitReader(r, 1<<20))
				return err
			}); err != nil {
				s.fail(where+"!/"+e.Name, err)
			}
		case isJava(e.Name) && e.UncompressedSize64 > 0:
			s.nested(at, e, where+"!/"+e.Name, depth+1)
		}
	}
	s.name(where, poms, m)
}

// nested opens an archive in an archive: in place when it is stored, which is
// usual, and unpacked when it is not.
func (s *javaScan) nested(at io.ReaderAt, e *zip.File, where string, depth int) {
	if depth > s.cfg.MaxNesting {
		s.fail(where, fmt.Errorf("archives lie more than %d deep in each other", s.cfg.MaxNesting))
		return
	}
	if e.Method == zip.Store {
		off, err := e.DataOffset()
		if err != nil {
			s.fail(where, err)
			return
		}
		s.archive(io.NewSectionReader(at, off, int64(e.UncompressedSize64)), int64(e.UncompressedSize64), where, depth)
		return
	}
	size := int64(e.UncompressedSize64)
	if size < 0 || size > s.bytes {
		s.fail(where, fmt.Errorf("archives in it have more than %d bytes together", int64(maxJavaBytes)))
		s.bytes = 0
		return
	}
	s.bytes -= size
	err := withEntry(e, func(r io.Reader) error {
		// One byte more tells an entry that is larger than it says.
		r = io.LimitReader(r, size+1)
		if size <= s.cfg.MaxBuffer {
			b, err := io.ReadAll(r)
			if err != nil {
				return err
			}
			s.archive(bytes.NewReader(b), int64(len(b)), where, depth)
			return nil
		}
		tmp, n, err := spool(s.cfg.TempDir, nil, r, make([]byte, 64<<10), func([]byte) {})
		if err != nil {
			return err
		}
		defer tmp.Close()
		s.archive(tmp, n, where, depth)
		return nil
	})
	if err != nil {
		s.fail(where, err)
	}
}

// name says which packages an archive is: those of its pom.properties (several
// when others were merged into it), and what its own name and manifest tell
// when none of these is its own.
func (s *javaScan) name(where string, poms []pom, m manifest) {
	add := func(p pom) {
		pkg := language("maven", p.group+":"+p.artifact, p.version)
		pkg.Path = where
		if len(m.license) > 0 {
			pkg.Licenses = m.license
		}
		s.out.add(pkg)
	}
	for _, p := range poms {
		add(p)
	}
	base := path.Base(where)
	artifact, version := artifactOf(base)
	for _, p := range poms {
		// "log4j-1.2-api.jar" is no version 1.2-api of log4j.
		if version == "" || strings.HasPrefix(base, p.artifact) {
			return
		}
	}
	if version == "" {
		artifact, version = m.artifact, m.version
	}
	if artifact == "" || version == "" {
		return
	}
	group := cmp.Or(groupid.FromArtifactID(artifact), knownGroup(artifact), m.group(artifact))
	if group == "" {
		if len(poms) > 0 {
			return
		}
		group = artifact // as old packages have it: "junit:junit"
	}
	add(pom{group, artifact, version})
}

// groups are those of artifacts that are built without pom.properties and do
// not name their group elsewhere; the longest prefix counts.
var groups = map[string]string{
	"spring-": "org.springframework", "spring-boot": "org.springframework.boot", "spring-security-": "org.springframework.security",
	"spring-data-": "org.springframework.data", "spring-cloud-": "org.springframework.cloud", "spring-kafka": "org.springframework.kafka",
	"spring-integration-": "org.springframework.integration", "spring-batch-": "org.springframework.batch", "spring-session-": "org.springframework.session",
	"kafka-clients": "org.apache.kafka", "kafka-streams": "org.apache.kafka", "kotlin-": "org.jetbrains.kotlin", "kotlinx-": "org.jetbrains.kotlinx",
	"okhttp": "com.squareup.okhttp3", "okio": "com.squareup.okio", "retrofit": "com.squareup.retrofit2", "hibernate-core": "org.hibernate",
	"lucene-": "org.apache.lucene", "solr-": "org.apache.solr", "elasticsearch": "org.elasticsearch", "opensearch": "org.opensearch",
	"reactor-core": "io.projectreactor", "reactor-netty": "io.projectreactor.netty", "micrometer-": "io.micrometer", "bcprov-": "org.bouncycastle", "bcpkix-": "org.bouncycastle",
	"groovy": "org.codehaus.groovy", "junit-jupiter": "org.junit.jupiter",
	// Apache Commons: the older ones are groups of their own, whatever their
	// manifests say.
	"commons-": "org.apache.commons", "commons-beanutils": "commons-beanutils", "commons-codec": "commons-codec", "commons-collections": "commons-collections",
	"commons-collections4": "org.apache.commons", "commons-configuration": "commons-configuration", "commons-configuration2": "org.apache.commons",
	"commons-dbcp": "commons-dbcp", "commons-dbcp2": "org.apache.commons", "commons-digester": "commons-digester", "commons-fileupload": "commons-fileupload",
	"commons-fileupload2": "org.apache.commons", "commons-httpclient": "commons-httpclient", "commons-io": "commons-io", "commons-lang": "commons-lang",
	"commons-lang3": "org.apache.commons", "commons-logging": "commons-logging", "commons-net": "commons-net", "commons-pool": "commons-pool",
	"commons-pool2": "org.apache.commons", "commons-validator": "commons-validator",
}

func knownGroup(artifact string) string {
	for n := len(artifact); n > 3; n-- {
		if g := groups[artifact[:n]]; g != "" {
			return g
		}
	}
	return ""
}

// artifactVersion finds where a version begins in "guava-31.1-jre".
var artifactVersion = regexp.MustCompile(`^(.+?)[-_]((?:[0-9]|[rv][0-9]+\.?|rc[0-9]|build[0-9]).*)$`)

// artifactOf takes the name of an archive apart.
func artifactOf(base string) (artifact, version string) {
	m := artifactVersion.FindStringSubmatch(strings.TrimSuffix(base, path.Ext(base)))
	if m == nil {
		return "", ""
	}
	return m[1], m[2]
}

// pom is what names a package of Maven.
type pom struct{ group, artifact, version string }

func (p pom) ok() bool {
	for _, s := range []string{p.group, p.artifact, p.version} {
		if s == "" || strings.ContainsAny(s, " ${}") {
			return false
		}
	}
	return true
}

func readPom(r io.Reader) (pom, error) {
	var p pom
	err := eachLine(r, func(line []byte) {
		k, v, ok := bytes.Cut(line, []byte("="))
		if !ok {
			return
		}
		switch value := string(bytes.TrimSpace(v)); string(bytes.TrimSpace(k)) {
		case "groupId":
			p.group = value
		case "artifactId":
			p.artifact = value
		case "version":
			p.version = value
		}
	}, maxOwned)
	return p, err
}

// manifest is what a MANIFEST.MF may tell of the package.
type manifest struct {
	artifact, version string
	groups            []string // candidates, best first
	license           []string
}

// readManifest reads the main section; lines go on after a line break and a
// blank.
func readManifest(r io.Reader) (manifest, error) {
	field := map[string]string{}
	last := ""
	s := bufio.NewScanner(r)
	s.Buffer(make([]byte, 0, 4096), maxLine)
	for s.Scan() {
		line := strings.TrimSuffix(s.Text(), "\r")
		if line == "" {
			break
		}
		if line[0] == ' ' {
			if len(field[last]) < 4096 {
				field[last] += line[1:]
			}
			continue
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok {
			continue
		}
		last = strings.ToLower(name)
		field[last] = strings.TrimSpace(value)
	}
	var m manifest
	word := func(names ...string) string {
		for _, n := range names {
			v, _, _ := strings.Cut(field[n], ";")
			if v = strings.TrimSpace(v); v != "" && !strings.ContainsAny(v, " ${}%") {
				return v
			}
		}
		return ""
	}
	m.artifact = word("implementation-title", "specification-title", "bundle-name", "extension-name")
	m.version, _, _ = strings.Cut(word("implementation-version", "specification-version", "bundle-version", "plugin-version"), " ")
	for _, n := range []string{"bundle-symbolicname", "implementation-vendor-id", "automatic-module-name", "extension-name"} {
		if v := word(n); strings.Contains(v, ".") {
			m.groups = append(m.groups, strings.ToLower(v))
		}
	}
	if l := field["bundle-license"]; l != "" && len(l) < 200 {
		for one := range strings.SplitSeq(l, ",") {
			one, _, _ = strings.Cut(one, ";")
			m.license = addOnce(m.license, strings.Trim(one, ` "`))
		}
	}
	return m, s.Err()
}

// group is the best candidate, without the artifact's own name at its end:
// "com.google.guava.failureaccess" is the group com.google.guava.
func (m manifest) group(artifact string) string {
	if len(m.groups) == 0 {
		return ""
	}
	g := m.groups[0]
	for _, tail := range []string{"." + artifact, "." + strings.ReplaceAll(artifact, "-", "."), "." + strings.ReplaceAll(artifact, "-", "")} {
		if head, ok := strings.CutSuffix(g, tail); ok && strings.Contains(head, ".") {
			return head
		}
	}
	return g
}

// openZip opens an archive whose list of entries has a sane size.
func openZip(at io.ReaderAt, size int64) (*zip.Reader, error) {
	limit := &limitedAt{ReaderAt: at, left: maxZipDirectory}
	z, err := zip.NewReader(limit, size)
	if limit.left < 0 {
		return nil, fmt.Errorf("list of entries has more than %d bytes", maxZipDirectory)
	}
	if err != nil && !errors.Is(err, zip.ErrInsecurePath) {
		return nil, err
	}
	limit.open = true
	return z, nil
}

// limitedAt bounds what is read of an archive until it is open.
type limitedAt struct {
	io.ReaderAt
	left int64
	open bool
}

func (l *limitedAt) ReadAt(b []byte, off int64) (int, error) {
	if !l.open {
		if l.left -= int64(len(b)); l.left < 0 {
			return 0, errors.New("list of entries is too large")
		}
	}
	return l.ReaderAt.ReadAt(b, off)
}
