package platform

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/gabion-dev/gabion/api/v1alpha1"
	"github.com/gabion-dev/gabion/fleet/store"
	"github.com/gabion-dev/gabion/workload"
)

// profiles keeps what was learned in the store, one document a workload.
type profiles struct{ s store.Store }

const profileKind = "profile"

func (p profiles) Load(ctx context.Context, ref workload.Ref) (*v1alpha1.Profile, error) {
	data, err := p.s.Document(ctx, profileKind, ref.String())
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var doc v1alpha1.Profile
	if err := json.Unmarshal(data, &doc); err != nil {
		return nil, fmt.Errorf("read profile of %s: %w", ref, err)
	}
	return &doc, nil
}

func (p profiles) Save(ctx context.Context, ref workload.Ref, doc v1alpha1.Profile) error {
	data, err := json.Marshal(doc)
	if err != nil {
		return fmt.Errorf("write profile of %s: %w", ref, err)
	}
	return p.s.Put(ctx, profileKind, ref.String(), data)
}

// forget removes what was learned of the workloads of a namespace.
func (p profiles) forget(ctx context.Context, namespace string) error {
	docs, err := p.s.Documents(ctx, profileKind)
	if err != nil {
		return err
	}
	for name := range docs {
		if strings.HasPrefix(name, namespace+"/") {
			if err := p.s.Delete(ctx, profileKind, name); err != nil {
				return fmt.Errorf("forget profile of %s: %w", name, err)
			}
		}
	}
	return nil
}
