package cli

import (
	"bufio"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/spf13/cobra"
	xterm "golang.org/x/term"

	"github.com/gabion-dev/gabion/console/access"
	"github.com/gabion-dev/gabion/internal/term"
)

func consoleCommand(env *Env) *cobra.Command {
	cmd := &cobra.Command{Use: "console", Short: "Make sign-in links, and manage who may sign in",
		Example: `  gabion console link
  gabion console link --role viewer
  gabion console user add ada --role operator`}
	cmd.AddCommand(linkCommand(env), userCommand(env))
	return cmd
}

func roleFlag(cmd *cobra.Command, role *string, def string) {
	roles := []string{string(access.Viewer), string(access.Operator), string(access.Admin)}
	cmd.Flags().StringVar(role, "role", def, "sign in as `ROLE`: viewer (looks), operator (acts and edits policies), admin (users and deletions too)")
	_ = cmd.RegisterFlagCompletionFunc("role", cobra.FixedCompletions(roles, cobra.ShellCompDirectiveNoFileComp))
}

func linkCommand(env *Env) *cobra.Command {
	var role string
	cmd := &cobra.Command{
		Use:     "link",
		Short:   "Make a sign-in link that works once",
		Example: `  gabion console link --role viewer`,
		Args:    arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var l struct {
				URL     string    `json:"url"`
				Expires time.Time `json:"expires"`
			}
			if err := env.client().do(cmd.Context(), http.MethodPost, "/links", nil, map[string]string{"role": role}, "", &l); err != nil {
				return err
			}
			env.Out.Printf("%s\n", l.URL)
			env.Err.Printf("works once, until %s\n", l.Expires.Local().Format("15:04:05"))
			return nil
		},
	}
	roleFlag(cmd, &role, string(access.Admin))
	return cmd
}

func userCommand(env *Env) *cobra.Command {
	cmd := &cobra.Command{Use: "user", Short: "Manage people who sign in with a password",
		Example: `  gabion console user add ada --role operator
  gabion console user list`}
	var role string
	add := &cobra.Command{
		Use:   "add NAME",
		Short: "Add a user; the password is read from the terminal or standard input",
		Example: `  gabion console user add ada --role operator
  gabion console user add robot < password.txt`,
		Args: arguments(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			password, err := readPassword(env)
			if err != nil {
				return exit(ExitUsage, err)
			}
			body := map[string]string{"name": args[0], "role": role, "password": password}
			if err := env.client().do(cmd.Context(), http.MethodPost, "/users", nil, body, "", nil); err != nil {
				return err
			}
			env.Err.Printf("%s can sign in as %s\n", term.Clean(args[0]), role)
			return nil
		},
	}
	roleFlag(add, &role, string(access.Viewer))
	list := &cobra.Command{
		Use:   "list",
		Short: "List users",
		Args:  arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var l struct{ Items []access.User }
			if err := env.client().get(cmd.Context(), "/users", nil, &l); err != nil {
				return err
			}
			rows := make([][]term.Cell, 0, len(l.Items))
			for _, u := range l.Items {
				rows = append(rows, []term.Cell{term.T(u.Name), term.T(string(u.Role))})
			}
			env.Out.Table([]string{"NAME", "ROLE"}, rows)
			return nil
		},
	}
	remove := &cobra.Command{
		Use:   "remove NAME",
		Short: "Remove a user and end their sessions",
		Args:  arguments(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := env.client().do(cmd.Context(), http.MethodDelete, "/users/"+url.PathEscape(args[0]), nil, nil, "", nil); err != nil {
				return err
			}
			env.Err.Printf("%s can no longer sign in\n", term.Clean(args[0]))
			return nil
		},
	}
	cmd.AddCommand(add, list, remove)
	return cmd
}

// readPassword asks twice on a terminal, and reads one line elsewhere.
func readPassword(env *Env) (string, error) {
	if f, ok := env.In.(*os.File); ok && xterm.IsTerminal(int(f.Fd())) {
		ask := func(what string) (string, error) {
			env.Err.Printf("%s: ", what)
			b, err := xterm.ReadPassword(int(f.Fd()))
			env.Err.Printf("\n")
			return string(b), err
		}
		first, err := ask("Password (at least 12 bytes)")
		if err != nil {
			return "", fmt.Errorf("read password: %w", err)
		}
		if again, err := ask("Once more"); err != nil || again != first {
			return "", errors.Join(err, errors.New("the two passwords differ"))
		}
		return first, nil
	}
	in := bufio.NewScanner(env.In)
	if !in.Scan() {
		return "", errors.New("no password on standard input")
	}
	return in.Text(), nil
}
