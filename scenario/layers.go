package scenario

import (
	"errors"
	"fmt"

	"sigs.k8s.io/yaml"

	"github.com/gabion-dev/gabion/api/v1alpha1"
)

// withLayers sets the modes of a policy's sections to what the run's layers
// say, and gives the policy's id. With both layers the document stays as it
// is, comments included.
func withLayers(doc []byte, o *Options) (id string, out []byte, err error) {
	var m map[string]any
	if err := yaml.Unmarshal(doc, &m); err != nil {
		return "", nil, fmt.Errorf("read policy: %w", err)
	}
	meta, _ := m["metadata"].(map[string]any)
	kind, _ := m["kind"].(string)
	name, _ := meta["name"].(string)
	ns, _ := meta["namespace"].(string)
	spec, ok := m["spec"].(map[string]any)
	if kind == "" || name == "" || ns == "" || !ok {
		return "", nil, errors.New("read policy: it needs kind, metadata.name, metadata.namespace and spec")
	}
	id = kind + "/" + ns + "/" + name
	if o.has(Guard) && o.has(Firewall) {
		return id, doc, nil
	}
	for section, layer := range map[string]string{"process": Guard, "network": Firewall} {
		s, ok := spec[section].(map[string]any)
		if !ok {
			continue
		}
		s["mode"] = string(v1alpha1.Monitor)
		if o.has(layer) {
			s["mode"] = string(v1alpha1.Protect)
		}
	}
	out, err = yaml.Marshal(m)
	if err != nil {
		return "", nil, fmt.Errorf("write policy: %w", err)
	}
	return id, out, nil
}
