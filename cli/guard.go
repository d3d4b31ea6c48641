package cli

import (
	"github.com/spf13/cobra"

	"github.com/gabion-dev/gabion/cli/platform"
)

func guardCommand(env *Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "guard",
		Short: "Look after what is in the kernel, also without a running gabion",
	}
	var pins string
	cmd.PersistentFlags().StringVar(&pins, "pins", platform.DefaultPins, "folder of pinned kernel objects")
	one := func(use, short, long, done string, do func(string) error) {
		cmd.AddCommand(&cobra.Command{Use: use, Short: short, Long: long, Args: cobra.NoArgs, RunE: func(*cobra.Command, []string) error {
			if err := do(pins); err != nil {
				return exit(ExitFailed, err)
			}
			env.Err.Printf("%s\n", done)
			return nil
		}})
	}
	one("off", "Let everything pass until it is turned on again",
		"The kill switch: every kernel program lets everything pass and counts nothing.", "everything passes now; turn it on again with: gabion guard on",
		func(p string) error { return platform.SwitchOff(p, true) })
	one("on", "End the kill switch", "", "policy is enforced again",
		func(p string) error { return platform.SwitchOff(p, false) })
	one("remove", "Detach and unpin everything that any gabion left in the kernel",
		"Removes kernel programs and maps of a gabion that was killed. Containers run on without enforcement.\nDo not use it while gabion runs.", "nothing of gabion is left in the kernel",
		platform.Remove)
	return cmd
}
