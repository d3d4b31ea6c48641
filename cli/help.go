package cli

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/gabion-dev/gabion/cli/scanning"
	"github.com/gabion-dev/gabion/internal/term"
)

// Widths of help: that of the terminal between these two, and the first
// where there is none, so that help in files is the same everywhere.
const (
	helpWidth    = 80
	helpWidthMax = 100
)

// dress gives every command of the tree the same help, the same -h, and the
// same answer to wrong usage.
func dress(root *cobra.Command, env *Env) {
	root.SetUsageFunc(func(c *cobra.Command) error {
		writeUsage(c, env.Err)
		return nil
	})
	root.SetHelpFunc(func(c *cobra.Command, _ []string) { writeHelp(c, env.Out) })
	// The unknown command comes before its flags, so it is the fault to name.
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		if args := c.Flags().Args(); isGroup(c) && len(args) > 0 {
			return unknownCommand(c, args[0])
		}
		return err
	})
	var walk func(*cobra.Command)
	walk = func(c *cobra.Command) {
		c.Flags().BoolP("help", "h", false, "show this help")
		c.DisableFlagsInUseLine = true
		c.SuggestionsMinimumDistance = 2
		if c.RunE == nil && c.HasSubCommands() {
			c.Args = func(c *cobra.Command, args []string) error {
				if len(args) > 0 {
					return unknownCommand(c, args[0])
				}
				return nil
			}
			c.RunE = func(c *cobra.Command, _ []string) error { return c.Help() }
		}
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(root)
}

// isGroup tells commands that only hold others: their words after the name
// are commands.
func isGroup(c *cobra.Command) bool {
	return c.HasSubCommands() && len(strings.Fields(c.Use)) == 1
}

func unknownCommand(c *cobra.Command, word string) error {
	near := c.SuggestionsFor(word)
	if len(near) > 0 {
		return fmt.Errorf("unknown command %q; did you mean %s?", word, strings.Join(near, " or "))
	}
	return fmt.Errorf("unknown command %q", word)
}

// arguments checks how many words follow a command; the names in its Use line
// say what is missing. max below 0 is no bound.
func arguments(min, max int) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		names := strings.Fields(c.Use)[1:]
		switch {
		case len(args) < min:
			return fmt.Errorf("%s is missing", strings.Trim(names[len(args)], "[].|"))
		case max >= 0 && len(args) > max:
			return fmt.Errorf("unexpected argument %q", args[max])
		}
		return nil
	}
}

func writeHelp(c *cobra.Command, p *term.Printer) {
	text := c.Long
	if text == "" {
		text = c.Short + "."
	}
	p.Printf("%s\n\n", text)
	writeUsage(c, p)
}

func writeUsage(c *cobra.Command, p *term.Printer) {
	width := helpWidth
	if p.Width > 0 {
		width = min(p.Width, helpWidthMax)
	}
	h := &term.Printer{W: p.W, Colour: p.Colour, Width: width}
	head := func(s string) { h.Printf("%s\n", h.Paint(term.Strong, s+":")) }
	head("Usage")
	for _, line := range usageLines(c) {
		h.Printf("  %s\n", line)
	}
	if c.Example != "" {
		h.Printf("\n")
		head("Examples")
		h.Printf("%s\n", c.Example)
	}
	widest := 0
	for _, sub := range c.Commands() {
		widest = max(widest, len(sub.Name()))
	}
	for _, g := range commandGroups(c) {
		h.Printf("\n")
		head(g.title)
		for _, sub := range g.commands {
			h.Hang(fmt.Sprintf("  %-*s  ", widest, sub.Name()), widest+4, term.T(sub.Short))
		}
	}
	for _, g := range flagGroups(c) {
		h.Printf("\n")
		head(g.title)
		writeFlags(h, g.flags)
	}
	if c.HasAvailableSubCommands() {
		h.Printf("\nMore about a command: %s COMMAND --help\n", c.CommandPath())
	}
}

// usageLines are the forms in which a command can be called.
func usageLines(c *cobra.Command) []string {
	var out []string
	line := c.CommandPath()
	if words := strings.Fields(c.Use); len(words) > 1 {
		line += " " + strings.Join(words[1:], " ")
	}
	if !isGroup(c) {
		out = append(out, line+" [FLAGS]")
	}
	if c.HasAvailableSubCommands() {
		out = append(out, c.CommandPath()+" COMMAND")
	}
	return out
}

type commandGroup struct {
	title    string
	commands []*cobra.Command
}

