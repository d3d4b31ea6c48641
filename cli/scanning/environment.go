package scanning

import "github.com/gabion-dev/gabion/api/v1alpha1"

// Variables of the environment that are the defaults of flags, for build systems
// that set things once for all jobs. There is none for thresholds: what a build
// allows stands where the build is described.
const (
	EnvDatabase = "GABION_DB"        // --db
	EnvCache    = "GABION_CACHE_DIR" // --cache
)

// Environment fills what no flag said.
func (o *Options) Environment(getenv func(string) string) {
	if o.Database == "" {
		o.Database = getenv(EnvDatabase)
	}
	if o.Cache == "" && !o.NoCache {
		o.Cache = getenv(EnvCache)
	}
}

// FailOnWords are the words of --fail-on, as help and completion list them.
func FailOnWords() []string {
	return append(v1alpha1.FailOnWords(), v1alpha1.PriorityWord+"N")
}
