package container

import (
	"regexp"
	"strings"

	"github.com/gabion-dev/gabion/workload"
)

// describe fills Workload, Pod and PodUID from labels and the name.
func describe(c *workload.Container) {
	l := c.Labels
	c.Pod, c.PodUID = l["io.kubernetes.pod.name"], l["io.kubernetes.pod.uid"]
	first := func(keys ...string) string {
		for _, k := range keys {
			if v := l[k]; v != "" {
				return v
			}
		}
		return ""
	}
	ref := workload.Ref{Kind: "Container"}
	switch {
	case c.Pod != "" && l["io.kubernetes.pod.namespace"] != "":
		ref.Namespace = l["io.kubernetes.pod.namespace"]
		ref.Name, ref.Kind = owner(c.Pod, l)
	case l["com.docker.compose.project"] != "" && l["com.docker.compose.service"] != "":
		ref.Namespace, ref.Name = l["com.docker.compose.project"], l["com.docker.compose.service"]
		ref.Kind = "Service"
	case l["com.docker.swarm.service.name"] != "":
		ref.Namespace, ref.Name = l["com.docker.stack.namespace"], l["com.docker.swarm.service.name"]
		ref.Kind = "Service"
	}
	if c.Pod == "" {
		// Our own labels say it where no orchestrator does, and override
		// what a Compose file implies. In a cluster they are the pod
		// author's to write and therefore not trusted for identity.
		if v := l["gabion.dev/namespace"]; v != "" {
			ref.Namespace = v
		}
		if v := l["gabion.dev/workload"]; v != "" {
			ref.Name = v
		}
	}
	if ref.Namespace == "" {
		ref.Namespace = "default"
	}
	if ref.Name == "" {
		if ref.Name = c.Name; ref.Name == "" {
			ref.Name = c.Short()
		}
	}
	if c.Name == "" {
		c.Name = first("io.kubernetes.container.name", "nerdctl/name")
		if c.Name == "" {
			c.Name = c.Short()
		}
	}
	c.Workload = ref
}

// The suffixes that Kubernetes makes up use an alphabet without vowels and
// look-alikes.
const safe = `[bcdfghjklmnpqrstvwxz2456789]`

var (
	replica   = regexp.MustCompile(`^(.+)-(` + safe + `{6,10})-` + safe + `{5}$`)
	random    = regexp.MustCompile(`^(.+)-` + safe + `{5}$`)
	ordinal   = regexp.MustCompile(`^(.+)-[0-9]+$`)
	scheduled = regexp.MustCompile(`^(.+)-[0-9]{8,10}$`)
)

// owner derives the controller of a pod from its labels and the shape of its
// name. Where they do not clearly say, the pod stands for itself: two
// workloads taken for one would share what was learned.
func owner(pod string, labels map[string]string) (name, kind string) {
	job := labels["batch.kubernetes.io/job-name"]
	if job == "" {
		job = labels["job-name"]
	}
	if job != "" && strings.HasPrefix(pod, job+"-") {
		if s := scheduled.FindStringSubmatch(job); s != nil {
			return s[1], "CronJob"
		}
		return job, "Job"
	}
	if labels["statefulset.kubernetes.io/pod-name"] == pod {
		if s := ordinal.FindStringSubmatch(pod); s != nil {
			return s[1], "StatefulSet"
		}
	}
	if hash := labels["pod-template-hash"]; hash != "" {
		if i := strings.LastIndex(pod, "-"+hash+"-"); i > 0 {
			return pod[:i], "Deployment"
		}
	}
	if labels["controller-revision-hash"] != "" {
		if s := random.FindStringSubmatch(pod); s != nil {
			return s[1], "DaemonSet"
		}
	}
	if s := replica.FindStringSubmatch(pod); s != nil {
		return s[1], "Deployment"
	}
	return pod, "Pod"
}
