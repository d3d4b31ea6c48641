package cli

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/gabion-dev/gabion/console"
	"github.com/gabion-dev/gabion/internal/term"
)

func imagesCommand(env *Env) *cobra.Command {
	var output, severity string
	var kev, running, fixable bool
	cmd := &cobra.Command{
		Use:   "images [TEXT]",
		Short: "List the images that the running gabion scanned, or show one",
		Long: `Lists what the running gabion found in images: those of the registries that its
ScanTargets name, and those it was asked to scan. Most urgent first. TEXT is
looked for in names, digests, systems and workloads.`,
		Example: `  gabion images
  gabion images --running --kev
  gabion images show registry.example/web:5.2
  gabion images scan registry.example/web:5.3`,
		Args: arguments(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			q := url.Values{}
			if len(args) == 1 {
				q.Set("q", args[0])
			}
			if severity != "" {
				q.Set("severity", severity)
			}
			for name, on := range map[string]bool{"kev": kev, "running": running, "fixable": fixable} {
				if on {
					q.Set(name, "true")
				}
			}
			list, err := imageList(cmd.Context(), env.client(), q)
			if err != nil {
				return err
			}
			if output == "json" {
				return printJSON(env, list)
			}
			printImages(env, list)
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&severity, "severity", "", "only images with an open finding of this `SEVERITY` or worse")
	f.BoolVar(&kev, "kev", false, "only images with a finding that is known to be exploited")
	f.BoolVar(&running, "running", false, "only images that run here")
	f.BoolVar(&fixable, "fixable", false, "only images with a finding that has a fix")
	_ = cmd.RegisterFlagCompletionFunc("severity", cobra.FixedCompletions([]string{"critical", "high", "medium", "low", "negligible"}, cobra.ShellCompDirectiveNoFileComp))
	outputFlag(cmd, &output, "table", "json")
	cmd.AddCommand(showImageCommand(env), scanImageCommand(env))
	return cmd
}

// imageList reads every page of the list of images.
func imageList(ctx context.Context, c *client, q url.Values) (console.ImageList, error) {
	var out console.ImageList
	for {
		var page console.ImageList
		q.Set("limit", "500")
		q.Set("offset", fmt.Sprint(len(out.Items)))
		if err := c.get(ctx, "/images", q, &page); err != nil {
			return out, err
		}
		items := append(out.Items, page.Items...)
		out = page
		out.Items = items
		if len(page.Items) == 0 || len(items) >= page.Total {
			return out, nil
		}
	}
}

func printImages(env *Env, list console.ImageList) {
	if list.Kept == 0 {
		env.Err.Printf("no image was scanned yet; scan one with gabion images scan REFERENCE, or put a ScanTarget into the policies folder\n")
	} else {
		rows := make([][]term.Cell, 0, len(list.Items))
		for _, i := range list.Items {
			state := term.C(term.Good, "complete")
			switch {
			case !i.Complete:
				state = term.C(term.Bad, "INCOMPLETE")
			case i.Violations > 0:
				state = term.C(term.Bad, "not allowed")
			}
			rows = append(rows, []term.Cell{term.T(imageTitle(i)), term.T(fmt.Sprint(i.Priority)), figure(term.Bad, i.Open.Critical), figure(term.Bad, i.Open.High), figure(term.Warn, i.Open.Medium),
				figure(term.Bad, i.Exploited), figure(term.Plain, i.Fixable), figure(term.Bad, i.Secrets), figure(term.Plain, i.Running), state})
		}
		env.Out.Table([]string{"IMAGE", "PRIORITY", "CRITICAL", "HIGH", "MEDIUM", "EXPLOITED", "FIXABLE", "SECRETS", "RUNNING", "SCAN"}, rows)
	}
	for _, t := range list.Targets {
		if t.Problem != "" {
			env.Err.Printf("%s ScanTarget %s: %s\n", env.Err.Paint(term.Bad, "trouble:"), term.Clean(t.Name), term.Clean(t.Problem))
		}
	}
	if n := len(list.Unscanned); n > 0 {
		env.Err.Printf("%d %s here and %s never scanned, such as %s\n", n, plural(n, "image runs", "images run"), plural(n, "was", "were"), term.Clean(list.Unscanned[0].Reference))
	}
}

// figure prints a number, faint when it is nothing.
func figure(style term.Style, n int) term.Cell {
	if n == 0 {
		style = term.Faint
	}
	return term.C(style, "%d", n)
}

func imageTitle(i console.Image) string {
	if len(i.Names) == 0 {
		return i.Digest
	}
	if more := len(i.Names) - 1; more > 0 {
		return fmt.Sprintf("%s (+%d)", i.Names[0], more)
	}
	return i.Names[0]
}

func showImageCommand(env *Env) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "show IMAGE",
		Short: "Show one image: what to fix, what it holds, where it runs",
		Long: `Shows what the running gabion knows of one image. IMAGE is a name or a digest, or
a part of them that only one image has.`,
		Example: `  gabion images show registry.example/web:5.2
  gabion images show sha256:4eedf861fb56
  gabion images show web --output json`,
		Args: arguments(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c := env.client()
			i, err := findImage(cmd.Context(), c, args[0])
			if err != nil {
				return err
			}
			var d console.ImageDetail
			if err := c.get(cmd.Context(), "/images/"+url.PathEscape(i.Digest), nil, &d); err != nil {
				return err
			}
			if output == "json" {
				return printJSON(env, d)
			}
			showImage(env, d, time.Now())
			return nil
		},
	}
	outputFlag(cmd, &output, "table", "json")
	return cmd
}

