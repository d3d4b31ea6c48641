// Package console is the HTTP face of Gabion: the API described in
// openapi.json, sign-in and roles, and the web UI built from the folder ui.
//
// It decides nothing about workloads and knows no kernel: what it shows and
// does goes through Platform (implemented by whoever wires the node together)
// and store.Store. The one idea needed to change it: every route has exactly
// one entry in the table permissions(), New refuses a route without one, and
// every request passes the same gate (host, origin, session or socket
// identity, role) before a handler sees it.
package console

//go:generate go test . -run=TestOpenAPIDescription -update
