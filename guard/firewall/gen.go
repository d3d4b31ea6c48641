package firewall

//go:generate go tool bpf2go -cc clang-14 -strip llvm-strip-14 -target bpfel -go-package firewall -type container -type count_key -type count -type rule_key -type list -type range -type floor -type flow_key -type flow -type detail -type record net ../../bpf/network.bpf.c -- -O2 -g -mcpu=v3 -Wall -Wextra -Werror -Wno-unused-parameter -I../../bpf
