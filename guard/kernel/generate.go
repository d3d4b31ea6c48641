package kernel

//go:generate go tool bpf2go -tags linux -no-global-types -target bpfel -cc clang-14 -strip llvm-strip-14 -cflags "-O2 -g -mcpu=v3 -Wall -Werror -I../../bpf" process ../../bpf/process.bpf.c
//go:generate go tool bpf2go -tags linux -no-global-types -target bpfel -cc clang-14 -strip llvm-strip-14 -cflags "-O2 -g -mcpu=v3 -Wall -Werror -I../../bpf" lsm ../../bpf/lsm.bpf.c
//go:generate go tool bpf2go -tags linux -no-global-types -target bpfel -cc clang-14 -strip llvm-strip-14 -cflags "-O2 -g -mcpu=v3 -Wall -Werror -I../../bpf" files ../../bpf/files.bpf.c
//go:generate go tool bpf2go -tags linux -no-global-types -target bpfel -cc clang-14 -strip llvm-strip-14 -cflags "-O2 -g -mcpu=v3 -Wall -Wno-unused-function -Werror -I../../bpf" harden ../../bpf/harden.bpf.c
//go:generate go tool bpf2go -tags linux -no-global-types -target bpfel -cc clang-14 -strip llvm-strip-14 -cflags "-O2 -g -mcpu=v3 -Wall -Wno-unused-function -Werror -I../../bpf" hardenb ../../bpf/hardenb.bpf.c
