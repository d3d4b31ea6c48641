package v1alpha1

// HardeningPreset names a set of switches of a hardening section.
type HardeningPreset string

// Presets. What is in each is said by policy.Switches.
const (
	// Baseline has what no ordinary image needs.
	Baseline HardeningPreset = "Baseline"
	// Restricted has every switch; programs that need one are exempted by name.
	Restricted HardeningPreset = "Restricted"
)
