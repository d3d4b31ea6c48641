package v1alpha1

import (
	"reflect"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// reservedKinds are kinds that the language has names for and this version
// does not enforce, with what to do instead.
func reservedKinds() map[string]string {
	return map[string]string{
		"AdmissionPolicy": "remove the document; admission control comes in a later version",
		"AuditProfile":    "remove the document; posture checks come in a later version",
		"Sensor":          "remove the document; own detections can be written as ResponsePolicy over events",
		"ImageTrust":      "remove the document; image signatures come in a later version",
	}
}

// reservedFields are fields of a type that the language has names for and this
// version does not enforce. A rule that were accepted without them would allow
// more than its author wrote, so they are refused, by name.
func reservedFields(t reflect.Type) map[string]string {
	switch t {
	case reflect.TypeFor[WorkloadPolicySpec]():
		return map[string]string{
			"inspect": "remove the section; traffic is judged by peer and port, not by content",
			"limits":  "remove the section",
		}
	case reflect.TypeFor[IngressRule](), reflect.TypeFor[EgressRule]():
		m := map[string]string{}
		for _, name := range []string{"protocol", "http", "grpc", "kafka", "dns", "tls", "sql", "redis", "postgresql", "mysql"} {
			m[name] = `remove it and give ports, for example "tcp/5432"; protocols are not told apart by content yet`
		}
		return m
	case reflect.TypeFor[Peer]():
		return map[string]string{
			"fqdn":      "give the addresses as cidr, or the workload; names are not followed yet",
			"namespace": "write workload: {namespace: NAME}",
		}
	case reflect.TypeFor[NetworkSpec]():
		return map[string]string{"inspect": "remove the section", "limits": "remove the section"}
	case reflect.TypeFor[ResponseAction]():
		return map[string]string{
			"label":  "use notify, quarantine, pause or kill",
			"scale":  "use notify, quarantine, pause or kill",
			"revoke": "use notify, quarantine, pause or kill",
		}
	case reflect.TypeFor[ScanTargetSpec]():
		return map[string]string{
			"notify": "remove it; write a ResponsePolicy over the events of scans",
		}
	case reflect.TypeFor[TagSpec]():
		return map[string]string{
			"newerThan": "remove it; say how many of the newest with newest and order: Created",
		}
	case reflect.TypeFor[RegistryCredentials]():
		return map[string]string{
			"secretRef": "mount the secret and name the file with file, or name variables with usernameEnv and passwordEnv",
		}
	case reflect.TypeFor[NotifyAction]():
		return map[string]string{
			"chat":  "use webhook",
			"kafka": "use webhook, syslog or file",
			"otlp":  "use webhook, syslog or file",
		}
	}
	return nil
}

// literals are names under which people write a secret itself.
func literals(t reflect.Type) []string {
	switch t {
	case reflect.TypeFor[ScanTargetSpec](), reflect.TypeFor[RegistryCredentials]():
		return []string{"username", "user", "password", "token", "auth", "identityToken"}
	}
	return nil
}

// enums lists the words that are valid for a type.
func enums() map[reflect.Type][]string {
	return map[reflect.Type][]string{
		reflect.TypeFor[Mode]():            {string(Learn), string(Monitor), string(Protect)},
		reflect.TypeFor[WhenBlind]():       {string(Open), string(Closed)},
		reflect.TypeFor[Action]():          {string(Allow), string(Deny)},
		reflect.TypeFor[AccessWord]():      words(AccessWords()),
		reflect.TypeFor[HardeningPreset](): {string(Baseline), string(Restricted)},
		reflect.TypeFor[TagOrder]():        {string(TagOrderVersion), string(TagOrderCreated)},
		reflect.TypeFor[SyslogNetwork]():   {string(SyslogTCP), string(SyslogTLS), string(SyslogUDP)},
		reflect.TypeFor[metav1.LabelSelectorOperator](): {
			"In", "NotIn", "Exists", "DoesNotExist",
		},
	}
}

func words[W ~string](list []W) []string {
	out := make([]string, len(list))
	for i, w := range list {
		out[i] = string(w)
	}
	return out
}

// entities are the words for Peer.Entity; ApiServer is reserved.
func entities() []string {
	return []string{EntityAny, EntityInternet, EntityNode, EntityMetadata}
}

// Entities of a Peer.
const (
	EntityAny      = "Any"
	EntityInternet = "Internet"
	EntityNode     = "Node"
	EntityMetadata = "Metadata"
)

// Reserved lists everything that the language has names for and this version
// refuses, for documentation: "kind AdmissionPolicy", "Peer.fqdn".
func Reserved() []string {
	var out []string
	for kind := range reservedKinds() {
		out = append(out, "kind "+kind)
	}
	for _, t := range []reflect.Type{
		reflect.TypeFor[WorkloadPolicySpec](), reflect.TypeFor[NetworkSpec](),
		reflect.TypeFor[IngressRule](), reflect.TypeFor[EgressRule](), reflect.TypeFor[Peer](),
		reflect.TypeFor[ResponseAction](), reflect.TypeFor[NotifyAction](),
		reflect.TypeFor[ScanTargetSpec](), reflect.TypeFor[TagSpec](), reflect.TypeFor[RegistryCredentials](),
	} {
		for name := range reservedFields(t) {
			out = append(out, t.Name()+"."+name)
		}
	}
	out = append(out, "Peer.entity: ApiServer")
	slices.Sort(out)
	return out
}
