package respond_test

import (
	"context"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gabion-dev/gabion/api/v1alpha1"
	"github.com/gabion-dev/gabion/event"
	"github.com/gabion-dev/gabion/respond"
	"github.com/gabion-dev/gabion/workload"
)

// A policy in mode Monitor says what it would do.
func ExampleEngine() {
	engine, err := respond.New(respond.Config{Node: "n1"}, respond.Deps{Emit: func(e event.Event) { fmt.Println(e.Message) }})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer engine.Close()
	err = engine.SetPolicies([]*v1alpha1.ResponsePolicy{{
		ObjectMeta: metav1.ObjectMeta{Name: "cut-off-drift", Namespace: "shop"},
		Spec: v1alpha1.ResponsePolicySpec{
			Match:   `event.kind == "process.drift" && event.severityRank >= 3`,
			Actions: []v1alpha1.ResponseAction{{Quarantine: &v1alpha1.QuarantineAction{For: "15m"}}},
		},
	}})
	if err != nil {
		fmt.Println(err)
		return
	}
	engine.Handle(context.Background(), event.Event{
		ID: "1", Kind: event.ProcessDrift, Severity: event.High, Count: 1, Last: time.Now(), ContainerID: "c1",
		Workload: workload.Ref{Namespace: "shop", Name: "web"}, Message: "Blocked /tmp/x, which is not in the image.",
	})
	// Output: Would quarantine shop/web for 15m0s: Blocked /tmp/x, which is not in the image.
}
