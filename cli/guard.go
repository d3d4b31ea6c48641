package cli

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/gabion-dev/gabion/cli/platform"
)

func guardCommand(env *Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "guard",
		Short: "Turn enforcement off and on, or remove it from the kernel",
		Long: `Works on what is pinned in the kernel, so it also works when no gabion runs or
the one that runs does not answer. Needs root.`,
		Example: `  sudo gabion guard off      # something is wrongly blocked: let everything pass
  sudo gabion guard on
  sudo gabion guard remove   # after a gabion was killed`,
	}
	var pins string
	cmd.PersistentFlags().StringVar(&pins, "pins", platform.DefaultPins, "look for pinned kernel objects in `DIR`")
	one := func(use, short, long, done string, do func(string) error) {
		cmd.AddCommand(&cobra.Command{Use: use, Short: short, Long: long, Args: arguments(0, 0), RunE: func(*cobra.Command, []string) error {
			if os.Geteuid() != 0 {
				return exit(ExitMachine, fmt.Errorf("change what is in the kernel: only root may; run: sudo gabion guard %s", use))
			}
			if err := do(pins); err != nil {
				return exit(ExitFailed, err)
			}
			env.Err.Printf("%s\n", done)
			return nil
		}})
	}
	one("off", "Let everything pass until it is turned on again",
		"The kill switch: every kernel program lets everything pass and counts nothing,\nuntil gabion guard on.", "everything passes now; turn it on again with: gabion guard on",
		func(p string) error { return platform.SwitchOff(p, true) })
	one("on", "Enforce policy again after gabion guard off", "Ends the kill switch: policy is enforced again, as it was.", "policy is enforced again",
		func(p string) error { return platform.SwitchOff(p, false) })
	one("remove", "Detach and unpin everything that any gabion left in the kernel",
		"Removes kernel programs and maps of a gabion that was killed. Containers run on\nwithout enforcement. Not for use while gabion runs: Ctrl-C there does the same.", "nothing of gabion is left in the kernel",
		platform.RemoveLeft)
	return cmd
}
