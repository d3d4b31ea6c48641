package scanning

import (
	"strings"

	"github.com/spf13/pflag"

	"github.com/gabion-dev/gabion/scan/decide"
)

// GroupAnnotation is the key under which a flag carries the title of the group
// that help shows it in.
const GroupAnnotation = "gabion_group"

// Titles of the groups of flags that several commands have, in the order of
// help.
const (
	GroupWhat  = "What is scanned"
	GroupFails = "What fails, and what is settled"
	GroupRun   = "Database, cache and limits"
	GroupReach = "How registries and runtimes are reached"
	GroupTrust = "Whose signatures count"
)

// Group adds flags to f that help shows together below title, in the order in
// which they are added.
func Group(f *pflag.FlagSet, title string, add func(*pflag.FlagSet)) {
	part := pflag.NewFlagSet("", pflag.ContinueOnError)
	part.SortFlags, f.SortFlags = false, false
	add(part)
	part.VisitAll(func(flag *pflag.Flag) {
		if flag.Annotations == nil {
			flag.Annotations = map[string][]string{}
		}
		flag.Annotations[GroupAnnotation] = []string{title}
	})
	f.AddFlagSet(part)
}

// Flags adds the flags of every command that scans.
func (o *Options) Flags(f *pflag.FlagSet) {
	Group(f, GroupFails, o.decisionFlags)
	Group(f, GroupWhat, o.whatFlags)
	Group(f, GroupRun, o.runFlags)
	Group(f, GroupReach, o.reachFlags)
	Group(f, GroupTrust, o.trustFlags)
}

// decisionFlags say what counts.
func (o *Options) decisionFlags(f *pflag.FlagSet) {
	f.StringArrayVar(&o.FailOn, "fail-on", nil, "exit with 2 for `WORDS`, with commas: "+strings.Join(FailOnWords(), ", "))
	f.StringVar(&o.Ignore, "ignore-file", "", "take decisions from `FILE`; default: "+decide.IgnoreName+" where it is there")
	f.StringArrayVar(&o.VEX, "vex", nil, "take statements from the VEX document `FILE` (OpenVEX, CSAF, CycloneDX)")
	f.StringVar(&o.Base, "base", "", "the image is built on `IMAGE`; tells what that brought from the image's own")
	f.BoolVar(&o.NewOnly, "new-only", false, "thresholds count only what the base image did not bring")
	f.StringSliceVar(&o.Allow, "allow-license", nil, "licences other than these `IDS` fail; NOASSERTION is where a package tells none")
	f.StringSliceVar(&o.Deny, "deny-license", nil, "these `IDS` of licences fail")
}

func (o *Options) whatFlags(f *pflag.FlagSet) {
	f.StringSliceVar(&o.Skip, "skip", nil, "leave out `PARTS`: "+strings.Join(Skippable(), ", "))
	f.StringVar(&o.Image.Platform, "platform", "", "of an image for several, scan `OS/ARCH`; default: this machine's")
	f.BoolVar(&o.Files, "files", false, "list executables and libraries with their digests")
}

func (o *Options) runFlags(f *pflag.FlagSet) {
	f.StringVar(&o.Database, "db", "", "match against the database in `FILE`; default: $"+EnvDatabase+", else the local one, else the one inside this program")
	f.StringVar(&o.Cache, "cache", "", "remember layers in `DIR`; default: $"+EnvCache+", else the user's cache folder")
	f.BoolVar(&o.NoCache, "no-cache", false, "remember nothing")
	f.DurationVar(&o.Timeout, "timeout", 0, "read for at most `TIME` (10m); what was not read by then is reported as missing")
	f.IntVar(&o.Jobs, "jobs", 0, "read `N` layers at once; default: one per processor")
}

// reachFlags say how images are reached.
func (o *Options) reachFlags(f *pflag.FlagSet) {
	f.StringVar(&o.Image.Username, "username", "", "sign in to the registry as `NAME`; default: Docker's configuration")
	f.StringVar(&o.PasswordFile, "password-file", "", "the password, a token or user:password is in `FILE`")
	f.StringArrayVar(&o.Mirrors, "mirror", nil, "ask another registry first, as `HOST=MIRROR`")
	f.StringVar(&o.Image.CAFile, "ca-file", "", "trust the authorities in `FILE` too")
	f.StringVar(&o.Image.CertFile, "client-cert", "", "show the certificate in `FILE` to registries")
	f.StringVar(&o.Image.KeyFile, "client-key", "", "its key is in `FILE`")
	f.BoolVar(&o.Image.PlainHTTP, "plain-http", false, "speak to registries without TLS")
	f.BoolVar(&o.Image.SkipTLSVerify, "insecure-skip-tls-verify", false, "accept any certificate of a registry")
	f.StringVar(&o.Image.ContainerdSocket, "containerd", "", "containerd's `SOCKET`; default: the usual places")
	f.StringVar(&o.Image.DockerSocket, "docker", "", "Docker's `SOCKET`; default: the usual places")
}

func (o *Options) trustFlags(f *pflag.FlagSet) {
	f.StringArrayVar(&o.Keys, "key", nil, "trust signatures by the public key in `FILE`")
	f.StringArrayVar(&o.Identities, "identity", nil, "trust sigstore certificates of `ISSUER=SUBJECT`; ~ before either makes it a pattern")
	f.StringVar(&o.TrustedRoot, "trusted-root", "", "sigstore's trusted root is in `FILE`; --identity needs it")
	f.StringArrayVar(&o.NotationCA, "notation-ca", nil, "trust notation signatures below the certificates in `FILE`")
	f.BoolVar(&o.RequireSignature, "require-signature", false, "exit with 2 without a valid signature")
}
