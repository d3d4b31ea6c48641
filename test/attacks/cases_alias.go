package attacks

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/gabion-dev/gabion/event"
)

const denied = "/usr/bin/denied"

// aliasCases reach a program that policy names by another way.
func aliasCases() []Case {
	alias := func(name string, attack, twin func() error) Case {
		return Case{Name: name, Threat: "reach a forbidden program by another name", Technique: "T1036", Policy: "deny",
			Attack: attack, Twin: twin, Kind: event.ProcessExec}
	}
	core := func(c Case) Case { c.Core = true; return c }
	// both makes attack and twin of one trick, by the program it is done with.
	both := func(name string, trick func(program string) error) Case {
		return alias(name, func() error { return trick(denied) }, func() error { return trick(app) })
	}
	tool := func(name string, attack, twin func() error) Case {
		c := alias(name, attack, twin)
		c.Threat, c.Technique = "use a download tool, which the policy forbids by class", "T1105"
		return c
	}
	return []Case{
		core(both("by its path", func(p string) error { return run(p) })),
		core(both("symbolic link", func(p string) error { return run(symlink(p, "/tmp/sym")) })),
		both("chain of forty symbolic links", func(p string) error {
			for i := range 39 {
				p = symlink(p, fmt.Sprintf("/tmp/chain%d", i))
			}
			return run(p)
		}),
		core(both("hard link", func(p string) error {
			_ = os.Remove("/usr/bin/hardlink")
			if err := os.Link(p, "/usr/bin/hardlink"); err != nil {
				return err
			}
			return run("/usr/bin/hardlink")
		})),
		both("renamed", func(p string) error {
			if err := os.Rename(p, p+".new"); err != nil {
				return err
			}
			return errors.Join(run(p+".new"), os.Rename(p+".new", p))
		}),
		both("renamed to the name of another program", func(p string) error {
			if err := os.Rename(p, "/bin/df"); err != nil {
				return err
			}
			return errors.Join(run("/bin/df"), os.Rename("/bin/df", p))
		}),
		alias("its directory renamed", func() error { return moved("/volume/tools/in", "one") }, func() error { return moved("/volume/other/in", "one") }),
		alias("its directory's parent renamed", func() error { return moved("/volume/tools", "in/one") }, func() error { return moved("/volume/other", "in/one") }),
		core(both("bind mount of the file", func(p string) error {
			return apart(unix.CLONE_NEWNS, func() error {
				if err := os.WriteFile("/tmp/point", nil, 0o644); err != nil {
					return err
				}
				if err := unix.Mount(p, "/tmp/point", "", unix.MS_BIND, ""); err != nil {
					return err
				}
				return run("/tmp/point")
			})
		})),
		both("bind mount of its directory", func(p string) error {
			return apart(unix.CLONE_NEWNS, func() error {
				if err := unix.Mount(filepath.Dir(p), "/mnt", "", unix.MS_BIND, ""); err != nil {
					return err
				}
				return run("/mnt/" + filepath.Base(p))
			})
		}),
		both("another program bound over a directory above it", func(p string) error {
			return apart(unix.CLONE_NEWNS, func() error {
				dir, err := unix.Open(filepath.Dir(p), unix.O_PATH|unix.O_DIRECTORY, 0)
				if err != nil {
					return err
				}
				if err := unix.Mount("tmpfs", "/usr", "tmpfs", 0, ""); err != nil {
					return err
				}
				return execveatChild(dir, filepath.Base(p))
			})
		}),
		both("below /proc/self/root", func(p string) error { return run("/proc/self/root" + p) }),
		both("below /proc/1/root", func(p string) error { return run("/proc/1/root" + p) }),
		both("below /proc/1/root, many times", func(p string) error { return run(strings.Repeat("/proc/1/root", 20) + p) }),
		both("below /proc/self/cwd", func(p string) error {
			if err := os.Chdir(filepath.Dir(p)); err != nil {
				return err
			}
			return run("/proc/self/cwd/" + filepath.Base(p))
		}),
		both("relative, with dots", func(p string) error {
			if err := os.Chdir("/usr/local"); err != nil {
				return err
			}
			return run("../../tmp/.././/" + p[1:])
		}),
		both("path of 4,000 characters", func(p string) error { return run(strings.Repeat("/.", 1990) + p) }),
		both("O_PATH and execveat", func(p string) error { return becomeFD(p, unix.O_PATH) }),
		both("execveat from a directory", func(p string) error {
			dir, err := unix.Open("/usr", unix.O_PATH|unix.O_DIRECTORY, 0)
			if err != nil {
				return err
			}
			return execveat(dir, "bin/"+filepath.Base(p), 0)
		}),
		both("descriptor kept from before its directory was removed from view", func(p string) error {
			fd, err := unix.Open(p, unix.O_RDONLY|unix.O_CLOEXEC, 0)
			if err != nil {
				return err
			}
			return execveat(fd, "", unix.AT_EMPTY_PATH)
		}),
		alias("open_by_handle_at", func() error { return byHandle("/data/tools/one") }, func() error { return byHandle("/data/other/one") }),
		both("another name in its arguments", func(p string) error { return runAs(p, "/usr/bin/app") }),
		both("no arguments at all", func(p string) error {
			path, err := unix.BytePtrFromString(p)
			if err != nil {
				return err
			}
			_, _, errno := unix.Syscall(unix.SYS_EXECVE, ptr(path), 0, 0)
			return errno
		}),
		both("through the shell", func(p string) error { return run("/bin/sh", "-c", p) }),
		both("through env", func(p string) error { return run("/bin/env", "-i", p) }),
		both("through xargs", func(p string) error { return run("/bin/sh", "-c", "echo x | /bin/xargs "+p) }),
		both("through find", func(p string) error { return run("/bin/find", "/bin/busybox", "-exec", p, ";") }),
		both("as the interpreter of a script", func(p string) error {
			if err := drop("/tmp/byscript", []byte("#!"+p+"\n")); err != nil {
				return err
			}
			return run("/tmp/byscript")
		}),
		both("from a thread", becomeInThread),
		both("as another user", func(p string) error { return run("/bin/su", "-s", "/bin/sh", "nobody", "-c", p) }),
		// Deeper than the kernel program walks is a reason to deny in itself.
		alias("in a directory forty deep", deep("/opt/tools", 40), deep("/usr/bin", 20)),
		alias("in a directory three hundred deep", deep("/opt/tools", 300), deep("/usr/bin", 20)),
		alias("below its directory, under a new name", func() error {
			_ = os.Remove("/opt/tools/two")
			if err := os.Link(app, "/opt/tools/two"); err != nil {
				return err
			}
			return run("/opt/tools/two")
		}, of("/opt/other/one")),

		core(tool("tool by its class", of("/usr/bin/curl"), of(app))),
		core(tool("applet of busybox", tells("/bin/wget"), tells("/bin/cat"))),
		tool("applet as an argument of busybox", tells("/bin/busybox", "wget"), tells("/bin/busybox", "cat")),
		tool("applet under a copied link", func() error { return tells(symlink("/bin/busybox", "/tmp/wget"))() },
			func() error { return tells(symlink("/bin/busybox", "/tmp/cat"))() }),
		tool("applet under a hard link of busybox", func() error {
			return tells(hardlink("/bin/multi", "/usr/local/bin/wget"))()
		}, func() error { return tells(hardlink("/bin/multi", "/usr/local/bin/cat"))() }),
		tool("applet by the name in the arguments", func() error { return tellsAs("/bin/busybox", "wget") },
			func() error { return tellsAs("/bin/busybox", "cat") }),
		tool("applet by a path in the arguments", func() error { return tellsAs("/bin/cat", "/x/y/wget") },
			func() error { return tellsAs("/bin/cat", "/x/y/cat") }),
		tool("applet with a dash before its name", func() error { return tellsAs("/bin/busybox", "-wget") },
			func() error { return tellsAs("/bin/busybox", "-cat") }),
		tool("applet through two names of busybox", tells("/bin/busybox", "busybox", "wget"), tells("/bin/busybox", "busybox", "cat")),
		tool("copy of a tool under its own name", func() error {
			if err := cp("/usr/bin/curl", "/tmp/curl"); err != nil {
				return err
			}
			return run("/tmp/curl")
		}, of(app)),
	}
}

