package container

import (
	"testing"

	"github.com/gabion-dev/gabion/workload"
)

func TestDescribe(t *testing.T) {
	pod := func(name string, more ...string) map[string]string {
		l := map[string]string{"io.kubernetes.pod.namespace": "shop", "io.kubernetes.pod.name": name, "io.kubernetes.container.name": "server"}
		for i := 0; i < len(more); i += 2 {
			l[more[i]] = more[i+1]
		}
		return l
	}
	for _, tc := range []struct {
		name   string
		labels map[string]string
		cname  string
		want   workload.Ref
	}{
		{"nothing", nil, "", workload.Ref{Namespace: "default", Name: idA[:12], Kind: "Container"}},
		{"a name", nil, "web", workload.Ref{Namespace: "default", Name: "web", Kind: "Container"}},
		{"compose", map[string]string{"com.docker.compose.project": "shop", "com.docker.compose.service": "web"}, "shop-web-1", workload.Ref{Namespace: "shop", Name: "web", Kind: "Service"}},
		{"half of compose", map[string]string{"com.docker.compose.project": "shop"}, "x", workload.Ref{Namespace: "default", Name: "x", Kind: "Container"}},
		{"swarm", map[string]string{"com.docker.stack.namespace": "shop", "com.docker.swarm.service.name": "shop_web"}, "shop_web.1.x", workload.Ref{Namespace: "shop", Name: "shop_web", Kind: "Service"}},
		{"our labels", map[string]string{"gabion.dev/namespace": "n", "gabion.dev/workload": "w"}, "x", workload.Ref{Namespace: "n", Name: "w", Kind: "Container"}},
		{"our labels over compose", map[string]string{"gabion.dev/workload": "w", "com.docker.compose.project": "shop", "com.docker.compose.service": "web"}, "x", workload.Ref{Namespace: "shop", Name: "w", Kind: "Service"}},
		{"our labels say nothing in a cluster", pod("p", "gabion.dev/namespace", "kube-system", "gabion.dev/workload", "dns"), "", workload.Ref{Namespace: "shop", Name: "p", Kind: "Pod"}},
		{"deployment, by label", pod("web-5d9-abcde", "pod-template-hash", "5d9"), "", workload.Ref{Namespace: "shop", Name: "web", Kind: "Deployment"}},
		{"deployment, by shape", pod("web-front-7d9c5b8f6d-x2vbn"), "", workload.Ref{Namespace: "shop", Name: "web-front", Kind: "Deployment"}},
		{"statefulset", pod("db-12", "statefulset.kubernetes.io/pod-name", "db-12", "controller-revision-hash", "db-1"), "", workload.Ref{Namespace: "shop", Name: "db", Kind: "StatefulSet"}},
		{"daemonset", pod("agent-x2vbn", "controller-revision-hash", "7d9c5b8f6d"), "", workload.Ref{Namespace: "shop", Name: "agent", Kind: "DaemonSet"}},
		{"job", pod("import-x2vbn", "batch.kubernetes.io/job-name", "import"), "", workload.Ref{Namespace: "shop", Name: "import", Kind: "Job"}},
		{"job, old label", pod("import-x2vbn", "job-name", "import"), "", workload.Ref{Namespace: "shop", Name: "import", Kind: "Job"}},
		{"cron job", pod("clean-28930560-x2vbn", "batch.kubernetes.io/job-name", "clean-28930560"), "", workload.Ref{Namespace: "shop", Name: "clean", Kind: "CronJob"}},
		{"a job label that does not fit", pod("web-1", "job-name", "other"), "", workload.Ref{Namespace: "shop", Name: "web-1", Kind: "Pod"}},
		{"a number without label", pod("db-1"), "", workload.Ref{Namespace: "shop", Name: "db-1", Kind: "Pod"}},
		{"one suffix without label", pod("agent-x2vbn"), "", workload.Ref{Namespace: "shop", Name: "agent-x2vbn", Kind: "Pod"}},
		{"words are no suffixes", pod("my-simple-small"), "", workload.Ref{Namespace: "shop", Name: "my-simple-small", Kind: "Pod"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := workload.Container{ID: idA, Name: tc.cname, Labels: tc.labels}
			describe(&c)
			if c.Workload != tc.want {
				t.Errorf("got %+v, want %+v", c.Workload, tc.want)
			}
			if c.Name == "" {
				t.Error("no name")
			}
		})
	}
}
