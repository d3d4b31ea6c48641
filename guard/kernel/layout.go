package kernel

import "encoding/binary"

// Layout is the version of the kernel maps that this package reads and writes
// (LAYOUT in bpf/gabion.h). Maps of another layout are never adopted.
const Layout = 2

// Modes of a section as the kernel programs know them; 0 is "absent".
const (
	modeLearn   = 1
	modeMonitor = 2
	modeProtect = 3
)

// Flags of a Container.
const (
	FlagDenyDrift     = 1 << 0
	FlagExecListed    = 1 << 1
	FlagEgressListed  = 1 << 2
	FlagIngressListed = 1 << 3
	FlagQuarantine    = 1 << 4
	FlagObserve       = 1 << 5
	FlagSnapshot      = 1 << 6
	FlagExecPaths     = 1 << 7
	FlagVerify        = 1 << 8
	FlagScripts       = 1 << 9
	FlagCallers       = 1 << 10
	FlagScriptRules   = 1 << 11
)

// flagsExec are the flags that Apply of this package owns.
const flagsExec = FlagDenyDrift | FlagExecListed | FlagObserve | FlagSnapshot | FlagExecPaths | FlagVerify | FlagScripts | FlagCallers | FlagScriptRules

// Container mirrors struct container: how one container is set up. guard/kernel
// owns the exec fields, guard/firewall the network ones; both change an entry
// only through Maps.Update.
type Container struct {
	Flags           uint32
	Generation      uint32
	ExecMode        uint8
	NetMode         uint8
	ListRule        uint16
	DriftRule       uint16
	EgressListRule  uint16
	IngressListRule uint16
	_               uint16
	RootDev         uint32
	Plan            uint32
	Rules           uint32
	RootIno         uint64
}

// settings mirrors struct settings.
type settings struct {
	Layout      uint32
	Off         uint32
	Hold        uint32
	AgentTGID   uint32
	Heartbeat   uint64
	Epoch       uint64
	InitMntNS   uint32
	InitPidNS   uint32
	HashKey     [2]uint64
	InitRootIno uint64
	InitRootDev uint32
	Instance    uint32
	NextCID     uint32
	NextSet     uint32
}

// Kinds of a CountKey.
const (
	kindExec    = 1
	kindAgent   = 5
	kindRefused = 6
	kindMap     = 7
)

// ours reports whether this package counts causes of a kind.
func ours(kind uint8) bool {
	return kind == kindExec || kind == kindAgent || kind == kindRefused || kind == kindMap || kind == kindFile || isHardening(kind)
}

// Effects of a CountKey.
const (
	effectBlocked    = 1
	effectWouldBlock = 2
	effectNotBlocked = 3
)

// CountKey mirrors struct count_key: one cause.
type CountKey struct {
	CID     uint32
	Kind    uint8
	Effect  uint8
	Rule    uint16
	Reasons uint32
	Plan    uint32
	Object  uint64
}

func (k CountKey) bytes() []byte {
	b := make([]byte, 0, 24)
	b = binary.LittleEndian.AppendUint32(b, k.CID)
	b = append(b, k.Kind, k.Effect)
	b = binary.LittleEndian.AppendUint16(b, k.Rule)
	b = binary.LittleEndian.AppendUint32(b, k.Reasons)
	b = binary.LittleEndian.AppendUint32(b, k.Plan)
	return binary.LittleEndian.AppendUint64(b, k.Object)
}

// Count mirrors struct count. First and Last are nanoseconds of the
// monotonic clock.
type Count struct {
	N     uint64
	First uint64
	Last  uint64
}

// Kinds of a rule key: how its two numbers are to be read.
const (
	ruleFile    = 1
	ruleDir     = 2
	ruleTree    = 3
	ruleName    = 4
	ruleApplet  = 5
	ruleObject  = 6
	ruleDirObj  = 7
	ruleDir1Obj = 8
	// Added to a kind: the entry gives bits of programs that start others, or
	// of scripts.
	ruleCaller = 16
	ruleScript = 32
	// nth is added to a kind n times: the n-th conditional rule on the key.
	nth = 1 << 8
)

