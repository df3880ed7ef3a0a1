package respond

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
)

var (
	// ErrNotAttached is returned by Find when the device has no XDP program,
	// or another one.
	ErrNotAttached = errors.New("no responder attached")
	// ErrNoLoss is returned by Configure when loss is asked of a responder
	// that was loaded without.
	ErrNoLoss = errors.New("the responder was loaded without room for loss: set LossEndpoints")
)

// Responder is a loaded program with its maps. Its methods are safe for
// concurrent use, except Close.
type Responder struct {
	prog                *ebpf.Program
	knobs, counts, lost *ebpf.Map
}

// Load verifies the config and loads the program. A verifier's complaint is
// printed in full by formatting the error with %+v.
func Load(cfg Config) (*Responder, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("load responder: %w", err)
	}
	spec, err := loadBpf()
	if err != nil {
		return nil, fmt.Errorf("load responder: %w", err)
	}
	size := cfg.LossEndpoints
	if size == 0 && cfg.loses() {
		size = defaultLossEndpoints
	}
	spec.Maps[bpfMapTries].MaxEntries = uint32(max(size, 1))

	var o bpfObjects
	if err := spec.LoadAndAssign(&o, nil); err != nil {
		return nil, fmt.Errorf("load responder: %w", err)
	}
	o.Policer.Close() // the program has it
	r := &Responder{prog: o.Respond, knobs: o.Knobs, counts: o.Counts, lost: o.Tries}
	if err := r.Configure(cfg); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

// Find returns the responder attached to a device of the calling thread's
// network namespace.
func Find(ifindex int) (*Responder, error) {
	dev, err := netlink.LinkByIndex(ifindex)
	if err != nil {
		return nil, fmt.Errorf("find responder: device %d: %w", ifindex, err)
	}
	r, err := find(dev)
	if err != nil {
		return nil, fmt.Errorf("find responder on %q: %w", dev.Attrs().Name, err)
	}
	return r, nil
}

func find(dev netlink.Link) (_ *Responder, err error) {
	xdp := dev.Attrs().Xdp
	if xdp == nil || !xdp.Attached {
		return nil, ErrNotAttached
	}
	r := new(Responder)
	defer func() {
		if err != nil {
			r.Close()
		}
	}()
	if r.prog, err = ebpf.NewProgramFromID(ebpf.ProgramID(xdp.ProgId)); err != nil {
		return nil, err
	}
	info, err := r.prog.Info()
	if err != nil {
		return nil, err
	}
	ids, ok := info.MapIDs()
	if !ok || info.Name != bpfProgRespond {
		return nil, ErrNotAttached
	}
	for _, id := range ids {
		m, err := ebpf.NewMapFromID(id)
		if err != nil {
			return nil, err
		}
		info, err := m.Info()
		if err != nil {
			m.Close()
			return nil, err
		}
		switch info.Name {
		case bpfMapKnobs:
			r.knobs = m
		case bpfMapCounts:
			r.counts = m
		case bpfMapTries:
			r.lost = m
		default:
			m.Close()
		}
	}
	if r.knobs == nil || r.counts == nil || r.lost == nil {
		return nil, ErrNotAttached
	}
	return r, nil
}

// Attach puts the program on a device of the calling thread's network
// namespace, in native mode. It stays after the process has ended, until
// another takes its place or the device goes.
//
// On a veth, answers leave by XDP_REDIRECT to the device itself instead of
// XDP_TX: frames of XDP_TX would wait in the peer's ring until something else
// wakes it, unless the peer has an XDP program of its own (veth_xdp_flush,
// seen on Linux 6.18). Redirected ones need only GRO to be on there.
func (r *Responder) Attach(ifindex int) error {
	dev, err := netlink.LinkByIndex(ifindex)
	if err != nil {
		return fmt.Errorf("attach responder: device %d: %w", ifindex, err)
	}
	if dev.Type() == "veth" {
		var b bpfConfig
		if err = r.knobs.Lookup(uint32(0), &b); err == nil {
			b.Redirect = 1
			err = r.knobs.Put(uint32(0), &b)
		}
		if err != nil {
			return fmt.Errorf("attach responder to %q: %w", dev.Attrs().Name, err)
		}
	}
	return setXDP(dev, r.prog.FD(), nl.XDP_FLAGS_DRV_MODE|nl.XDP_FLAGS_UPDATE_IF_NOEXIST)
}

func setXDP(dev netlink.Link, fd, flags int) error {
	if err := netlink.LinkSetXdpFdWithFlags(dev, fd, flags); err != nil {
		return fmt.Errorf("set xdp program of %q in native mode: %w", dev.Attrs().Name, err)
	}
	return nil
}

// Configure replaces the config, except LossEndpoints, while the program runs
// on, and forgets all losses. A frame that arrives meanwhile may meet a mixture
// of the old and the new. A policer keeps the tokens that it had, as many as the
// new Burst has room for, and goes on at the new rate.
func (r *Responder) Configure(cfg Config) error {
	if err := cfg.Validate(); err != nil {
		return fmt.Errorf("configure responder: %w", err)
	}
	if cfg.loses() && r.lost.MaxEntries() == 1 {
		return fmt.Errorf("configure responder: %w", ErrNoLoss)
	}
	var before bpfConfig
	if err := r.knobs.Lookup(uint32(0), &before); err != nil {
		return fmt.Errorf("configure responder: %w", err)
	}
	b := cfg.encode()
	b.Redirect = before.Redirect
	if err := r.knobs.Put(uint32(0), &b); err != nil {
		return fmt.Errorf("configure responder: %w", err)
	}
	return r.forget()
}

// Config returns the config in force.
func (r *Responder) Config() (Config, error) {
	var b bpfConfig
	if err := r.knobs.Lookup(uint32(0), &b); err != nil {
		return Config{}, fmt.Errorf("read responder's config: %w", err)
	}
	c := decode(b)
	if n := r.lost.MaxEntries(); n > 1 {
		c.LossEndpoints = int(n)
	}
	return c, nil
}

// Counters returns the sums over all CPUs.
func (r *Responder) Counters() (Counters, error) {
	var (
		c      Counters
		perCPU []bpfCounters
	)
	if err := r.counts.Lookup(uint32(0), &perCPU); err != nil {
		return c, fmt.Errorf("read responder's counters: %w", err)
	}
	for i := range perCPU {
		c.add(&perCPU[i])
	}
	return c, nil
}

// Reset zeroes the counters and forgets all losses.
func (r *Responder) Reset() error {
	perCPU := make([]bpfCounters, ebpf.MustPossibleCPU())
	if err := r.counts.Put(uint32(0), perCPU); err != nil {
		return fmt.Errorf("reset responder's counters: %w", err)
	}
	return r.forget()
}

// forget empties the map of losses.
func (r *Responder) forget() error {
	const batch = 4096
	var (
		cursor ebpf.MapBatchCursor
		keys   = make([]bpfEndpoint, batch)
		values = make([]uint32, batch)
	)
	for {
		_, err := r.lost.BatchLookupAndDelete(&cursor, keys, values, nil)
		if errors.Is(err, ebpf.ErrKeyNotExist) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("forget the responder's losses: %w", err)
		}
	}
}

// Close gives up this process's hold on the program. Where it is attached, it
// runs on.
func (r *Responder) Close() error {
	var err error
	if r.prog != nil {
		err = r.prog.Close()
	}
	for _, m := range []*ebpf.Map{r.knobs, r.counts, r.lost} {
		if m != nil {
			err = errors.Join(err, m.Close())
		}
	}
	return err
}