// findImage looks for the one image that is meant: an exact name or digest, else
// the only one that has the text in it.
func findImage(ctx context.Context, c *client, text string) (console.Image, error) {
	list, err := imageList(ctx, c, url.Values{"q": {text}})
	if err != nil {
		return console.Image{}, err
	}
	if i := slices.IndexFunc(list.Items, func(i console.Image) bool { return i.Digest == text || slices.Contains(i.Names, text) }); i >= 0 {
		return list.Items[i], nil
	}
	switch len(list.Items) {
	case 0:
		return console.Image{}, exit(ExitFailed, fmt.Errorf("no image %q was scanned; scan it with: gabion images scan %s", text, text))
	case 1:
		return list.Items[0], nil
	}
	names := []string{}
	for _, i := range list.Items[:min(len(list.Items), 5)] {
		names = append(names, imageTitle(i))
	}
	return console.Image{}, exit(ExitFailed, fmt.Errorf("%d images have %q in them; name one: %s", len(list.Items), text, strings.Join(names, ", ")))
}

func showImage(env *Env, d console.ImageDetail, now time.Time) {
	p := env.Out
	p.Printf("%s\n", p.Paint(term.Strong, imageTitle(d.Image)))
	p.Printf("  digest    %s\n", d.Digest)
	p.Printf("  system    %s, %s\n", orNone(d.System), orNone(d.Platform))
	p.Printf("  findings  %d critical, %d high, %d medium, %d low; %d exploited, %d fixable, %d in programs that ran; %d settled\n",
		d.Open.Critical, d.Open.High, d.Open.Medium, d.Open.Low+d.Open.Negligible, d.Exploited, d.Fixable, d.Used, d.Settled)
	if !d.Database.Data.IsZero() {
		p.Printf("  compared  with advisories up to %s, %d days old\n", d.Database.Data.Format(time.DateOnly), int(now.Sub(d.Database.Data).Hours()/24))
	}
	for _, c := range d.Containers {
		p.Printf("  runs in   %s, container %s (known by its %s)\n", c.Workload, c.Name, c.By)
	}
	if !d.Complete {
		p.Printf("\n%s\n", p.Paint(term.Bad, "INCOMPLETE: these could not be examined"))
		for _, g := range d.GapList {
			if !g.Minor {
				p.Printf("  %s: %s; %s\n", term.Clean(g.Where), term.Clean(g.What), term.Clean(g.Means))
			}
		}
	}
	if len(d.ViolationList) > 0 {
		p.Printf("\n%s\n", p.Paint(term.Bad, "beyond what "+orNone(strings.Join(d.Targets, ", "))+" allows"))
		for _, v := range d.ViolationList {
			p.Printf("  %s: %s\n", term.Clean(v.Rule), term.Clean(v.Object))
		}
	}
	if len(d.Plan) > 0 {
		p.Printf("\n")
		rows := [][]term.Cell{}
		for _, s := range d.Plan {
			rows = append(rows, []term.Cell{term.T(fmt.Sprint(s.Priority)), term.T(s.Worst), term.T(fmt.Sprint(len(s.Closes))), term.T(s.Do), term.T(s.Where)})
		}
		p.Table([]string{"PRIORITY", "WORST", "CLOSES", "DO", "WHERE"}, rows)
	}
	for _, s := range d.SecretList {
		p.Printf("\n%s %s in %s (%s)\n", p.Paint(term.Bad, "secret:"), term.Clean(s.Title), term.Clean(s.Where), s.State)
	}
	for _, c := range d.CheckList {
		if c.Status == "fail" {
			p.Printf("%s %s\n", p.Paint(term.Warn, "check failed:"), term.Clean(c.Title))
		}
	}
}

