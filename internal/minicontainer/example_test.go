package minicontainer_test

import (
	"context"
	"fmt"
	"os"

	"github.com/gabion-dev/gabion/internal/minicontainer"
)

// A program that starts containers calls Init first thing in main. This needs
// root and a directory with an image's files.
func ExampleStart() {
	minicontainer.Init()
	ctx := context.Background()
	c, err := minicontainer.Start(ctx, minicontainer.Spec{
		Name: "web", Image: "shop/web:1", Labels: map[string]string{"gabion.dev/namespace": "shop"},
		Lower: []string{"/var/lib/shop/image"}, Dir: "/var/lib/shop/web",
		Args: []string{"/bin/web", "--listen", ":8080"}, Stdout: os.Stdout, Stderr: os.Stderr,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Stop(ctx)
	st, err := c.Exec(ctx, minicontainer.ExecSpec{Args: []string{"/bin/health"}, Stdout: os.Stdout})
	fmt.Println(st, err)
}
