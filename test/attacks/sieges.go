package attacks

import (
	"fmt"
	"os"
)

// Siege is a state of the node in which the same attack is repeated: nothing
// may pass, and the count must be exact to the last attempt.
type Siege struct{ Name, What string }

// Sieges are all of them.
func Sieges() []Siege {
	return []Siege{
		{"agent killed", "1,000 attempts while the agent is killed; the next one counts them"},
		{"agent stopped", "1,000 attempts while the agent is stopped (SIGSTOP)"},
		{"agent out of memory", "1,000 attempts while the agent dies of a lack of memory"},
		{"agent starved", "1,000 attempts while busy programs keep the processors from the agent"},
		{"reports unread", "1,000 different programs while nobody reads the reports"},
		{"policy reloaded", "1,000 attempts while the policy is replaced over and over"},
		{"short containers", "containers whose first program is forbidden and would end at once: 100 here, 20 in guests"},
		{"many containers", "one attack in each of many containers at once: 300 here, 30 in guests"},
	}
}

// siegeParts are what sieges order besides the cases.
func siegeParts() []Case {
	return []Case{{Name: "nothing", Attack: func() error { return nil }}, {Name: "many programs", Attack: func() error {
		ran := 0
		for i := range 1000 {
			p := fmt.Sprintf("/data/many%d", i)
			if err := drop(p, Program()); err != nil {
				return err
			}
			if run(p) == nil {
				ran++
			}
			if err := os.Remove(p); err != nil {
				return err
			}
		}
		if ran == 0 {
			return fmt.Errorf("none of them ran")
		}
		return nil
	}}}
}
