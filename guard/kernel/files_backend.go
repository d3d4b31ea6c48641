package kernel

import "github.com/gabion-dev/gabion/guard"

// filesBackend is what enforces the files section; nothing else does.
func filesBackend() guard.Backend {
	b := guard.Backend{
		ID: "lsm files", Section: "files",
		Guarantee: "the call that would use a file in a forbidden way fails with EPERM; pinned, so it outlives the agent",
		Stops: []string{"reading, writing, appending, creating, deleting, renaming, linking and changing the mode, by whatever name, link, mount or descriptor a file is reached",
			"renaming or linking a file out of the rules on it"},
		Passes: []string{"descriptors that a program was started with", "an overlay mounted over ruled files (forbid it with the hardening switch mount)"},
	}
	for _, h := range filesHooks().hooks {
		b.Needs = append(b.Needs, "refusing "+h.name)
	}
	return b
}
