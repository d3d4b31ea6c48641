package attacks

import (
	"fmt"

	"github.com/gabion-dev/gabion/event"
)

// Case is one way to get round a policy.
type Case struct {
	Name      string
	Threat    string // what the intruder wants, in the words of the page
	Technique string // ATT&CK
	Policy    string // name of a document in Policies
	// Attack and Twin run in the container; nil says that the effect happened,
	// an error why it did not. A program that takes their place says Effect
	// itself.
	Attack, Twin func() error
	// Kind is of the denial, and Denials how often it is counted; zero is once,
	// Some where chance decides.
	Kind    event.Kind
	Denials uint64
	// Starts are how many processes of the attacker's own program the attack
	// takes; zero is one. Each makes noise: see field.noise.
	Starts uint64
	// Less are the backends that do not prevent it; the others must.
	Less map[Backend]Less
	// Core cases are run in guests each time.
	Core bool
}

// Some are denials whose number depends on who is faster.
const Some = ^uint64(0)

// Backend is a set of mechanisms under a kernel.
type Backend string

// Backends. Backend A has B and C behind it, as in the product; under either
// kernel it must do the same with and without bpf among the security modules.
const (
	Kill Backend = "B+C"    // the development kernel: SIGKILL at exec, fanotify
	A61  Backend = "A 6.1"  // calls fail, Debian's 6.1
	A612 Backend = "A 6.12" // calls fail, Debian's 6.12
)

// Backends lists them in the order of the page.
func Backends() []Backend { return []Backend{Kill, A61, A612} }

// Less is what a backend does that does not prevent an attack.
type Less struct {
	Verdict Verdict
	Why     string
	// Denials replaces the case's number when the attack is seen.
	Denials uint64
}

// Verdict is how an attack ended.
type Verdict string

// Verdicts, best first.
const (
	Prevented Verdict = "prevented"    // the effect did not happen
	Late      Verdict = "stopped late" // the effect happened, then the process was killed
	Detected  Verdict = "detected"     // the effect happened, and was reported
	Passed    Verdict = "passed"       // the effect happened, and nobody knows
	Absent    Verdict = "not possible" // this kernel does not let anybody do it
)

// Expected is the verdict recorded for a backend, and the number of denials.
func (c *Case) Expected(b Backend) (Less, uint64) {
	less, ok := c.Less[b]
	if !ok {
		less = Less{Verdict: Prevented}
	}
	switch {
	case less.Verdict == Passed || less.Verdict == Absent:
		return less, 0
	case less.Denials > 0:
		return less, less.Denials
	}
	return less, max(1, c.Denials)
}

// lessens says that a backend does not prevent a case, and why.
func (c *Case) lessens(b Backend, v Verdict, why string) {
	if c.Less == nil {
		c.Less = map[Backend]Less{}
	}
	c.Less[b] = Less{Verdict: v, Why: why}
}

// Check reports what is wrong with a list of cases.
func Check(cases []Case) error {
	policies := Policies()
	seen := map[string]bool{}
	for _, c := range cases {
		switch {
		case c.Name == "" || seen[c.Name]:
			return fmt.Errorf("case %q: no name, or twice the same", c.Name)
		case c.Attack == nil || c.Twin == nil || c.Threat == "" || c.Technique == "" || c.Kind == "":
			return fmt.Errorf("case %q: a part is missing", c.Name)
		case policies[c.Policy] == "":
			return fmt.Errorf("case %q: there is no policy %q", c.Name, c.Policy)
		}
		for b, l := range c.Less {
			if l.Verdict == Prevented || l.Verdict == "" || l.Why == "" {
				return fmt.Errorf("case %q: what %s does less has no verdict or no reason", c.Name, b)
			}
		}
		seen[c.Name] = true
	}
	return nil
}

// Cases are all of them.
func Cases() []Case {
	var all []Case
	for _, list := range [][]Case{driftCases(), libraryCases(), scriptCases(), aliasCases(), spaceCases(), listCases(), narrowCases(), fileCases(), hardeningCases(), capabilityCases()} {
		all = append(all, list...)
	}
	return all
}
