package watch

//go:generate go tool bpf2go -cc clang-14 -strip llvm-strip-14 -target bpfel -type event -type counters -type desk -type source -type packet_ring -type line -type node bpf watch.bpf.c -- -O2 -Wall -Wextra -Werror -mcpu=v3 -I../include -I/usr/include/x86_64-linux-gnu
