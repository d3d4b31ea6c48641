package attacks

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/gabion-dev/gabion/event"
)

// writeCases change something in a closed folder; the twin does the same to a
// free one.
func writeCases() []Case {
	write := func(name string, way func(dir string) error) Case {
		return Case{Name: name, Threat: "change a file", Technique: "T1565.001", Policy: "files",
			Attack: func() error { return way(closed) }, Twin: func() error { return way(public) }, Kind: event.FileAccess}
	}
	core := func(c Case) Case { c.Core = true; return c }
	const in = "/in/file"
	// opened opens for writing; nothing has to be written.
	opened := func(path string, flags int) error {
		fd, err := unix.Open(path, flags, 0o644)
		if err != nil {
			return err
		}
		return unix.Close(fd)
	}
	return []Case{
		core(write("open for writing", func(dir string) error { return opened(dir+in, unix.O_WRONLY) })),
		write("open for appending", func(dir string) error { return opened(dir+in, unix.O_WRONLY|unix.O_APPEND) }),
		write("open and cut", func(dir string) error { return opened(dir+in, unix.O_WRONLY|unix.O_TRUNC) }),
		write("open for reading, but cut", func(dir string) error { return opened(dir+in, unix.O_RDONLY|unix.O_TRUNC) }),
		write("truncate", func(dir string) error { return unix.Truncate(dir+in, 1) }),
		core(write("make a file", func(dir string) error { return opened(fresh(dir+"/in/new"), unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL) })),
		write("make a directory", func(dir string) error { return unix.Mkdir(fresh(dir+"/in/newdir"), 0o755) }),
		write("make a symbolic link", func(dir string) error { return unix.Symlink("/etc/passwd", fresh(dir+"/in/newlink")) }),
		write("make a named pipe", func(dir string) error { return unix.Mkfifo(fresh(dir+"/in/newpipe"), 0o600) }),
		write("make a socket", func(dir string) error {
			fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
			if err != nil {
				return err
			}
			defer unix.Close(fd)
			return unix.Bind(fd, &unix.SockaddrUnix{Name: fresh(dir + "/in/newsock")})
		}),
		core(write("delete", func(dir string) error {
			return unix.Unlink(dir + "/in/doomed")
		})),
		write("delete a directory", func(dir string) error { return unix.Rmdir(dir + "/in/empty") }),
		core(write("rename within", func(dir string) error {
			if err := unix.Rename(dir+"/in/moving", dir+"/in/moved"); err != nil {
				return err
			}
			return unix.Rename(dir+"/in/moved", dir+"/in/moving")
		})),
		write("rename out", func(dir string) error { return unix.Rename(dir+"/in/leaving", "/volume/left") }),
		write("rename another over it", func(dir string) error {
			if err := os.WriteFile("/volume/coming", nil, 0o644); err != nil {
				return err
			}
			return unix.Rename("/volume/coming", dir+"/in/replaced")
		}),
		write("exchange with another", func(dir string) error {
			if err := os.WriteFile("/volume/exchange", nil, 0o644); err != nil {
				return err
			}
			return unix.Renameat2(unix.AT_FDCWD, "/volume/exchange", unix.AT_FDCWD, dir+"/in/exchanged", unix.RENAME_EXCHANGE)
		}),
		write("rename its directory", func(dir string) error {
			if err := unix.Rename(dir+"/sub", "/volume/sub2"); err != nil {
				return err
			}
			return unix.Rename("/volume/sub2", dir+"/sub")
		}),
		write("link into the folder", func(dir string) error { return unix.Link("/volume/free", fresh(dir+"/in/linkedin")) }),
		core(write("write by a hard link", func(dir string) error { return opened(hardlink(dir+in, "/volume/hardwrite"), unix.O_WRONLY) })),
		write("write by a symbolic link", func(dir string) error { return opened(symlink(dir+in, "/tmp/writelink"), unix.O_WRONLY) }),
		write("make a file through a dangling link", func(dir string) error {
			return opened(symlink(fresh(dir+"/in/dangling"), "/tmp/dangling"), unix.O_WRONLY|unix.O_CREAT)
		}),
		core(write("change the mode", func(dir string) error { return unix.Chmod(dir+in, 0o640) })),
		write("change the owner", func(dir string) error { return unix.Chown(dir+in, 0, 1) }),
		write("change the times", func(dir string) error {
			return unix.UtimesNanoAt(unix.AT_FDCWD, dir+in, []unix.Timespec{{Sec: 1}, {Sec: 1}}, 0)
		}),
		write("set an attribute", func(dir string) error { return unix.Setxattr(dir+in, "trusted.gabion", []byte("x"), 0) }),
		write("change the mode through a descriptor", func(dir string) error {
			fd, err := unix.Open(dir+in, unix.O_RDONLY, 0)
			if err != nil {
				return err
			}
			defer unix.Close(fd)
			return unix.Fchmod(fd, 0o600)
		}),
		core(write("descriptor for reading opened again for writing", func(dir string) error {
			fd, err := unix.Open(dir+in, unix.O_RDONLY, 0)
			if err != nil {
				return err
			}
			defer unix.Close(fd)
			return opened(fmt.Sprintf("/proc/self/fd/%d", fd), unix.O_WRONLY)
		})),
		write("nameless file given a name in the folder", func(dir string) error {
			fd, err := unix.Open("/volume", unix.O_TMPFILE|unix.O_WRONLY, 0o644)
			if err != nil {
				return err
			}
			defer unix.Close(fd)
			return unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", fd), unix.AT_FDCWD, fresh(dir+"/in/named"), unix.AT_SYMLINK_FOLLOW)
		}),
		write("nameless file in the folder", func(dir string) error { return opened(dir+"/in", unix.O_TMPFILE|unix.O_WRONLY) }),
		write("write through a bind mount", func(dir string) error {
			return apart(unix.CLONE_NEWNS, func() error {
				if err := unix.Mount(dir, "/mnt", "", unix.MS_BIND, ""); err != nil {
					return err
				}
				return opened("/mnt"+in, unix.O_WRONLY)
			})
		}),
		write("write below /proc/1/root", func(dir string) error { return opened("/proc/1/root"+dir+in, unix.O_WRONLY) }),
		write("write through a detached tree", func(dir string) error {
			at, err := unix.OpenTree(unix.AT_FDCWD, dir, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
			if err != nil {
				return err
			}
			defer unix.Close(at)
			return opened(fmt.Sprintf("/proc/self/fd/%d%s", at, in), unix.O_WRONLY)
		}),
		write("redirection of a shell into it", func(dir string) error { return run("/bin/sh", "-c", "echo x > "+dir+in+" && echo effect") }),
		write("tee", func(dir string) error {
			return run("/bin/sh", "-c", "echo x | /bin/tee -a "+dir+in+" > /data/tee && echo effect")
		}),
		write("shred", func(dir string) error {
			return run("/bin/sh", "-c", "/bin/shred -n 1 "+dir+"/in/shredded && echo effect")
		}),
	}
}

// fresh is a path that nothing is at.
func fresh(path string) string {
	_ = os.RemoveAll(path)
	return path
}

// placeCases leave something where it is started or believed later.
func placeCases() []Case {
	place := func(name, technique string, attack func() error) Case {
		return Case{Name: name, Threat: "leave something that is believed or started later", Technique: technique, Policy: "files",
			Attack: attack, Twin: func() error { return appendTo("/tmp/notes", "x\n") }, Kind: event.FileAccess}
	}
	return []Case{
		place("own user in /etc/passwd", "T1136.001", func() error { return appendTo("/etc/passwd", "") }),
		place("name in /etc/hosts", "T1565.001", func() error { return appendTo("/etc/hosts", "") }),
		place("library in /etc/ld.so.preload", "T1574.006", func() error { return makes("/etc/ld.so.preload") }),
		place("job in /etc/cron.d", "T1053.003", func() error { return makes("/etc/cron.d/job") }),
		place("job of root", "T1053.003", func() error { return makes("/var/spool/cron/root") }),
		place("key in authorized_keys", "T1098.004", func() error { return appendTo("/root/.ssh/authorized_keys", "") }),
		place("authorized_keys replaced", "T1098.004", func() error {
			if err := os.WriteFile("/root/.ssh/new", nil, 0o600); err != nil {
				return err
			}
			return os.Rename("/root/.ssh/new", "/root/.ssh/authorized_keys")
		}),
		place("line in the shell's start-up file", "T1546.004", func() error { return appendTo("/root/.profile", "") }),
		place("program beside the image's", "T1036.005", func() error { return makes("/usr/bin/newtool") }),
		place("log deleted", "T1070.002", func() error { return unix.Unlink("/var/log/app.log") }),
		place("log renamed", "T1070.002", func() error { return os.Rename("/var/log/other.log", "/var/log/gone.log") }),
	}
}

func appendTo(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

// makes makes a file where none is, and takes it away again.
func makes(path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), os.Remove(path))
}

// noRefusal is why B and C do less.
const noRefusal = "this kernel lets nobody refuse the call"

func fileCases() []Case {
	var all []Case
	for _, list := range [][]Case{readCases(), writeCases(), placeCases()} {
		all = append(all, list...)
	}
	for i := range all {
		all[i].lessens(Kill, Passed, noRefusal)
	}
	return all
}
