package policy

// more runs the commands about whole sets.
func (w *world) more(f []string) {
	w.t.Fatalf("unknown command %s", f[0])
}
