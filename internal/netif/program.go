package netif

import (
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// programName asks the kernel for the name of a BPF program, bpf(2). It is "" where
// there is none, or where this process may not know: that takes CAP_SYS_ADMIN.
func programName(id uint32) string {
	fd, ok := bpf(unix.BPF_PROG_GET_FD_BY_ID, unsafe.Pointer(&id), unsafe.Sizeof(id))
	if !ok {
		return ""
	}
	defer unix.Close(fd)
	var info struct { // struct bpf_prog_info of <linux/bpf.h>, up to the name
		first [64]byte
		name  [unix.BPF_OBJ_NAME_LEN]byte
	}
	of := struct {
		fd, length uint32
		info       unsafe.Pointer
	}{uint32(fd), uint32(unsafe.Sizeof(info)), unsafe.Pointer(&info)}
	if _, ok := bpf(unix.BPF_OBJ_GET_INFO_BY_FD, unsafe.Pointer(&of), unsafe.Sizeof(of)); !ok {
		return ""
	}
	return unix.ByteSliceToString(info.name[:])
}

// bpf makes the system call. The kernel takes what is missing of its union bpf_attr
// for zeros.
func bpf(command uintptr, attr unsafe.Pointer, size uintptr) (result int, ok bool) {
	r, _, errno := unix.Syscall(unix.SYS_BPF, command, uintptr(attr), size)
	runtime.KeepAlive(attr)
	return int(r), errno == 0
}