func scanImageCommand(env *Env) *cobra.Command {
	var container string
	var wait bool
	cmd := &cobra.Command{
		Use:   "scan [REFERENCE]",
		Short: "Let the running gabion scan an image and keep what it finds",
		Long: `Asks the running gabion to scan an image of a registry, or with docker: or
containerd: before the name, one of this machine; or with --container the image of
a container that runs here. Credentials are those of Docker's configuration of the
user that gabion runs as.`,
		Example: `  gabion images scan registry.example/web:5.3
  gabion images scan --container 3f1c9a0b7d22
  gabion images scan docker:web:dev --wait`,
		Args: arguments(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			what := console.ImageToScan{Container: container}
			if len(args) == 1 {
				what.Reference = args[0]
			}
			if (what.Reference == "") == (what.Container == "") {
				return exit(ExitUsage, fmt.Errorf("name either a reference or, with --container, a container"))
			}
			c := env.client()
			var job console.ImageScan
			if err := c.do(cmd.Context(), http.MethodPost, "/images/scan", nil, what, "", &job); err != nil {
				return err
			}
			if !wait {
				env.Err.Printf("%s will be scanned; look with: gabion images\n", term.Clean(job.What))
				return nil
			}
			return awaitScan(cmd.Context(), env, c, job)
		},
	}
	cmd.Flags().StringVar(&container, "container", "", "scan the image of the container `ID`")
	cmd.Flags().BoolVar(&wait, "wait", false, "wait until it is done, then show it")
	return cmd
}

func awaitScan(ctx context.Context, env *Env, c *client, job console.ImageScan) error {
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		var list console.List[console.ImageScan]
		if err := c.get(ctx, "/images/scans", nil, &list); err != nil {
			return err
		}
		i := slices.IndexFunc(list.Items, func(s console.ImageScan) bool { return s.ID == job.ID })
		if i < 0 {
			return exit(ExitFailed, fmt.Errorf("gabion was started anew and forgot the scan of %s; ask again", job.What))
		}
		switch s := list.Items[i]; s.State {
		case "failed":
			return exit(ExitFailed, fmt.Errorf("%s could not be scanned: %s", s.What, s.Problem))
		case "done":
			var d console.ImageDetail
			if err := c.get(ctx, "/images/"+url.PathEscape(s.Digest), nil, &d); err != nil {
				return err
			}
			showImage(env, d, time.Now())
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}
