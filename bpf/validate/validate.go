package validate

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/ringbuf"
	"golang.org/x/sys/unix"
)

// MinKernel is the first Linux that has all that the program needs: XDP for
// frames larger than a page (bpf_xdp_get_buff_len and BPF_F_XDP_HAS_FRAGS).
const MinKernel = "5.18"

// Validator is the loaded program with what it shares. Read is for one goroutine;
// Counters and Lost are safe beside it; Close is not.
type Validator struct {
	objects bpfObjects
	answers *ringbuf.Reader
	record  ringbuf.Record
	clock   clock
	link    link.Link // nil: not attached
	device  string    // where
	fate    int       // of it: a socket that tells; -1: not attached
}

// New loads the program; Attach puts it to work. A verifier's complaint is
// printed in full by formatting the error with %+v.
func New(cfg Config) (*Validator, error) {
	v, err := load(&cfg)
	if err != nil {
		return nil, fmt.Errorf("load the validator: %w", err)
	}
	return v, nil
}

func load(cfg *Config) (_ *Validator, err error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	spec, err := loadBpf()
	if err != nil {
		return nil, err
	}
	var vars bpfVariableSpecs
	if err := spec.Assign(&vars); err != nil {
		return nil, err
	}
	if err := cfg.set(&vars); err != nil {
		return nil, err
	}
	spec.Maps[bpfMapAnswers].MaxEntries = uint32(cmp.Or(cfg.Ring, DefaultRing))
	v := &Validator{fate: -1}
	if err := spec.LoadAndAssign(&v.objects, nil); err != nil {
		return nil, explain(err)
	}
	if v.answers, err = ringbuf.NewReader(v.objects.Answers); err != nil {
		v.Close()
		return nil, err
	}
	v.answers.SetDeadline(time.Unix(1, 0)) // past: never wait
	v.record.RawSample = make([]byte, 0, recordFromLen)
	return v, nil
}

// explain tells what a kernel or a process lacks.
func explain(err error) error {
	switch {
	case errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) && !perfmon():
		return fmt.Errorf("the capabilities CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON are needed: %w", unix.EPERM)
	case errors.Is(err, ebpf.ErrNotSupported):
		return fmt.Errorf("this kernel is too old or built without it: Linux %s or newer is needed: %w", MinKernel, err)
	}
	return err
}

// perfmon tells whether the calling thread has CAP_PERFMON, or CAP_SYS_ADMIN, which
// stands for it. Without, the verifier refuses what gives away an address, as
// arithmetic with packets does, and not the whole program.
func perfmon() bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return false
	}
	has := func(capability uint) bool { return data[capability/32].Effective&(1<<(capability%32)) != 0 }
	return has(unix.CAP_PERFMON) || has(unix.CAP_SYS_ADMIN)
}

// Close takes the program away from its device, and gives up what has not been
// read.
func (v *Validator) Close() error {
	var errs []error
	if v.link != nil {
		errs = append(errs, v.link.Close())
	}
	if v.fate >= 0 {
		errs = append(errs, unix.Close(v.fate))
	}
	if v.answers != nil {
		errs = append(errs, v.answers.Close())
	}
	return errors.Join(append(errs, v.objects.Close())...)
}
