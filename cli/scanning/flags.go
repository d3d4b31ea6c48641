package scanning

import (
	"strings"

	"github.com/spf13/pflag"

	"github.com/gabion-dev/gabion/scan/decide"
)

// Flags adds the flags of every command that scans.
func (o *Options) Flags(f *pflag.FlagSet) {
	o.reachFlags(f)
	f.StringVar(&o.Database, "db", "", "match against the database in `FILE`; default: the local one, else the one inside this program")
	f.StringVar(&o.Cache, "cache", "", "remember layers in `DIR`; default: the user's cache folder")
	f.BoolVar(&o.NoCache, "no-cache", false, "remember nothing")
	f.IntVar(&o.Jobs, "jobs", 0, "read `N` layers at once; default: one per processor")
	f.DurationVar(&o.Timeout, "timeout", 0, "read for at most `TIME` (10m); what was not read by then is reported as missing")
	f.StringSliceVar(&o.Skip, "skip", nil, "leave out `PARTS`: "+strings.Join(Skippable(), ", "))
	f.BoolVar(&o.Files, "files", false, "list executables and libraries with their digests")

	f.StringArrayVar(&o.FailOn, "fail-on", nil, "exit with 2 for `WORDS`: a severity, kev, unknown, priority:N, fixable, new, secrets, checks, licenses, unsigned")
	f.StringVar(&o.Ignore, "ignore-file", "", "take decisions from `FILE`; default: "+decide.IgnoreName+" where it is there")
	f.StringArrayVar(&o.VEX, "vex", nil, "take statements from the VEX document `FILE` (OpenVEX, CSAF, CycloneDX)")
	f.StringVar(&o.Base, "base", "", "the image is built on `IMAGE`; tells what that brought from the image's own")
	f.BoolVar(&o.NewOnly, "new-only", false, "thresholds count only what the base image did not bring")
	f.StringSliceVar(&o.Allow, "allow-license", nil, "licences other than these `IDS` fail")
	f.StringSliceVar(&o.Deny, "deny-license", nil, "these `IDS` of licences fail")

	f.StringArrayVar(&o.Keys, "key", nil, "trust signatures by the public key in `FILE`")
	f.StringArrayVar(&o.Identities, "identity", nil, "trust sigstore certificates of `ISSUER=SUBJECT`; ~ before either makes it a pattern")
	f.StringVar(&o.TrustedRoot, "trusted-root", "", "sigstore's trusted root is in `FILE`; --identity needs it")
	f.StringArrayVar(&o.NotationCA, "notation-ca", nil, "trust notation signatures below the certificates in `FILE`")
	f.BoolVar(&o.RequireSignature, "require-signature", false, "exit with 2 without a valid signature")
}

// reachFlags say how images are reached.
func (o *Options) reachFlags(f *pflag.FlagSet) {
	f.StringVar(&o.Image.Platform, "platform", "", "of an image for several, scan `OS/ARCH`; default: this machine's")
	f.StringVar(&o.Image.Username, "username", "", "sign in to the registry as `NAME`; default: Docker's configuration")
	f.StringVar(&o.PasswordFile, "password-file", "", "the password, a token or user:password is in `FILE`")
	f.StringArrayVar(&o.Mirrors, "mirror", nil, "ask another registry first, as `HOST=MIRROR`")
	f.BoolVar(&o.Image.PlainHTTP, "plain-http", false, "speak to registries without TLS")
	f.BoolVar(&o.Image.SkipTLSVerify, "insecure-skip-tls-verify", false, "accept any certificate of a registry")
	f.StringVar(&o.Image.CAFile, "ca-file", "", "trust the authorities in `FILE` too")
	f.StringVar(&o.Image.CertFile, "client-cert", "", "show the certificate in `FILE` to registries")
	f.StringVar(&o.Image.KeyFile, "client-key", "", "its key is in `FILE`")
	f.StringVar(&o.Image.ContainerdSocket, "containerd", "", "containerd's `SOCKET`; default: the usual places")
	f.StringVar(&o.Image.DockerSocket, "docker", "", "Docker's `SOCKET`; default: the usual places")
}
