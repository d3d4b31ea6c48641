package attacks

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/gabion-dev/gabion/event"
)

const app = "/usr/bin/app"

// dropped drops a program at a path and runs it.
func dropped(to string) func() error {
	return func() error {
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		if err := cp(app, to); err != nil {
			return err
		}
		return run(to)
	}
}

func driftCases() []Case {
	drift := func(name string, attack, twin func() error) Case {
		return Case{Name: name, Threat: "run a program that the image does not have", Technique: "T1105", Policy: "drift",
			Attack: attack, Twin: twin, Kind: event.ProcessDrift}
	}
	fileless := func(name string, attack, twin func() error) Case {
		c := drift(name, attack, twin)
		c.Threat, c.Technique, c.Kind = "run a program that has no file", "T1620", event.ProcessFileless
		return c
	}
	core := func(c Case) Case { c.Core = true; return c }
	return []Case{
		core(drift("dropped into the root", dropped("/tmp/x"), of(app))),
		drift("dropped beside the image's programs", dropped("/usr/bin/x"), of("/usr/bin/other")),
		core(drift("dropped on a tmpfs", dropped("/data/x"), of(app))),
		drift("dropped into /dev/shm", dropped("/dev/shm/x"), of(app)),
		drift("dropped on a volume", dropped("/volume/x"), of(app)),
		drift("dropped into a hidden directory", dropped("/var/tmp/.../x"), of(app)),
		drift("dropped with an odd name", dropped("/tmp/ \n\x01\xff;$(x)"), of(app)),
		core(drift("image program overwritten in place", func() error {
			return overwrite("/usr/bin/victim", Forged())
		}, first(sh("chmod 700 /usr/bin/touched && echo effect"), of("/usr/bin/touched")))),
		drift("image program replaced by rename", func() error {
			if err := drop("/tmp/replacement", Forged()); err != nil {
				return err
			}
			if err := os.Rename("/tmp/replacement", "/usr/bin/victim2"); err != nil {
				return err
			}
			return run("/usr/bin/victim2")
		}, of(app)),
		drift("image program deleted and made again", func() error {
			if err := drop("/usr/bin/victim3", Forged()); err != nil {
				return err
			}
			return run("/usr/bin/victim3")
		}, of(app)),
		drift("one byte appended to an image program", func() error {
			f, err := os.OpenFile("/usr/bin/victim4", os.O_APPEND|os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			if _, err := f.Write([]byte{0}); err != nil {
				return err
			}
			if err := f.Close(); err != nil {
				return err
			}
			return run("/usr/bin/victim4")
		}, first(sh("chmod 711 /usr/bin/touched && echo effect"), of("/usr/bin/touched"))),
		drift("change time put back after the write", func() error {
			var st unix.Stat_t
			if err := unix.Stat("/usr/bin/victim5", &st); err != nil {
				return err
			}
			if err := os.WriteFile("/usr/bin/victim5", Forged(), 0); err != nil {
				return err
			}
			times := []unix.Timespec{st.Atim, st.Mtim}
			if err := unix.UtimesNanoAt(unix.AT_FDCWD, "/usr/bin/victim5", times, 0); err != nil {
				return err
			}
			return run("/usr/bin/victim5")
		}, of(app)),
		drift("hard link to a dropped program", func() error {
			if err := drop("/data/d", Program()); err != nil {
				return err
			}
			_ = os.Remove("/data/hard")
			if err := os.Link("/data/d", "/data/hard"); err != nil {
				return err
			}
			return run("/data/hard")
		}, func() error {
			_ = os.Remove("/usr/bin/linked")
			if err := os.Symlink(app, "/usr/bin/linked"); err != nil {
				return err
			}
			return run("/usr/bin/linked")
		}),
		drift("symbolic link with an image name to a dropped program", func() error {
			if err := drop("/data/d", Program()); err != nil {
				return err
			}
			_ = os.Remove("/usr/bin/looksgood")
			if err := os.Symlink("/data/d", "/usr/bin/looksgood"); err != nil {
				return err
			}
			return run("/usr/bin/looksgood")
		}, of("/usr/local/bin/link")),
		core(drift("bind mount of a dropped program over an image program", func() error {
			if err := drop("/data/d", Program()); err != nil {
				return err
			}
			return apart(unix.CLONE_NEWNS, func() error {
				if err := unix.Mount("/data/d", app, "", unix.MS_BIND, ""); err != nil {
					return err
				}
				return run(app)
			})
		}, func() error {
			return apart(unix.CLONE_NEWNS, func() error {
				if err := unix.Mount("/usr/bin", "/mnt", "", unix.MS_BIND, ""); err != nil {
					return err
				}
				return run("/mnt/app")
			})
		})),
		drift("tmpfs mounted over the image's programs", func() error {
			return apart(unix.CLONE_NEWNS, func() error {
				if err := unix.Mount("tmpfs", "/usr/bin", "tmpfs", 0, ""); err != nil {
					return err
				}
				if err := drop("/usr/bin/app", Program()); err != nil {
					return err
				}
				return run(app)
			})
		}, of(app)),
		drift("overlay of the intruder's own over the image's programs", func() error {
			return apart(unix.CLONE_NEWNS, func() error {
				for _, d := range []string{"/data/o/up", "/data/o/work"} {
					if err := os.MkdirAll(d, 0o755); err != nil {
						return err
					}
				}
				if err := drop("/data/o/up/app", Program()); err != nil {
					return err
				}
				if err := unix.Mount("overlay", "/usr/bin", "overlay", 0, "lowerdir=/opt,upperdir=/data/o/up,workdir=/data/o/work"); err != nil {
					return err
				}
				return run(app)
			})
		}, of(app)),
		drift("chroot into a dropped tree", func() error {
			if err := os.MkdirAll("/data/tree/usr/bin", 0o755); err != nil {
				return err
			}
			if err := drop("/data/tree/usr/bin/app", Program()); err != nil {
				return err
			}
			return run("/bin/chroot", "/data/tree", app)
		}, of("/bin/chroot", "/", app)),
		drift("started by a descriptor", func() error {
			if err := drop("/data/d", Program()); err != nil {
				return err
			}
			return becomeFD("/data/d", unix.O_PATH)
		}, func() error { return becomeFD(app, unix.O_PATH) }),
		drift("started from a thread", func() error {
			if err := drop("/data/d", Program()); err != nil {
				return err
			}
			return becomeInThread("/data/d")
		}, func() error { return becomeInThread(app) }),
		drift("started by vfork", func() error {
			if err := drop("/data/d", Program()); err != nil {
				return err
			}
			return sh("/data/d")()
		}, sh(app)),
		drift("orphan of a double fork", func() error {
			if err := drop("/data/d", Program()); err != nil {
				return err
			}
			return run("/bin/sh", "-c", "(/bin/setsid /data/d &) ; /bin/sleep 1")
		}, of("/bin/sh", "-c", "(/bin/setsid /usr/bin/app &) ; /bin/sleep 1")),
		{Name: "a thousand attempts", Threat: "run a program that the image does not have", Technique: "T1105", Policy: "drift",
			Attack: func() error {
				if err := drop("/data/d", Program()); err != nil {
					return err
				}
				return attempts(1000, "/data/d")
			}, Twin: func() error { return attempts(20, app) }, Kind: event.ProcessDrift, Denials: 1000},
		{Name: "swapped between look and start", Threat: "run a program that the image does not have", Technique: "T1105", Policy: "drift",
			Attack: func() error { return swap("/data/swap", 200) }, Twin: of(app), Kind: event.ProcessDrift, Denials: Some},

		core(fileless("memfd by its name in /proc", func() error {
			fd, err := memfd(Program(), 0)
			if err != nil {
				return err
			}
			return unix.Exec(fmt.Sprintf("/proc/self/fd/%d", fd), []string{"kworker"}, nil)
		}, of(app))),
		fileless("memfd by execveat", func() error {
			fd, err := memfd(Program(), unix.MFD_CLOEXEC)
			if err != nil {
				return err
			}
			return execveat(fd, "", unix.AT_EMPTY_PATH)
		}, func() error { return becomeFD(app, unix.O_RDONLY|unix.O_CLOEXEC) }),
		fileless("sealed memfd", func() error {
			fd, err := memfd(Program(), unix.MFD_ALLOW_SEALING)
			if err != nil {
				return err
			}
			if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_WRITE|unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_SEAL); err != nil {
				return err
			}
			return execveat(fd, "", unix.AT_EMPTY_PATH)
		}, of(app)),
		fileless("O_TMPFILE", func() error {
			fd, err := unix.Open("/data", unix.O_TMPFILE|unix.O_RDWR, 0o700)
			if err != nil {
				return err
			}
			return becomeWritten(fd)
		}, of(app)),
		fileless("deleted while open", func() error {
			if err := drop("/data/gone", nil); err != nil {
				return err
			}
			fd, err := unix.Open("/data/gone", unix.O_RDWR, 0)
			if err != nil {
				return err
			}
			if err := os.Remove("/data/gone"); err != nil {
				return err
			}
			return becomeWritten(fd)
		}, of(app)),
	}
}
