// Package kernel enforces the process section of plans in the kernel, and says
// who a task is.
//
// It finds no containers, compiles no policy and judges no packets; the agent
// tells it of a container and its plan (Apply), and it reports through a
// guard.Sink. The one idea: a container has a number; every task carries the
// number of the container it was first seen in, whatever it does to namespaces
// and cgroups later; and a verdict about a program start is three hash look-ups
// away from that number, in a kernel program that waits for nobody. All maps
// and links are pinned, so that enforcement outlives the agent, and the next
// agent adopts it.
//
// A rule on a path is resolved inside the container's root to a place: a path
// below the root of the file's own file system, hashed with a secret key. The
// kernel walks from the file to that root, so links, bind mounts, chroots and
// new namespaces do not change what a rule means. Rules that deny also hold
// the objects (inode numbers), so that renaming does not help. Multi-call
// programs (busybox) are judged by the name they are asked to act under.
//
// Two backends work together everywhere; a third joins where the kernel lets it.
//
//	B  raw_tp+kill  a forbidden program is killed after the kernel loaded it and
//	                before its first instruction; one whose file the container
//	                wrote is stopped there until it was compared with the image
//	C  fanotify     the opening of a file to be started is held until the file was
//	                compared with the image; refuses scripts, which B does not see
//	A  lsm/fmod_ret execve, and mapping code of a file that is not the image's, fail
//	                with EPERM; attached where a canary was really refused
//
// Which one stops what, in Protect:
//
//	attack                                              B    C    A
//	program that no list names                          yes  -    yes
//	program of a denied class, through busybox, a hard
//	link, a symbolic link, a bind mount or a renamed
//	directory                                           yes  -    yes
//	file written to the container, then run             yes* -    yes
//	file of the image changed in place, then run        yes* -    yes
//	memfd, deleted file                                 yes  -    yes
//	file on a volume, tmpfs or /dev/shm                 yes  -    yes
//	"#!" script written to the container's root         -    yes  yes
//	"#!" script on a volume or tmpfs                    -    -    yes
//	shell reading a script as an argument or from stdin -    -    only with a list
//	ld.so ./file, library written then preloaded        -**  -    yes
//	program of the image that a list or a class forbids,
//	run through ld.so                                   -**  -    yes
//	code made in memory by a permitted program          -    -    -
//
// (*) while no agent runs, a file that the container wrote and that was not
// compared in its present state counts as changed, also when its mode alone
// was changed. (**) B stops the loader itself when a list
// does not name it. Busybox may run some applets inside its shell without
// starting a program; nobody sees those start.
//
// A judges before the kernel loads a program, B what A let pass: a start that
// was refused is never seen by B, so no start is counted twice. What A cannot
// know it leaves to B: the applet of a multi-call interpreter, arguments that
// another thread changes during the call, 32-bit calls. A judges scripts and
// mapped files by drift alone, since lists name programs. A file that was mapped
// in a state not compared yet (a chmod is enough) is mapped, and its process
// stopped before it can use it until the agent has compared it; found to be
// another, the process is killed, and the next mapping fails.
//
// A rule may be narrowed by who starts the program, as which user, with which
// arguments, and, of interpreters, by the script that they are given; A and B
// know the same of it. The starter is the program that the task was running
// when it called execve: remembered by task and inherited at fork, so neither
// orphans nor an exec in place change it. Arguments are those that the kernel
// copied; A, which reads them before that, leaves what B finds otherwise to B.
// At most 511 bytes of them are read: what lies behind does not let an allow
// match, and lets a deny match. The script is the first argument that is no
// option, followed by name from the working directory or the root. Options of
// one letter that bring no code may stand before it; after any other (-c, -e
// of Perl, -m), on standard input, and through "..", no script is known. It is a
// name: who can mount over a script or change it, or set PYTHONSTARTUP,
// BASH_ENV and their like, runs other code under it; hardening and rules on
// files are against that. What a dynamic loader is asked to run is judged on A
// without its arguments: a rule that asks for them does not allow it.
//
// When the agent is gone, C is gone with it (fanotify ends with its
// descriptor), B goes on with what C found out so far. A kernel program that
// is replaced by a newer one hands over in one step (settings.instance).
package kernel
