package attacks

import (
	"os"

	"github.com/gabion-dev/gabion/event"
)

const script = "#!/bin/sh\necho effect\n"

func scriptCases() []Case {
	sc := func(name, to, text string) Case {
		return Case{Name: name, Threat: "run a script that the image does not have", Technique: "T1059.004", Policy: "drift",
			Attack: func() error {
				if err := drop(to, []byte(text)); err != nil {
					return err
				}
				return run(to)
			}, Twin: of("/usr/bin/script"), Kind: event.ProcessDrift}
	}
	const volumes = "fanotify watches the container's root only, and the program that starts is the image's own shell"
	tmpfs := sc("script on a tmpfs", "/data/script", script)
	tmpfs.Less = map[Backend]Less{Kill: {Verdict: Passed, Why: volumes}}
	shm := sc("script in /dev/shm", "/dev/shm/script", script)
	shm.Less = map[Backend]Less{Kill: {Verdict: Passed, Why: volumes}}
	volume := sc("script on a volume", "/volume/script", script)
	volume.Less = map[Backend]Less{Kill: {Verdict: Passed, Why: volumes}}
	changed := sc("script of the image changed", "/usr/bin/script2", script)
	changed.Attack = func() error {
		if err := os.WriteFile("/usr/bin/script2", []byte(script+"# x\n"), 0); err != nil {
			return err
		}
		return run("/usr/bin/script2")
	}
	root := sc("script in the root", "/tmp/script", script)
	root.Core = true
	interpreter := sc("script whose interpreter was dropped", "/usr/bin/script3", "#!/data/interpreter\n")
	interpreter.Attack = func() error {
		if err := cp(app, "/data/interpreter"); err != nil {
			return err
		}
		return run("/usr/bin/script3")
	}
	return []Case{root, tmpfs, shm, volume, changed, interpreter}
}
