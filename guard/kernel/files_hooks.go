package kernel

import (
	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"

	"github.com/gabion-dev/gabion/policy"
)

const setFiles = "files"

// Hooks of the set setFiles, named as people would name the call.
const (
	hookOpen        = "open"
	hookReceive     = "receiving a descriptor"
	hookUnlink      = "unlink"
	hookRmdir       = "rmdir"
	hookMkdir       = "mkdir"
	hookMknod       = "mknod and creating files"
	hookSymlink     = "symlink"
	hookLink        = "link"
	hookRename      = "rename"
	hookTruncate    = "truncate"
	hookFtruncate   = "ftruncate"
	hookChmod       = "chmod"
	hookChown       = "chown"
	hookTimes       = "utimes"
	hookSetxattr    = "setxattr"
	hookRemovexattr = "removexattr"
	hookSetACL      = "setting an ACL"
	hookRemoveACL   = "removing an ACL"
	hookFcntl       = "fcntl off appending"
	hookMapFile     = "mmap of files"
	hookRenamed     = "seeing renamed directories"
)

// Maps of the set that outlive the agent.
var fileMaps = []string{filesMapFilePlans, filesMapFileRules, filesMapFileState, filesMapFileDetails, filesMapFileSeen}

// filesHooks is the set of hooks that judge the use of files. Those that this
// kernel does not have, because another one asks in their place, are left out.
func filesHooks() hookSet {
	kernel := kernelFuncs()
	s := hookSet{
		name: setFiles, spec: loadFiles, maps: fileMaps,
		scene: func(maps map[string]*ebpf.Map) error {
			return maps[filesMapFilePlans].Put(canaryCID, filePlan{Mode: modeProtect, Flags: filesCanary})
		},
	}
	add := func(name, lsm, at string, canary func(scratch) error) {
		fn := map[string]string{filesProgFtruncateLsm: "security_file_truncate", filesProgSetAclLsm: "security_inode_set_acl", filesProgRemoveAclLsm: "security_inode_remove_acl"}[lsm]
		if fn != "" && kernel != nil && kernel(fn) == nil {
			return
		}
		fmod := lsm[:len(lsm)-len("lsm")] + "fmod"
		h := hook{name: name, canary: inScratch(canary), variants: []variant{{lsm, "lsm/" + at}, {fmod, "fmod_ret/security_" + at}}}
		if lsm == filesProgTimesLsm && kernel != nil {
			if f := kernel("bpf_lsm_inode_setattr"); f != nil && params(f) == 2 {
				h.variants[0].prog = filesProgTimesLsmOld
			}
		}
		s.hooks = append(s.hooks, h)
	}
	add(hookOpen, filesProgFileOpenLsm, "file_open", openCanary)
	add(hookReceive, filesProgFileReceiveLsm, "file_receive", receiveCanary)
	add(hookUnlink, filesProgUnlinkLsm, "path_unlink", unlinkCanary)
	add(hookRmdir, filesProgRmdirLsm, "path_rmdir", rmdirCanary)
	add(hookMkdir, filesProgMkdirLsm, "path_mkdir", mkdirCanary)
	add(hookMknod, filesProgMknodLsm, "path_mknod", mknodCanary)
	add(hookSymlink, filesProgSymlinkLsm, "path_symlink", symlinkCanary)
	add(hookLink, filesProgLinkLsm, "path_link", linkCanary)
	add(hookRename, filesProgRenameLsm, "path_rename", renameCanary)
	add(hookTruncate, filesProgTruncateLsm, "path_truncate", truncateCanary)
	add(hookFtruncate, filesProgFtruncateLsm, "file_truncate", ftruncateCanary)
	add(hookChmod, filesProgChmodLsm, "path_chmod", chmodCanary)
	add(hookChown, filesProgChownLsm, "path_chown", chownCanary)
	add(hookTimes, filesProgTimesLsm, "inode_setattr", timesCanary)
	add(hookSetxattr, filesProgSetxattrLsm, "inode_setxattr", setxattrCanary)
	add(hookRemovexattr, filesProgRemovexattrLsm, "inode_removexattr", removexattrCanary)
	add(hookSetACL, filesProgSetAclLsm, "inode_set_acl", setACLCanary)
	add(hookRemoveACL, filesProgRemoveAclLsm, "inode_remove_acl", removeACLCanary)
	add(hookFcntl, filesProgFcntlLsm, "file_fcntl", fcntlCanary)
	add(hookMapFile, filesProgMapLsm, "mmap_file", mapFileCanary)
	s.hooks = append(s.hooks, hook{
		name: hookRenamed, variants: []variant{{filesProgRenamedDir, "fexit/vfs_rename"}},
		effect: renamedEffect,
	})
	return s
}

// kernelFuncs gives the kernel's functions by name; nil when the kernel does
// not describe itself.
func kernelFuncs() func(string) *btf.Func {
	spec, err := btf.LoadKernelSpec()
	if err != nil {
		return nil
	}
	return func(name string) *btf.Func {
		var f *btf.Func
		if spec.TypeByName(name, &f) != nil {
			return nil
		}
		return f
	}
}

func params(f *btf.Func) int {
	proto, ok := f.Type.(*btf.FuncProto)
	if !ok {
		return 0
	}
	return len(proto.Params)
}

// accessHooks are the hooks that must be asked to hold back an access.
var accessHooks = []struct {
	access policy.Access
	hooks  []string
}{
	{policy.AccessRead, []string{hookOpen, hookReceive}},
	{policy.AccessModify, []string{hookOpen, hookReceive, hookTruncate, hookFtruncate}},
	{policy.AccessAppend, []string{hookOpen, hookReceive}},
	{policy.AccessCreate, []string{hookMkdir, hookMknod, hookSymlink, hookLink, hookRename}},
	{policy.AccessDelete, []string{hookUnlink, hookRmdir}},
	{policy.AccessRename, []string{hookRename}},
	{policy.AccessLink, []string{hookLink}},
	{policy.AccessChmod, []string{hookChmod, hookChown, hookTimes, hookSetxattr, hookRemovexattr, hookSetACL, hookRemoveACL}},
	{policy.AccessExecute, []string{hookOpen, hookMapFile}},
}

// neededFileHooks are those that a files section needs. learn asks for all by
// which a file is used.
func neededFileHooks(p *policy.FilesPlan) []string {
	if p == nil {
		return nil
	}
	var access, apart policy.Access
	both := policy.AccessModify | policy.AccessAppend
	for _, r := range p.Rules {
		access |= r.Access
		if r.Access&both != 0 && r.Access&both != both {
			apart |= r.Access & both
		}
	}
	if planMode(p.Mode) == modeLearn {
		access = policy.AccessRead | policy.AccessWrite
	}
	if access == 0 {
		return nil
	}
	// What may not be done with a file may not be got by giving it another name.
	need := map[string]bool{hookRenamed: true, hookLink: true, hookRename: true}
	for _, a := range accessHooks {
		if a.access&access != 0 {
			for _, h := range a.hooks {
				need[h] = true
			}
		}
	}
	if apart != 0 {
		need[hookFcntl], need[hookMapFile] = true, true
	}
	var out []string
	for _, h := range filesHooks().hooks {
		if need[h.name] {
			out = append(out, h.name)
		}
	}
	return out
}
