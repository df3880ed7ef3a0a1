package generate

//go:generate go tool bpf2go -cc clang-14 -strip llvm-strip-14 -target bpfel -type slot -type what bpf generate.bpf.c -- -O2 -Wall -Wextra -Werror -mcpu=v3 -I../include -I/usr/include/x86_64-linux-gnu
