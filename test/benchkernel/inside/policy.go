package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/gabion-dev/gabion/policy"
	"github.com/gabion-dev/gabion/workload"
)

const namespace = "bench"

// Directories of the image: what no rule covers, what rules allow the load to
// read, what they deny.
const (
	freeDir      = "/opt/app/lib/modules"
	allowedDir   = "/var/lib/app/data"
	forbiddenDir = "/etc/secrets/keys"
)

// shapes are policies as people have them, each with what the one before has.
var shapes = []struct {
	name, words string
	sections    int // how many sections the engine must have for it
}{
	{"learn", "no policy yet", 1},
	{"exec", "40 programs and drift", 1},
	{"files", "40 programs, drift and 60 file rules", 2},
	{"all", "40 programs, drift, 60 file rules, capabilities and Restricted hardening", 4},
}

// document is the policy of a shape.
func document(shape string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "apiVersion: gabion.dev/v1alpha1\nkind: WorkloadPolicy\nmetadata: {name: %s, namespace: %s}\nspec:\n  selector: {}\n  mode: Protect\n", shape, namespace)
	b.WriteString("  process:\n    drift: Deny\n    deny: [{class: package-manager}, {class: miner}, {class: compiler}]\n    allow:\n      - {path: /bench}\n")
	for i := range programs - 1 {
		fmt.Fprintf(&b, "      - {path: /usr/bin/app%02d}\n", i)
	}
	fmt.Fprintf(&b, "      - {path: /usr/bin/app%02d}\n", programs-1)
	if shape == "exec" {
		return b.String()
	}
	b.WriteString("  files:\n")
	for i := range 20 { // secrets for one program each
		fmt.Fprintf(&b, "    - {path: /etc/app/secret%02d, access: Read, by: [/usr/bin/app%02d]}\n", i, i)
	}
	for i := range 18 { // code and settings that nobody changes
		fmt.Fprintf(&b, "    - {path: /usr/share/part%02d, access: Write, action: Deny, recursive: true}\n", i)
	}
	for i := range 20 { // single files
		fmt.Fprintf(&b, "    - {path: /etc/setting%02d.conf, access: [Write, Rename, Delete], action: Deny}\n", i)
	}
	fmt.Fprintf(&b, "    - {path: /var/lib/app, access: [Read, Write], recursive: true, by: [/bench]}\n")
	fmt.Fprintf(&b, "    - {path: %s, access: Read, action: Deny, recursive: true}\n", forbiddenDir)
	if shape == "files" {
		return b.String()
	}
	b.WriteString("  capabilities: {allow: [NET_BIND_SERVICE, CHOWN, SETUID, SETGID, DAC_OVERRIDE, FOWNER, KILL, SETPCAP]}\n  hardening: {preset: Restricted}\n")
	return b.String()
}

// plan compiles documents for a container.
func plan(c *workload.Container, documents ...string) (*policy.Plan, error) {
	var files []policy.File
	for i, d := range documents {
		files = append(files, policy.File{Name: fmt.Sprint("bench-", i, ".yaml"), Data: []byte(d)})
	}
	set, errs := policy.Load(files)
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return set.Compile(c, time.Now()), nil
}