func commandGroups(c *cobra.Command) []commandGroup {
	var out []commandGroup
	for _, g := range append(c.Groups(), &cobra.Group{Title: "Commands"}) {
		part := commandGroup{title: g.Title}
		for _, sub := range c.Commands() {
			if sub.GroupID == g.ID && sub.IsAvailableCommand() {
				part.commands = append(part.commands, sub)
			}
		}
		if len(part.commands) > 0 {
			out = append(out, part)
		}
	}
	return out
}

type flagGroup struct {
	title string
	flags []*pflag.Flag
}

// flagGroups are the flags of a command by the title they carry, those without
// one first.
func flagGroups(c *cobra.Command) []flagGroup {
	out := []flagGroup{{title: "Flags"}}
	add := func(title string, f *pflag.Flag) {
		i := slices.IndexFunc(out, func(g flagGroup) bool { return g.title == title })
		if i < 0 {
			i = len(out)
			out = append(out, flagGroup{title: title})
		}
		out[i].flags = append(out[i].flags, f)
	}
	each := func(set *pflag.FlagSet, title string) {
		set.VisitAll(func(f *pflag.Flag) {
			switch group := f.Annotations[scanning.GroupAnnotation]; {
			case f.Hidden:
			case len(group) > 0:
				add(group[0], f)
			default:
				add(title, f)
			}
		})
	}
	each(c.LocalFlags(), out[0].title)
	each(c.InheritedFlags(), "Flags of every command")
	return slices.DeleteFunc(out, func(g flagGroup) bool { return len(g.flags) == 0 })
}

// flagWords are the left and the right side of a flag in help.
func flagWords(f *pflag.Flag) (name, text string) {
	value, text := pflag.UnquoteUsage(f)
	name = "    --" + f.Name
	if f.Shorthand != "" {
		name = "-" + f.Shorthand + ", --" + f.Name
	}
	if value != "" {
		name += " " + value
	}
	switch f.DefValue {
	case "", "false", "[]", "0", "0s": // nothing, or the text says what it means
	default:
		text += " (default " + f.DefValue + ")"
	}
	return name, text
}

func writeFlags(p *term.Printer, flags []*pflag.Flag) {
	widest := 0
	for _, f := range flags {
		name, _ := flagWords(f)
		widest = max(widest, len(name))
	}
	for _, f := range flags {
		name, text := flagWords(f)
		p.Hang(fmt.Sprintf("  %-*s  ", widest, name), widest+4, term.T(text))
	}
}

func helpCommand(env *Env) *cobra.Command {
	return &cobra.Command{
		Use:     "help [COMMAND...]",
		Short:   "Show help of a command",
		Example: "  gabion help policy lint",
		RunE: func(c *cobra.Command, args []string) error {
			found, rest, err := c.Root().Find(args)
			if err == nil && len(rest) > 0 && isGroup(found) {
				err = unknownCommand(found, rest[0])
			}
			if err != nil {
				return err
			}
			writeHelp(found, env.Out)
			return nil
		},
		ValidArgsFunction: func(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			var out []string
			if found, _, err := c.Root().Find(args); err == nil {
				for _, sub := range found.Commands() {
					if sub.IsAvailableCommand() {
						out = append(out, sub.Name()+"\t"+sub.Short)
					}
				}
			}
			return out, cobra.ShellCompDirectiveNoFileComp
		},
	}
}

func completionCommand() *cobra.Command {
	shells := map[string]func(*cobra.Command, io.Writer) error{
		"bash": func(c *cobra.Command, w io.Writer) error { return c.GenBashCompletionV2(w, true) },
		"zsh":  func(c *cobra.Command, w io.Writer) error { return c.GenZshCompletion(w) },
		"fish": func(c *cobra.Command, w io.Writer) error { return c.GenFishCompletion(w, true) },
	}
	return &cobra.Command{
		Use:   "completion SHELL",
		Short: "Print the completion script of bash, zsh or fish",
		Long: `Prints a script that teaches a shell to complete commands, flags, and the names
of workloads and policies of the running gabion.`,
		Example: `  source <(gabion completion bash)
  gabion completion bash > /etc/bash_completion.d/gabion
  gabion completion zsh > "${fpath[1]}/_gabion"
  gabion completion fish > ~/.config/fish/completions/gabion.fish`,
		Args:      arguments(1, 1),
		ValidArgs: []string{"bash", "zsh", "fish"},
		RunE: func(c *cobra.Command, args []string) error {
			write := shells[args[0]]
			if write == nil {
				return exit(ExitUsage, fmt.Errorf("unknown shell %q; use one of: bash, zsh, fish", args[0]))
			}
			return write(c.Root(), c.OutOrStdout())
		},
	}
}
