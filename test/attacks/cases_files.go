package attacks

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/gabion-dev/gabion/event"
)

// Folders of the volume: policy guards the first for reading and closes the
// second to writing; their likes beside them are free.
const (
	secrets, unguarded = "/volume/secrets", "/volume/open"
	closed, public     = "/volume/closed", "/volume/public"
)

// readCases read a guarded file by another way; the twin reads a free one in
// the same way.
func readCases() []Case {
	read := func(name string, way func(dir string) error) Case {
		return Case{Name: name, Threat: "read a secret", Technique: "T1552.001", Policy: "files",
			Attack: func() error { return way(secrets) }, Twin: func() error { return way(unguarded) }, Kind: event.FileAccess}
	}
	core := func(c Case) Case { c.Core = true; return c }
	const in = "/in/token"
	spaces := func(flags int) func(string) error {
		return func(dir string) error { return apart(flags, func() error { return reads(dir + in) }) }
	}
	cat := func(argv ...string) func(string) error {
		return func(dir string) error {
			line := append([]string{}, argv...)
			for i := range line {
				line[i] = strings.ReplaceAll(line[i], "FILE", dir+in)
			}
			return run(line...)
		}
	}
	overlay := read("read through an overlay over its directory", func(dir string) error {
		return apart(unix.CLONE_NEWNS, func() error {
			if err := unix.Mount("overlay", "/mnt", "overlay", 0, "lowerdir="+dir+"/in:/opt"); err != nil {
				return err
			}
			return reads("/mnt/token")
		})
	})
	for _, b := range []Backend{A61, A612} {
		overlay.lessens(b, Passed, "an overlay that the intruder mounts shows the file as another; the switch mount of hardening prevents that mount, as does the lack of SYS_ADMIN")
	}
	return []Case{
		overlay,
		core(read("read by its path", func(dir string) error { return reads(dir + in) })),
		core(read("read by a symbolic link", func(dir string) error { return reads(symlink(dir+in, "/tmp/readlink")) })),
		core(read("read by a hard link", func(dir string) error { return reads(hardlink(dir+in, "/volume/hard")) })),
		read("read by a hard link in a deep directory", func(dir string) error {
			deep := "/volume/" + strings.Repeat("d/", 40)
			if err := os.MkdirAll(deep, 0o755); err != nil {
				return err
			}
			return reads(hardlink(dir+in, deep+"x"))
		}),
		read("read after its directory was renamed", func(dir string) error {
			if err := os.Rename(dir+"/in", dir+"/out"); err != nil {
				return err
			}
			return errors.Join(reads(dir+"/out/token"), os.Rename(dir+"/out", dir+"/in"))
		}),
		read("read after the directory above was renamed", func(dir string) error {
			if err := os.Rename(dir, dir+".moved"); err != nil {
				return err
			}
			return errors.Join(reads(dir+".moved"+in), os.Rename(dir+".moved", dir))
		}),
		core(read("read through a bind mount of the file", func(dir string) error {
			return apart(unix.CLONE_NEWNS, func() error {
				if err := os.WriteFile("/tmp/point", nil, 0o644); err != nil {
					return err
				}
				if err := unix.Mount(dir+in, "/tmp/point", "", unix.MS_BIND, ""); err != nil {
					return err
				}
				return reads("/tmp/point")
			})
		})),
		read("read through a bind mount of its directory", func(dir string) error {
			return apart(unix.CLONE_NEWNS, func() error {
				if err := unix.Mount(dir+"/in", "/mnt", "", unix.MS_BIND, ""); err != nil {
					return err
				}
				return reads("/mnt/token")
			})
		}),
		core(read("read below /proc/self/root", func(dir string) error { return reads("/proc/self/root" + dir + in) })),
		read("read below /proc/1/root", func(dir string) error { return reads("/proc/1/root" + dir + in) }),
		read("read below /proc/self/cwd", func(dir string) error {
			if err := os.Chdir(dir); err != nil {
				return err
			}
			return reads("/proc/self/cwd" + in)
		}),
		read("read by a relative path with dots", func(dir string) error {
			if err := os.Chdir("/usr/bin"); err != nil {
				return err
			}
			return reads("../.." + dir + "/./in/../in/token")
		}),
		read("read by a path of 4,000 characters", func(dir string) error { return reads(strings.Repeat("/.", 1990) + dir + in) }),
		core(read("O_PATH descriptor opened again", func(dir string) error {
			fd, err := unix.Open(dir+in, unix.O_PATH, 0)
			if err != nil {
				return err
			}
			defer unix.Close(fd)
			return reads(fmt.Sprintf("/proc/self/fd/%d", fd))
		})),
		read("open by its handle", func(dir string) error {
			handle, _, err := unix.NameToHandleAt(unix.AT_FDCWD, dir+in, 0)
			if err != nil {
				return err
			}
			at, err := unix.Open("/volume", unix.O_RDONLY|unix.O_DIRECTORY, 0)
			if err != nil {
				return err
			}
			defer unix.Close(at)
			fd, err := unix.OpenByHandleAt(at, handle, unix.O_RDONLY)
			if err != nil {
				return err
			}
			return readFD(fd)
		}),
		read("openat2 from a directory", func(dir string) error {
			at, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY, 0)
			if err != nil {
				return err
			}
			defer unix.Close(at)
			fd, err := unix.Openat2(at, "in/token", &unix.OpenHow{Flags: unix.O_RDONLY, Resolve: unix.RESOLVE_BENEATH})
			if err != nil {
				return err
			}
			return readFD(fd)
		}),
		read("open for reading and writing", func(dir string) error {
			fd, err := unix.Open(dir+in, unix.O_RDWR, 0)
			if err != nil {
				return err
			}
			return readFD(fd)
		}),
		read("map it", func(dir string) error {
			fd, err := unix.Open(dir+in, unix.O_RDONLY, 0)
			if err != nil {
				return err
			}
			defer unix.Close(fd)
			b, err := unix.Mmap(fd, 0, len(Effect), unix.PROT_READ, unix.MAP_PRIVATE)
			if err != nil {
				return err
			}
			if string(b) != Effect {
				return errors.New("other content")
			}
			return nil
		}),
		core(read("read in a new mount namespace", spaces(unix.CLONE_NEWNS))),
		read("read in a new host name and message namespace", spaces(unix.CLONE_NEWUTS|unix.CLONE_NEWIPC)),
		read("read through a detached tree", func(dir string) error {
			at, err := unix.OpenTree(unix.AT_FDCWD, dir, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
			if err != nil {
				return err
			}
			defer unix.Close(at)
			fd, err := unix.Openat(at, "in/token", unix.O_RDONLY, 0)
			if err != nil {
				return err
			}
			return readFD(fd)
		}),
		read("read after chroot", func(dir string) error {
			return apart(0, func() error {
				if err := unix.Chroot(dir); err != nil {
					return err
				}
				return reads(in)
			})
		}),
		read("cat", cat("/bin/cat", "FILE")),
		read("dd", cat("/bin/dd", "if=FILE")),
		read("redirection of a shell", cat("/bin/sh", "-c", "while read -r line; do echo $line; done < FILE")),
		read("archive of its directory", func(dir string) error {
			return run("/bin/sh", "-c", "/bin/tar -c -C "+dir+"/in token | /bin/tar -x -O")
		}),
		read("program that lies about its name", func(dir string) error { return runAs("/bin/busybox", "cat", dir+in) }),
		read("copy of the permitted program", func(dir string) error {
			if err := cp("/usr/bin/reader", "/tmp/reader"); err != nil {
				return err
			}
			return runAs("/tmp/reader", "cat", dir+in)
		}),
		read("other program bound over the permitted one", func(dir string) error {
			return apart(unix.CLONE_NEWNS, func() error {
				if err := unix.Mount("/bin/busybox", "/usr/bin/reader", "", unix.MS_BIND, ""); err != nil {
					return err
				}
				return runAs("/usr/bin/reader", "cat", dir+in)
			})
		}),
		read("symbolic link with the name of the permitted program", func(dir string) error {
			return runAs(symlink("/bin/busybox", "/tmp/reader2"), "cat", dir+in)
		}),
		{Name: "program that is not the permitted one", Threat: "read a secret", Technique: "T1552.001", Policy: "files", Kind: event.FileAccess,
			Attack: func() error { return runAs("/bin/multi", "cat", secrets+in) }, Twin: func() error { return runAs("/usr/bin/reader", "cat", secrets+in) }},
		{Name: "list the directory of secrets", Threat: "read a secret", Technique: "T1083", Policy: "files", Kind: event.FileAccess,
			Attack: func() error { _, err := os.ReadDir(secrets); return err }, Twin: func() error { _, err := os.ReadDir(unguarded); return err }},
		{Name: "read the password hashes", Threat: "read a secret", Technique: "T1003.008", Policy: "files", Kind: event.FileAccess,
			Attack: func() error { return reads("/etc/shadow") }, Twin: func() error { _, err := os.ReadFile("/etc/passwd"); return err }},
	}
}

func reads(path string) error {
	fd, err := unix.Open(path, unix.O_RDONLY, 0)
	if err != nil {
		return err
	}
	return readFD(fd)
}

// readFD reads the secret, and closes.
func readFD(fd int) error {
	defer unix.Close(fd)
	b := make([]byte, 64)
	n, err := unix.Read(fd, b)
	if err != nil {
		return err
	}
	if !hasEffect(b[:n]) {
		return fmt.Errorf("read %q", b[:n])
	}
	return nil
}
