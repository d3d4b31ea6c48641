package attacks

import (
	"os"

	"golang.org/x/sys/unix"

	"github.com/gabion-dev/gabion/event"
)

// listCases run what an allow list does not have.
func listCases() []Case {
	list := func(name string, kind event.Kind, attack, twin func() error) Case {
		return Case{Name: name, Threat: "run what the workload never runs", Technique: "T1059", Policy: "list",
			Attack: attack, Twin: twin, Kind: kind}
	}
	shell := func(name string, attack func() error) Case {
		c := list(name, event.ProcessExec, attack, of(app))
		c.Technique = "T1059.004"
		return c
	}
	first := shell("shell", of("/bin/sh", "-c", "echo effect"))
	first.Core = true
	stdin := shell("shell that reads its standard input", func() error {
		if err := os.WriteFile("/data/in", []byte("echo effect\n"), 0o644); err != nil {
			return err
		}
		return becomeWithInput("/bin/sh", "/data/in")
	})
	return []Case{
		first, stdin,
		shell("shell under another name", func() error { return run(symlink("/bin/busybox", "/tmp/sh"), "-c", "echo effect") }),
		shell("shell as an applet", of("/bin/busybox", "ash", "-c", "echo effect")),
		list("image program that is not listed", event.ProcessExec, of("/usr/bin/other"), of(app)),
		list("loader that is not listed", event.ProcessExec, of(loader, "/usr/bin/other"), of(app)),
		list("image's script", event.ProcessExec, of("/usr/bin/script"), of(app)),
		list("listed program overwritten", event.ProcessDrift, func() error {
			b, err := os.ReadFile(app)
			if err != nil {
				return err
			}
			if err := drop("/data/keep", b); err != nil {
				return err
			}
			defer func() { _ = os.WriteFile(app, b, 0) }()
			return overwrite(app, append(Program(), 0))
		}, of(app)),
		list("other program bound over a listed one", event.ProcessExec, func() error {
			return apart(unix.CLONE_NEWNS, func() error {
				if err := unix.Mount("/usr/bin/other", app, "", unix.MS_BIND, ""); err != nil {
					return err
				}
				return run(app)
			})
		}, of(app)),
		list("symbolic link with the name of a listed one", event.ProcessExec, func() error {
			return run(symlink("/usr/bin/other", "/tmp/app"))
		}, of("/usr/local/bin/link")),
		list("hard link beside a listed one", event.ProcessDrift, func() error {
			_ = os.Remove("/usr/bin/app2")
			if err := os.Link("/usr/bin/other", "/usr/bin/app2"); err != nil {
				return err
			}
			return run("/usr/bin/app2")
		}, of(app)),
		list("chroot to a tree with a listed path", event.ProcessDrift, func() error {
			if err := os.MkdirAll("/opt/root/usr/bin", 0o755); err != nil {
				return err
			}
			_ = os.Remove("/opt/root/usr/bin/app")
			if err := os.Link("/usr/bin/other", "/opt/root/usr/bin/app"); err != nil {
				return err
			}
			return chrooted("/opt/root", app)
		}, func() error { return chrooted("/", app) }),
		list("listed name at the end of a longer path", event.ProcessDrift, func() error {
			if err := os.MkdirAll("/opt/usr/bin", 0o755); err != nil {
				return err
			}
			_ = os.Remove("/opt/usr/bin/app")
			if err := os.Link("/usr/bin/other", "/opt/usr/bin/app"); err != nil {
				return err
			}
			return run("/opt/usr/bin/app")
		}, of(app)),
	}
}

func chrooted(root, path string) error {
	return apart(0, func() error {
		if err := unix.Chroot(root); err != nil {
			return err
		}
		if err := unix.Chdir("/"); err != nil {
			return err
		}
		return ends(command(path))
	})
}

func becomeWithInput(path, input string) error {
	fd, err := unix.Open(input, unix.O_RDONLY, 0)
	if err != nil {
		return err
	}
	if err := unix.Dup2(fd, 0); err != nil {
		return err
	}
	return unix.Exec(path, []string{"sh"}, nil)
}
