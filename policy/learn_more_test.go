package policy

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gabion-dev/gabion/api/v1alpha1"
	"github.com/gabion-dev/gabion/workload"
	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestLearnFromRecorded makes policy of profiles that were recorded while
// Debian's packages did their ordinary work (test/workloads), and compares it
// with what is kept beside them. -update rewrites what is kept.
func TestLearnFromRecorded(t *testing.T) {
	profiles, err := filepath.Glob("testdata/recorded/*.profile.yaml")
	if err != nil || len(profiles) == 0 {
		t.Fatalf("no recorded profiles: %v", err)
	}
	for _, file := range profiles {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".profile.yaml"), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			docs, errs := v1alpha1.Decode(file, data)
			if len(errs) > 0 || len(docs) != 1 {
				t.Fatal(errs)
			}
			p, ok := docs[0].Object.(*v1alpha1.Profile)
			if !ok {
				t.Fatalf("%T is no profile", docs[0].Object)
			}
			for _, narrow := range []bool{false, true} {
				l, err := Learn(p, LearnOptions{Mode: v1alpha1.Protect, Narrow: narrow})
				if err != nil {
					t.Fatal(err)
				}
				kept := strings.TrimSuffix(file, ".profile.yaml") + map[bool]string{false: ".policy.yaml", true: ".narrow.yaml"}[narrow]
				if *update {
					if err := os.WriteFile(kept, l.YAML, 0o644); err != nil {
						t.Fatal(err)
					}
				}
				want, err := os.ReadFile(kept)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(string(want), string(l.YAML)); diff != "" {
					t.Errorf("%s (-want +got)\n%s", kept, diff)
				}
				set, problems := Load([]File{{"learned.yaml", l.YAML}})
				if len(problems) > 0 {
					t.Fatal(problems[0])
				}
				c := workload.Container{Workload: workload.Ref{Namespace: p.Namespace, Name: p.Name}}
				f := Forecast(set.Compile(&c, someDay), Past{Profile: p})
				for _, i := range f.Items {
					if !slices.ContainsFunc(l.Notes, func(n string) bool { return strings.HasPrefix(n, strings.Fields(i.What)[0]) }) {
						t.Errorf("would be blocked: %+v", i)
					}
				}
			}
		})
	}
}

func TestLearnAndImages(t *testing.T) {
	day := func(n int) metav1.Time { return metav1.NewTime(someDay.Add(time.Duration(n) * 24 * time.Hour)) }
	image := func(ref, digit string, containers, first, last int) v1alpha1.LearnedImage {
		return v1alpha1.LearnedImage{Reference: ref, Digest: "sha256:" + strings.Repeat(digit, 64), Containers: containers, FirstSeen: day(first), LastSeen: day(last)}
	}
	key := func(digit string) []string { return []string{strings.Repeat(digit, 12)} }
	profile := func(images ...v1alpha1.LearnedImage) *v1alpha1.Profile {
		return &v1alpha1.Profile{
			ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "shop"},
			Spec: v1alpha1.ProfileSpec{Containers: 4, FirstSeen: day(0), LastSeen: day(9), Images: images, Processes: []v1alpha1.LearnedProcess{
				{Path: "/bin/both", Count: 1}, {Path: "/bin/new", Images: key("2"), Count: 1}, {Path: "/bin/old", Images: key("1"), Count: 1},
				{Path: "/bin/sidecar", Images: key("3"), Count: 1},
			}},
		}
	}
	sidecar := image("mesh/proxy:1", "3", 4, 0, 1)
	for name, tc := range map[string]struct {
		images []v1alpha1.LearnedImage
		opts   LearnOptions
		allows string
		says   string
	}{
		"one image":                 {[]v1alpha1.LearnedImage{image("shop/web:1", "1", 3, 0, 9)}, LearnOptions{}, "both new old sidecar", ""},
		"replaced":                  {[]v1alpha1.LearnedImage{image("shop/web:1", "1", 3, 0, 3), image("shop/web:2", "2", 3, 3, 9), sidecar}, LearnOptions{}, "both new sidecar", "not run any more: program /bin/old"},
		"replaced a moment ago":     {[]v1alpha1.LearnedImage{image("shop/web:1", "1", 3, 0, 9), image("shop/web:2", "2", 3, 9, 9), sidecar}, LearnOptions{}, "both new old sidecar", ""},
		"new one not known well":    {[]v1alpha1.LearnedImage{image("shop/web:1", "1", 3, 0, 3), image("shop/web:2", "2", 1, 3, 9), sidecar}, LearnOptions{}, "both new old sidecar", "not yet known well: shop/web:2"},
		"both run, says the caller": {[]v1alpha1.LearnedImage{image("shop/web:1", "1", 3, 0, 3), image("shop/web:2", "2", 3, 3, 9), sidecar}, LearnOptions{Images: []string{key("1")[0], key("2")[0]}}, "both new old sidecar", ""},
		"rolled back":               {[]v1alpha1.LearnedImage{image("shop/web:1", "1", 3, 0, 9), image("shop/web:2", "2", 3, 3, 5), sidecar}, LearnOptions{}, "both new old sidecar", ""},
		"same tag, another digest":  {[]v1alpha1.LearnedImage{image("shop/web:1", "1", 3, 0, 3), image("shop/web:1", "2", 3, 3, 9)}, LearnOptions{}, "both new sidecar", "program /bin/old"},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := Learn(profile(tc.images...), tc.opts)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, r := range l.Policy.Spec.Process.Allow {
				got = append(got, strings.TrimPrefix(r.Path, "/bin/"))
			}
			if strings.Join(got, " ") != tc.allows {
				t.Errorf("allows %q, want %q", got, tc.allows)
			}
			if !strings.Contains(string(l.YAML), tc.says) || tc.says == "" && (len(l.Notes) > 0 || strings.Contains(string(l.YAML), "not yet known")) {
				t.Errorf("does not say %q:\n%s", tc.says, l.YAML)
			}
		})
	}
}

