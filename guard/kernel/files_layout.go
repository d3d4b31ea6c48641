package kernel

// What bpf/files_maps.h lays out.

// Flags of a filePlan.
const (
	filesObserve = 1 << 0
	filesCanary  = 1 << 1
)

// filePlan mirrors struct file_plan: the files section of one container.
type filePlan struct {
	Set       uint32
	Mode      uint8
	Flags     uint8
	Restricts uint16
	Plan      uint32
	RootDev   uint32
	RootIno   uint64
	Suspects  uint64
	Groups    uint64
}

// Kinds of a fileRuleKey. Those of subjects are fileSubject more, those of
// further parts of a long list n times fileChunk more.
const (
	fileFile    = 1
	fileDir     = 2
	fileTree    = 3
	fileName    = 4
	fileObject  = 6
	fileDirObj  = 7
	fileDir1Obj = 8
	fileSubject = 16
	fileChunk   = 256
)

// fileRuleKey mirrors struct file_rule_key.
type fileRuleKey struct {
	Set  uint32
	Kind uint32
	A    uint64
	B    uint64
}

// What a clause says.
const (
	clauseDeny    = 1
	clauseAllow   = 2
	clauseCeiling = 3
	clauseWaive   = 4
	clauseSubject = 5
)

// clause mirrors struct clause.
type clause struct {
	Access uint16
	What   uint8
	Group  uint8
	Rule   uint16
	Order  uint16
}

const (
	clausesPerRule = 7
	chunksPerPlace = 8
)

// fileRule mirrors struct file_rule.
type fileRule struct {
	N    uint32
	More uint32
	C    [clausesPerRule]clause
}

// fileState mirrors struct file_state.
type fileState struct {
	Generation uint64
	Overlays   uint32
	_          uint32
}

// fileDetail mirrors struct file_detail.
type fileDetail struct {
	Time    uint64
	PID     uint32
	PPID    uint32
	UID     uint32
	Dev     uint32
	ExeDev  uint32
	ExeLen  uint16
	PathLen uint16
	TooDeep uint8
	ExeDeep uint8
	Access  uint16
	_       uint32
	Exe     [pathBuf]byte
	Path    [pathBuf]byte
}

// fileDetailFixed is the size of fileDetail without Path.
const fileDetailFixed = 8 + 5*4 + 2*2 + 2 + 2 + 4 + pathBuf

const (
	kindFile = 8  // of a CountKey
	recFile  = 16 // type of a ring record
)

// procDev stands for every procfs: each pid namespace has one of its own.
const procDev = 0xfffffff0