func symlink(to, at string) string {
	_ = os.Remove(at)
	_ = os.Symlink(to, at) // what follows fails without it
	return at
}

func hardlink(to, at string) string {
	_ = os.Remove(at)
	_ = os.Link(to, at) // what follows fails without it
	return at
}

// deep runs a program many directories below another.
func deep(dir string, levels int) func() error {
	return func() error {
		at := dir + strings.Repeat("/d", levels)
		if err := os.MkdirAll(at, 0o755); err != nil {
			return err
		}
		if err := cp(app, at+"/x"); err != nil {
			return err
		}
		return run(at + "/x")
	}
}

// moved renames a directory, runs a program in it and puts it back.
func moved(dir, program string) error {
	if err := os.Rename(dir, dir+".moved"); err != nil {
		return err
	}
	return errors.Join(run(dir+".moved/"+program), os.Rename(dir+".moved", dir))
}

// tells makes a part that is done when busybox prints the help of an applet:
// then it has started.
func tells(argv ...string) func() error {
	return func() error { return tellsAs(argv[0], argv...) }
}

func tellsAs(path string, argv ...string) error {
	cmd := &exec.Cmd{Path: path, Args: append(argv, "--help")}
	said, err := cmd.CombinedOutput()
	if strings.Contains(string(said), "Usage: ") && !strings.Contains(string(said), "[function [arguments]") {
		return nil
	}
	return fmt.Errorf("%s: %v: %s", path, err, said)
}

// byHandle opens a program by its handle, as a program that knows the number
// of the file would, and becomes it.
func byHandle(p string) error {
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		return err
	}
	if err := cp(app, p); err != nil {
		return err
	}
	handle, _, err := unix.NameToHandleAt(unix.AT_FDCWD, p, 0)
	if err != nil {
		return fmt.Errorf("take handle: %w", err)
	}
	at, err := unix.Open("/data", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	fd, err := unix.OpenByHandleAt(at, handle, unix.O_RDONLY|unix.O_CLOEXEC)
	if err != nil {
		return fmt.Errorf("open by handle: %w", err)
	}
	return execveat(fd, "", unix.AT_EMPTY_PATH)
}

// execveatChild runs a program below a directory in a child.
func execveatChild(dir int, name string) error {
	return run(fmt.Sprintf("/proc/%d/fd/%d/%s", os.Getpid(), dir, name))
}
