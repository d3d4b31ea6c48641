package attacks

import (
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/gabion-dev/gabion/event"
)

// narrowCases run a permitted program with other arguments, from another
// program, as another user, or on another script than permitted.
func narrowCases() []Case {
	narrow := func(threat, technique string) func(name string, attack, twin func() error) Case {
		return func(name string, attack, twin func() error) Case {
			return Case{Name: name, Threat: threat, Technique: technique, Policy: "narrow", Attack: attack, Twin: twin, Kind: event.ProcessExec}
		}
	}
	args := narrow("bend a permitted program by its arguments", "T1059")
	parent := narrow("start a permitted program from a forbidden place", "T1059")
	user := narrow("start a permitted program as the wrong user", "T1078")
	scripts := narrow("give an interpreter another script", "T1059.004")
	probe := of("/usr/bin/probe", "-f", "http://localhost/health")
	first := args("other arguments", of("/usr/bin/probe", "-f", "http://elsewhere/health"), probe)
	first.Core = true
	return []Case{
		first,
		args("one argument more", of("/usr/bin/probe", "-f", "http://localhost/health", "-o"), probe),
		args("one argument less", of("/usr/bin/probe", "-f"), probe),
		args("no arguments", of("/usr/bin/probe"), probe),
		args("arguments in another order", of("/usr/bin/probe", "http://localhost/health", "-f"), probe),
		args("empty argument between", of("/usr/bin/probe", "-f", "", "http://localhost/health"), probe),
		args("argument with the permitted one in it", of("/usr/bin/probe", "-f", "http://localhost/healthz"), probe),
		args("arguments of 100,000 characters", of("/usr/bin/probe", "-f", "http://localhost/health"+strings.Repeat("/", 100000)), probe),
		args("arguments by another name of the program", func() error {
			return run(symlink("/usr/bin/probe", "/tmp/probe"), "-f", "http://elsewhere")
		}, func() error { return run(symlink("/usr/bin/probe", "/tmp/probe"), "-f", "http://localhost/health") }),
		parent("from the attacker itself", of("/usr/bin/helper"), as("/usr/bin/launch", "sh", "-c", "/usr/bin/helper")),
		parent("from a program with the right name in its arguments", func() error {
			return runAs("/usr/bin/multi", "env", "/usr/bin/helper", "/usr/bin/launch")
		}, as("/usr/bin/launch", "sh", "-c", "/usr/bin/helper")),
		user("as root", of("/usr/bin/asuser"), func() error { return asNobody("/usr/bin/asuser") }),
		scripts("another script", func() error {
			if err := os.WriteFile("/tmp/other.sh", []byte("echo effect\n"), 0o644); err != nil {
				return err
			}
			return runAs("/usr/bin/interpreter", "sh", "/tmp/other.sh")
		}, as("/usr/bin/interpreter", "sh", "/usr/bin/script")),
		scripts("code in an argument", as("/usr/bin/interpreter", "sh", "-c", "echo effect"), as("/usr/bin/interpreter", "sh", "/usr/bin/script")),
		scripts("code on standard input", func() error {
			if err := os.WriteFile("/data/code", []byte("echo effect\n"), 0o644); err != nil {
				return err
			}
			fd, err := unix.Open("/data/code", unix.O_RDONLY, 0)
			if err != nil {
				return err
			}
			if err := unix.Dup2(fd, 0); err != nil {
				return err
			}
			return unix.Exec("/usr/bin/interpreter", []string{"sh"}, nil)
		}, as("/usr/bin/interpreter", "sh", "/usr/bin/script")),
	}
}
