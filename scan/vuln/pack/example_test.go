package pack_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/gabion-dev/gabion/scan"
	"github.com/gabion-dev/gabion/scan/vuln"
	"github.com/gabion-dev/gabion/scan/vuln/pack"
)

// A publisher signs and pushes a database; whoever has the public key takes it.
func ExamplePlace_Update() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "advisories.db")
	b := vuln.NewBuilder(vuln.Options{})
	b.Source(scan.Source{Name: "example", Licence: "none"})
	err = b.Add(vuln.Record{
		ID: "CVE-2026-1000", Source: "example", Modified: time.Date(2026, 8, 1, 0, 0, 0, 0, time.UTC),
		Affected: []vuln.Affected{{Ecosystem: "npm", Name: "left", Ranges: []vuln.Range{{Fixed: "1.2.3"}}}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	if _, err := b.Write(file); err != nil {
		fmt.Println(err)
		return
	}
	private, public, err := pack.GenerateKey(rand.Reader)
	if err != nil {
		fmt.Println(err)
		return
	}
	signer, err := pack.ParseSigner(private)
	if err != nil {
		fmt.Println(err)
		return
	}
	ref := "oci:" + filepath.Join(dir, "layout") + ":v1" // or "registry.example.org/team/advisories:v1"
	if _, err := pack.Push(context.Background(), file, ref, pack.PushOptions{Signer: signer}); err != nil {
		fmt.Println(err)
		return
	}

	keys, err := pack.ParseKeys(public)
	if err != nil {
		fmt.Println(err)
		return
	}
	place := pack.Place{Dir: filepath.Join(dir, "db")}
	change, err := place.Update(context.Background(), ref, pack.Options{
		Keys: keys, Now: func() time.Time { return time.Date(2026, 8, 11, 0, 0, 0, 0, time.UTC) },
	})
	fmt.Println(change.Updated, change.Database.Advisories, change.DaysOld, change.Signed == pack.KeyID(keys[0]), err)
	// Output: true 1 10 true <nil>
}