// ruleKey mirrors struct exec_rule_key.
type ruleKey struct {
	Set  uint32
	Kind uint32
	A    uint64
	B    uint64
}

// What a rule entry says of the programs it matches.
const (
	hasAllow  = 1
	hasDeny   = 2
	hasExempt = 4
	hasMulti  = 8
	hasWaive  = 16
	hasAny    = 31
)

// ruleValue mirrors struct exec_rule. Conds is how many conditional rules are
// on the key; in one of those, its condition.
type ruleValue struct {
	Has   uint16
	Rule  uint16
	Order uint16
	Conds uint16
}

// bits is what an entry of ruleCaller or ruleScript holds.
func (v ruleValue) bits() uint64 {
	return uint64(v.Has) | uint64(v.Rule)<<16 | uint64(v.Order)<<32 | uint64(v.Conds)<<48
}

func bitsValue(b uint64) ruleValue {
	return ruleValue{uint16(b), uint16(b >> 16), uint16(b >> 32), uint16(b >> 48)}
}

// condKey mirrors struct cond_key.
type condKey struct{ Set, ID uint32 }

const (
	maxUsers = 16
	condText = 256
	globAny  = 0xff
	globRest = 0xfe
)

// condValue mirrors struct cond: what narrows a rule.
type condValue struct {
	Callers uint64
	Scripts uint64
	Users   [maxUsers]uint32
	NUsers  uint16
	ArgsLen uint16
	HasArgs uint8
	Shell   uint8
	_       uint16
	Args    [condText]byte
}

// callerValue mirrors struct caller.
type callerValue struct {
	Set  uint32
	_    uint32
	Bits uint64
}

// Among the bits of callers; patterns have the others.
const (
	maxPatterns          = 62
	callerUnknown uint64 = 1 << 62
	callerOutside uint64 = 1 << 63
)

// account mirrors struct account, by ring.
type account struct{ Told, Lost [2]uint64 }

const (
	ringDenials      = 0
	ringObservations = 1
)

// fileKey mirrors struct file_key: one state of one file.
type fileKey struct {
	Ino       uint64
	Dev       uint32
	CtimeNsec uint32
	CtimeSec  uint64
	Size      uint64
}

// Verdicts on a file whose layer does not tell.
const (
	fileImage   uint32 = 1 // the image has it, with this content
	fileChanged uint32 = 2 // the image has it, with other content
	fileNew     uint32 = 3 // the image does not have it
)

const (
	pathBuf = 1024 + 256
	argsBuf = 512
)

// execDetail mirrors struct exec_detail.
type execDetail struct {
	Time      uint64
	PID       uint32
	PPID      uint32
	UID       uint32
	Dev       uint32
	PathLen   uint16
	ArgsLen   uint16
	TooDeep   uint8
	InImage   uint8
	HasApplet uint8
	Nameless  uint8
	Signals   uint64
	Applet    [64]byte
	Parent    [64]byte
	Args      [argsBuf]byte
	Path      [pathBuf]byte
}

// detailFixed is the size of execDetail without Path.
const detailFixed = 8 + 4*4 + 2*2 + 4 + 8 + 64 + 64 + argsBuf

// Types of ring records.
const (
	recCause  = 1
	recStart  = 2
	recSeen   = 3
	recVerify = 4
	recMapped = 5
)

// startRecord mirrors struct start_record.
type startRecord struct {
	Type   uint32
	PID    uint32
	Cgroup uint64
	Time   uint64
	Held   uint32
	CID    uint32
}

// mapRecord mirrors struct map_record.
type mapRecord struct {
	Type    uint32
	PID     uint32
	CID     uint32
	PathLen uint32
	Key     fileKey
	Path    [pathBuf]byte
}

// heldValue mirrors struct held.
type heldValue struct {
	Cgroup   uint64
	Time     uint64
	Released uint8
	Mapped   uint8 // held for a file that it mapped
	_        uint16
	CID      uint32 // not 0: held to compare its file with the image
	Caller   uint64 // bits of the program that started it
}

// cidNone marks a cgroup as no container's.
const cidNone = 0xffffffff

// nameValue mirrors struct name_info.
type nameValue struct{ ID [128]byte }