func TestLearnGroupsAndGuards(t *testing.T) {
	p := &v1alpha1.Profile{ObjectMeta: metav1.ObjectMeta{Name: "ci", Namespace: "build"}, Spec: v1alpha1.ProfileSpec{Containers: 2}}
	for _, n := range []string{"add", "commit", "fetch", "gc", "log", "push"} {
		p.Spec.Processes = append(p.Spec.Processes,
			v1alpha1.LearnedProcess{Path: "/usr/lib/git-core/git-" + n, Count: 2}, v1alpha1.LearnedProcess{Path: "/usr/bin/" + n, Count: 1})
	}
	p.Spec.Processes = append(p.Spec.Processes, v1alpha1.LearnedProcess{
		Path: "/usr/bin/curl", Count: 4, Users: []uint32{101}, Args: [][]string{{"-sf", "http://localhost:8080/healthz"}},
	})
	p.Spec.Files = []v1alpha1.LearnedFile{
		{Directory: "/etc/app", Program: "/usr/bin/add", Access: v1alpha1.AccessList{v1alpha1.FileCreate}, Count: 1},
		{Directory: "/etc", Program: "/usr/bin/log", Access: v1alpha1.AccessList{v1alpha1.FileRead}, Count: 1},
	}
	p.Spec.Capabilities = []v1alpha1.LearnedCapability{{Name: "MKNOD", Program: "/usr/bin/add", Count: 1}, {Name: "WARP", Program: "/x", Count: 1}}
	l, err := Learn(p, LearnOptions{Narrow: true})
	if err != nil {
		t.Fatal(err)
	}
	s := l.Policy.Spec
	if len(s.Process.Allow) != 8 || s.Process.Allow[7].Path != "/usr/lib/git-core/*" {
		t.Errorf("allow %+v", s.Process.Allow)
	}
	i := slices.IndexFunc(s.Process.Allow, func(r v1alpha1.ProcessRule) bool { return r.Path == "/usr/bin/curl" })
	if curl := s.Process.Allow[i]; !cmp.Equal(curl.Args, []string{"-sf", "http://localhost:8080/healthz"}) || !cmp.Equal(curl.Users, []uint32{101}) || !cmp.Equal(curl.Parents, []string{Entrypoint}) {
		t.Errorf("curl %+v", curl)
	}
	i = slices.IndexFunc(s.Files, func(r v1alpha1.FileRule) bool { return r.Path == "/etc" })
	if etc := s.Files[i]; etc.Action != "" || !cmp.Equal(etc.By, []string{"/usr/bin/add"}) || !etc.Recursive {
		t.Errorf("/etc: %+v", etc)
	}
	i = slices.IndexFunc(s.Files, func(r v1alpha1.FileRule) bool { return r.Path == "/usr" })
	if s.Files[i].Action != v1alpha1.Deny {
		t.Errorf("/usr: %+v", s.Files[i])
	}
	if !cmp.Equal(s.Capabilities.Allow, []string{"MKNOD"}) || !slices.Contains(s.Hardening.Allow, "devices") || !slices.Contains(s.Hardening.Deny, "raw-sockets") {
		t.Errorf("capabilities %+v, hardening %+v", s.Capabilities, s.Hardening)
	}
	if !slices.ContainsFunc(l.Notes, func(n string) bool { return strings.Contains(n, "WARP") }) {
		t.Errorf("notes %q", l.Notes)
	}
	// A node that cannot see files says nothing of them.
	p.Spec.Files, p.Spec.Capabilities = nil, nil
	if l, err = Learn(p, LearnOptions{}); err != nil || l.Policy.Spec.Files != nil || l.Policy.Spec.Capabilities != nil || l.Policy.Spec.Hardening != nil {
		t.Errorf("%+v, %v", l.Policy.Spec, err)
	}
}
