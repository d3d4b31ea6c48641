package inventory

import (
	"archive/zip"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// zipped makes an archive; names that begin with a plus are stored, not packed.
func zipped(t testing.TB, files ...string) string {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for i := 0; i < len(files); i += 2 {
		h := &zip.FileHeader{Name: strings.TrimPrefix(files[i], "+"), Method: zip.Deflate}
		if strings.HasPrefix(files[i], "+") {
			h.Method = zip.Store
		}
		f, err := w.CreateHeader(h)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write([]byte(files[i+1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func props(group, artifact, version string) string {
	return "#x\ngroupId=" + group + "\nartifactId=" + artifact + "\r\nversion=" + version + "\n"
}

func TestJava(t *testing.T) {
	core := zipped(t, "META-INF/maven/g/a/pom.properties", props("org.apache.logging.log4j", "log4j-core", "2.14.1"))
	shaded := zipped(t, "META-INF/maven/1/pom.properties", props("g", "shaded", "1.0"), "META-INF/maven/2/pom.properties", props("com.google.guava", "guava", "30.0-jre"))
	for _, c := range []struct {
		name string
		text string
		want string
	}{
		{"x.jar", core, "org.apache.logging.log4j:log4j-core 2.14.1 /x.jar"},
		{"shaded-1.0.jar", shaded, "com.google.guava:guava 30.0-jre /shaded-1.0.jar, g:shaded 1.0 /shaded-1.0.jar"},
		{"app.war", zipped(t, "WEB-INF/lib/core.jar", core), "org.apache.logging.log4j:log4j-core 2.14.1 /app.war!/WEB-INF/lib/core.jar"},
		{"app.ear", zipped(t, "+a.war", zipped(t, "+lib/core.jar", core)), "org.apache.logging.log4j:log4j-core 2.14.1 /app.ear!/a.war!/lib/core.jar"},
		{"junit-4.12.jar", zipped(t, "x", ""), "junit:junit 4.12 /junit-4.12.jar"},
		{"failureaccess-1.0.1.jar", zipped(t, "META-INF/MANIFEST.MF", "Manifest-Version: 1.0\r\nBundle-SymbolicName: com.google.guava.fai\r\n lureaccess;singleton:=true\r\n"), "com.google.guava:failureaccess 1.0.1 /failureaccess-1.0.1.jar"},
		{"spring-core-5.3.20.jar", zipped(t, "META-INF/MANIFEST.MF", "Implementation-Title: spring-core\nAutomatic-Module-Name: spring.core\n"), "org.springframework:spring-core 5.3.20 /spring-core-5.3.20.jar"},
		{"commons-lang-2.6.jar", zipped(t, "META-INF/MANIFEST.MF", "Bundle-SymbolicName: org.apache.commons.lang\n"), "commons-lang:commons-lang 2.6 /commons-lang-2.6.jar"},
		{"commons-lang3-3.12.0.jar", zipped(t, "x", ""), "org.apache.commons:commons-lang3 3.12.0 /commons-lang3-3.12.0.jar"},
		{"log4j-1.2-api.jar", zipped(t, "META-INF/maven/pom.properties", props("o", "log4j-1.2-api", "2.19.0")), "o:log4j-1.2-api 2.19.0 /log4j-1.2-api.jar"},
		{"named.jar", zipped(t, "META-INF/MANIFEST.MF", "Implementation-Title: thing\nImplementation-Version: 3.2\nImplementation-Vendor-Id: org.example\n"), "org.example:thing 3.2 /named.jar"},
		{"plain.jar", zipped(t, "x.class", ""), ""},
		{"template.jar", zipped(t, "META-INF/maven/pom.properties", props("${g}", "a", "1")), ""},
		{"UPPER.JAR.jar", core, "org.apache.logging.log4j:log4j-core 2.14.1 /UPPER.JAR.jar"},
		{"empty.jar", "", ""},
	} {
		inv := merged(t, []item{reg(c.name, c.text)})
		var got []string
		for _, p := range inv.Packages {
			got = append(got, p.Name+" "+p.Version+" "+p.Path)
		}
		if s := strings.Join(got, ", "); s != c.want {
			t.Errorf("%s: got %q\nwant %q", c.name, s, c.want)
		}
		wantGaps(t, inv)
	}
}

// Archives a hundred deep, a large one, and one that says it is larger than
// allowed: bounded, and told.
func TestJavaIsBounded(t *testing.T) {
	deep := zipped(t, "META-INF/maven/pom.properties", props("g", "deepest", "1"))
	for range 100 {
		deep = zipped(t, "a.jar", deep)
	}
	inv := merged(t, []item{reg("deep.jar", deep)})
	wantNames(t, inv)
	wantGaps(t, inv, "archives lie more than 8 deep in each other")

	stored := zipped(t, "META-INF/maven/pom.properties", props("g", "deepest", "1"))
	for range 7 {
		stored = zipped(t, "+a.jar", stored)
	}
	wantNames(t, merged(t, []item{reg("deep.jar", stored)}), "Maven g:deepest 1 @0")

	// Larger than the buffer, in a temporary file, outside and inside.
	x := New(Config{MaxBuffer: 1 << 20, TempDir: t.TempDir()})
	large := zipped(t, "+fill", strings.Repeat("x", 2<<20), "META-INF/maven/pom.properties", props("g", "large", "1"))
	outer := zipped(t, "lib/large.jar", large, "+more", strings.Repeat("y", 2<<20))
	inv = Merge([]*Contents{visit(t, x, reg("outer.jar", outer))})
	wantNames(t, inv, "Maven g:large 1 @0")
	if left, err := os.ReadDir(x.config.TempDir); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}

	x = New(Config{MaxBuffer: 1 << 20, TempDir: filepath.Join(t.TempDir(), "missing")})
	inv = Merge([]*Contents{visit(t, x, reg("outer.jar", outer))})
	wantGaps(t, inv, "keep content in a temporary file")

	x = New(Config{MaxFile: 1 << 20, MaxBuffer: 1 << 20})
	inv = Merge([]*Contents{visit(t, x, reg("outer.jar", outer))})
	wantGaps(t, inv, "more than the 1048576 allowed")

	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for i := range 120_000 {
		if _, err := w.Create(fmt.Sprintf("%0200d", i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	inv = Merge([]*Contents{visit(t, New(Config{}), reg("many.jar", b.String()))})
	wantGaps(t, inv, "list of entries has more than")
}

func TestPythonArchives(t *testing.T) {
	wheel := zipped(t, "flask/x.py", "", "flask-2.0.1.dist-info/METADATA", "Name: Flask\nVersion: 2.0.1\nLicense-Expression: BSD-3-Clause\n")
	egg := zipped(t, "EGG-INFO/PKG-INFO", "Name: six\nVersion: 1.16.0\nClassifier: License :: OSI Approved :: MIT License\n")
	inv := merged(t, []item{reg("w/flask.whl", wheel), reg("w/six.egg", egg)})
	wantNames(t, inv, "PyPI Flask 2.0.1 @0", "PyPI six 1.16.0 @0")
	if p := inv.Packages[0]; p.Path != "/w/flask.whl!/flask-2.0.1.dist-info/METADATA" || p.Licenses[0] != "BSD-3-Clause" || inv.Packages[1].Licenses[0] != "MIT License" {
		t.Errorf("packages %+v", inv.Packages)
	}
}
