// Package vm runs this repository's own tests under kernels other than the
// machine's: distribution kernels in an emulated machine.
//
// It tests nothing by itself and knows no feature of the product; TestKernels
// beside it says what must hold where. The one idea: a guest is one kernel
// image and one archive in memory (an init written in Go, a busybox, a few
// tools and static test binaries), it gets one order, answers with one stream
// of messages over a serial line and switches itself off; nothing of it is
// left behind, and emulation without hardware support is enough.
package vm

import "time"

// Order is what a guest has to do, in this order. The guest finds it in
// OrderFile.
type Order struct {
	// Suites are run one after the other.
	Suites []Suite
}

// Suite is one program run in the guest.
type Suite struct {
	Name string
	// Args are the path of the program in the guest and its arguments.
	Args []string
	Env  []string
	// Timeout ends it; zero means none.
	Timeout time.Duration
}

// Message is what a guest says; exactly one part is set, but for Suite, which
// goes with Line and Ended.
type Message struct {
	Up    *Up    `json:",omitempty"`
	Suite string `json:",omitempty"`
	Line  string `json:",omitempty"`
	Ended *Ended `json:",omitempty"`
	// Fault is why the guest could not do what it was ordered to.
	Fault string `json:",omitempty"`
	// Done closes the stream: nothing was cut off.
	Done bool `json:",omitempty"`
}

// Up says which kernel came up.
type Up struct {
	Release string
	// LSM is the list of active security modules.
	LSM string
	// Uptime is how long the kernel has been running, in the guest's time.
	Uptime time.Duration
}

// Ended says how a suite ended; Code is -1 when a signal ended it.
type Ended struct {
	Code    int
	How     string
	Elapsed time.Duration // in the guest's time
}

// Places in the guest.
const (
	OrderFile   = "/etc/order.json"
	ModuleIndex = "/lib/modules/index.json"
	// ResultPort is the serial line that messages go to; the kernel's console
	// is the one before it.
	ResultPort = "/dev/ttyS1"
)
