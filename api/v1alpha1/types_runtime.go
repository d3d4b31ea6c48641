package v1alpha1

// FileRule says who may use files in which way. An allow rule guards what it
// covers for the access that it names: only the programs of such rules may use
// it so. A deny rule wins over every allow. A file that no rule covers is free.
type FileRule struct {
	// Path is absolute, as the container sees it. "/dir/*" means files directly
	// in it, "/dir/**" the directory and anything below; elsewhere no wildcards.
	Path string `json:"path"`
	// Access is one word or a list of them: Read, Write (every change), Append,
	// Create, Delete, Rename, Link, Chmod, Execute.
	Access AccessList `json:"access"`
	// Action: Allow or Deny. Default: Allow.
	Action Action `json:"action,omitempty"`
	// Recursive says that the path is a directory, and means all of it: the same
	// as a path that ends in "/**".
	Recursive bool `json:"recursive,omitempty"`
	// By are the programs that the rule speaks about, written as paths. Default:
	// every program.
	By []string `json:"by,omitempty"`
	// Reason is for the reader: why this rule is here.
	Reason string `json:"reason,omitempty"`
}

// AccessWord is a way to use a file.
type AccessWord string

// Access words.
const (
	FileRead    AccessWord = "Read"    // open for reading, list a directory, map
	FileWrite   AccessWord = "Write"   // every change: content, name, mode
	FileAppend  AccessWord = "Append"  // open for appending only
	FileCreate  AccessWord = "Create"  // make a file, directory, socket, device or symbolic link
	FileDelete  AccessWord = "Delete"  // remove it
	FileRename  AccessWord = "Rename"  // rename it, or put another in its place
	FileLink    AccessWord = "Link"    // make a hard link to it
	FileChmod   AccessWord = "Chmod"   // change mode, owner, times or extended attributes
	FileExecute AccessWord = "Execute" // start it as a program, or map it as code
)

// AccessWords are all of them, in the order of the documentation.
func AccessWords() []AccessWord {
	return []AccessWord{FileRead, FileWrite, FileAppend, FileCreate, FileDelete, FileRename, FileLink, FileChmod, FileExecute}
}

// AccessList is one or several access words. In a document a single one may
// stand alone: "access: Read".
type AccessList []AccessWord

// CapabilitiesSpec says which Linux capabilities the containers may use,
// whatever they were given.
type CapabilitiesSpec struct {
	// Mode of this section; default: the policy's mode.
	Mode Mode `json:"mode,omitempty"`
	// Allow lists capabilities by name, with or without "CAP_". It is the whole
	// truth: empty means none.
	Allow []string `json:"allow"`
}

// HardeningSpec forbids ways out of a container that few programs need.
type HardeningSpec struct {
	// Mode of this section; default: the policy's mode.
	Mode Mode `json:"mode,omitempty"`
	// Preset turns on a set of switches: Baseline, which ordinary images do not
	// notice, or Restricted, which is nearly all of them.
	Preset HardeningPreset `json:"preset,omitempty"`
	// Deny turns on switches besides those of the preset.
	Deny []string `json:"deny,omitempty"`
	// Allow takes switches out of the preset.
	Allow []string `json:"allow,omitempty"`
	// JIT are programs that may make code at run time: paths, written as in
	// ProcessRule. The same as an exemption from the switch writable-code.
	JIT []string `json:"jit,omitempty"`
	// Exempt are programs that a switch leaves alone.
	Exempt []HardeningExemption `json:"exempt,omitempty"`
}

// HardeningExemption takes programs out of one switch.
type HardeningExemption struct {
	// Switch is the name of what they may do.
	Switch string `json:"switch"`
	// By are the programs, written as paths.
	By []string `json:"by"`
	// Reason is for the reader: why they need it.
	Reason string `json:"reason,omitempty"`
}

// FileWaiver names uses of files that may be made although a rule denies them
// or no rule allows them. It guards nothing of its own.
type FileWaiver struct {
	// Path is written as in FileRule.
	Path string `json:"path"`
	// Access is written as in FileRule.
	Access AccessList `json:"access"`
	// Recursive is as in FileRule.
	Recursive bool `json:"recursive,omitempty"`
	// By are the programs that may. Default: every program.
	By []string `json:"by,omitempty"`
	// Reason is for the reader.
	Reason string `json:"reason,omitempty"`
}

// HardeningWaiver turns a switch off, for all programs or for some.
type HardeningWaiver struct {
	// Switch is the name of what may be done.
	Switch string `json:"switch"`
	// By are the programs that may. Default: every program.
	By []string `json:"by,omitempty"`
	// Reason is for the reader.
	Reason string `json:"reason,omitempty"`
}
