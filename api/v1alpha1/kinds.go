package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Kinds of documents, as written in their field kind.
const (
	KindWorkloadPolicy        = "WorkloadPolicy"
	KindClusterWorkloadPolicy = "ClusterWorkloadPolicy"
	KindException             = "Exception"
	KindResponsePolicy        = "ResponsePolicy"
	KindProfile               = "Profile"
	KindScanTarget            = "ScanTarget"
	KindPolicyTest            = "PolicyTest"
)

// DefaultNamespace is where a namespaced document without a namespace belongs.
const DefaultNamespace = "default"

// Object is any document of the language: one of *WorkloadPolicy,
// *ClusterWorkloadPolicy, *Exception, *ResponsePolicy, *Profile, *ScanTarget,
// *PolicyTest.
type Object interface {
	metav1.Object
	// Meta gives the document's type and metadata for reading and writing.
	Meta() (*metav1.TypeMeta, *metav1.ObjectMeta)
}

// Meta implements Object.
func (p *WorkloadPolicy) Meta() (*metav1.TypeMeta, *metav1.ObjectMeta) {
	return &p.TypeMeta, &p.ObjectMeta
}

// Meta implements Object.
func (p *ClusterWorkloadPolicy) Meta() (*metav1.TypeMeta, *metav1.ObjectMeta) {
	return &p.TypeMeta, &p.ObjectMeta
}

// Meta implements Object.
func (e *Exception) Meta() (*metav1.TypeMeta, *metav1.ObjectMeta) {
	return &e.TypeMeta, &e.ObjectMeta
}

// Meta implements Object.
func (p *ResponsePolicy) Meta() (*metav1.TypeMeta, *metav1.ObjectMeta) {
	return &p.TypeMeta, &p.ObjectMeta
}

// Meta implements Object.
func (p *Profile) Meta() (*metav1.TypeMeta, *metav1.ObjectMeta) {
	return &p.TypeMeta, &p.ObjectMeta
}

// Meta implements Object.
func (t *ScanTarget) Meta() (*metav1.TypeMeta, *metav1.ObjectMeta) {
	return &t.TypeMeta, &t.ObjectMeta
}

// Meta implements Object.
func (t *PolicyTest) Meta() (*metav1.TypeMeta, *metav1.ObjectMeta) {
	return &t.TypeMeta, &t.ObjectMeta
}

// newObject makes an empty document of a kind, or nil for an unknown kind.
func newObject(kind string) Object {
	switch kind {
	case KindWorkloadPolicy:
		return new(WorkloadPolicy)
	case KindClusterWorkloadPolicy:
		return new(ClusterWorkloadPolicy)
	case KindException:
		return new(Exception)
	case KindResponsePolicy:
		return new(ResponsePolicy)
	case KindProfile:
		return new(Profile)
	case KindScanTarget:
		return new(ScanTarget)
	case KindPolicyTest:
		return new(PolicyTest)
	}
	return nil
}

// Kinds names every kind, in the order of the documentation.
func Kinds() []string {
	return []string{
		KindWorkloadPolicy, KindClusterWorkloadPolicy, KindException, KindResponsePolicy, KindProfile,
		KindScanTarget, KindPolicyTest,
	}
}

// ID names a document among all documents: "Kind/namespace/name", or
// "Kind/name" when it has cluster scope.
func ID(o Object) string {
	t, m := o.Meta()
	if ns := Namespace(o); ns != "" {
		return t.Kind + "/" + ns + "/" + m.Name
	}
	return t.Kind + "/" + m.Name
}

// Namespace is where the document belongs; "" means cluster scope.
func Namespace(o Object) string {
	t, m := o.Meta()
	switch t.Kind {
	case KindClusterWorkloadPolicy, KindScanTarget:
		return ""
	case KindWorkloadPolicy, KindProfile, KindPolicyTest:
		if m.Namespace == "" {
			return DefaultNamespace
		}
	}
	return m.Namespace
}

// Policy gives the body of both kinds of workload policy, and nil for others.
func Policy(o Object) *WorkloadPolicySpec {
	switch p := o.(type) {
	case *WorkloadPolicy:
		return &p.Spec
	case *ClusterWorkloadPolicy:
		return &p.Spec
	}
	return nil
}

// ModeOf gives the mode in force for a section of the policy: the section's
// own, else the policy's, else Monitor.
func (s *WorkloadPolicySpec) ModeOf(section Mode) Mode {
	switch {
	case section != "":
		return section
	case s.Mode != "":
		return s.Mode
	}
	return Monitor
}

// Rank orders modes: 0 for none or an unknown one, 1 Learn, 2 Monitor, 3 Protect.
func (m Mode) Rank() int {
	switch m {
	case Learn:
		return 1
	case Monitor:
		return 2
	case Protect:
		return 3
	}
	return 0
}

// ForContainers reports whether there are rules that loosen policies of
// containers.
func (r *ExceptionRules) ForContainers() bool {
	return len(r.Process)+len(r.Drift)+len(r.Files)+len(r.Capabilities)+len(r.Hardening)+len(r.Ingress)+len(r.Egress) > 0
}

// ForImages reports whether there are rules about findings in images.
func (r *ExceptionRules) ForImages() bool {
	return len(r.Vulnerabilities)+len(r.Secrets)+len(r.Checks)+len(r.Licenses) > 0
}
