package kernel

import (
	"encoding/binary"
	"path"

	"github.com/gabion-dev/gabion/event"
	"github.com/gabion-dev/gabion/guard"
	"github.com/gabion-dev/gabion/policy"
)

// accessMask is the part of a cause's object that says what was asked for.
const accessMask = 0xffff

// describeFile says what is known of a refused use of a file.
func (e *Engine) describeFile(d *guard.Denial, key CountKey) {
	access := policy.Access(key.Object & accessMask)
	d.Kind, d.Operation = event.FileAccess, access.String()
	if v, ok := e.hooks.refuses(setFiles, hookFor(access)); ok {
		d.Mechanism = v.mechanism()
	}
	switch key.Effect {
	case effectBlocked:
		d.Effect = event.Blocked
	case effectWouldBlock:
		d.Effect = event.WouldBlock
	default:
		d.Effect = event.NotBlocked
	}
	maps, err := e.hooks.ownMaps(setFiles)
	if err != nil {
		return // the count is told without its details
	}
	var det fileDetail
	if maps[filesMapFileDetails].Lookup(key, &det) == nil {
		d.Process, d.Path = e.fileUse(key.CID, &det)
	}
}

// hookFor gives a hook by which an access is judged.
func hookFor(access policy.Access) string {
	for _, a := range accessHooks {
		if a.access&access != 0 {
			return a.hooks[0]
		}
	}
	return hookOpen
}

// fileUse reads what the kernel wrote about the use of a file.
func (e *Engine) fileUse(cid uint32, d *fileDetail) (p event.Process, file string) {
	file = e.shownPath(cid, d.Dev, d.Path[:min(int(d.PathLen), pathBuf)], d.TooDeep != 0)
	p = event.Process{PID: int(d.PID), PPID: int(d.PPID), UID: d.UID}
	if d.ExeLen > 0 {
		p.Exe = e.shownPath(cid, d.ExeDev, d.Exe[:min(int(d.ExeLen), pathBuf)], d.ExeDeep != 0)
	}
	return p, file
}

// shownPath is a path as the container would write it. comps are components,
// leaf first.
func (e *Engine) shownPath(cid, dev uint32, comps []byte, cut bool) string {
	if dev == procDev {
		return path.Join("/proc", joinPath(comps, cut))
	}
	d := execDetail{Dev: dev, PathLen: uint16(len(comps))}
	copy(d.Path[:], comps)
	if cut {
		d.TooDeep = 1
	}
	return e.pathOf(cid, &d)
}

// fileSeen reads a record of a use of a file that was not seen before.
func (e *Engine) fileSeen(raw []byte) (o guard.Observation, ok bool) {
	cid, d, ok := parseFileSeen(raw)
	if !ok {
		return o, false
	}
	id, ok := e.containerID(cid)
	if !ok {
		return o, false
	}
	o = guard.Observation{
		ContainerID: id, Kind: event.FileAccess, Time: e.wall(d.Time), Operation: policy.Access(d.Access).String(),
	}
	o.Process, o.Path = e.fileUse(cid, &d)
	o.Path = path.Dir(o.Path)
	return o, true
}

// parseFileSeen reads struct file_record, whose path may be cut short.
func parseFileSeen(raw []byte) (cid uint32, d fileDetail, ok bool) {
	if len(raw) < 8+fileDetailFixed || binary.LittleEndian.Uint32(raw) != recFile {
		return 0, d, false
	}
	var full [8 + fileDetailFixed + pathBuf]byte
	n := copy(full[:], raw)
	if _, err := binary.Decode(full[8:], binary.LittleEndian, &d); err != nil {
		return 0, d, false
	}
	d.PathLen = min(d.PathLen, uint16(n-8-fileDetailFixed))
	d.ExeLen = min(d.ExeLen, pathBuf)
	return binary.LittleEndian.Uint32(raw[4:]), d, true
}
