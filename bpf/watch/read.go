package watch

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/cilium/ebpf"
)

// Read calls f with every snapshot that waits, in the order of their making,
// and returns, though others may have come meanwhile. The snapshot is f's only
// during the call.
func (w *Watch) Read(f func(*Snapshot)) error {
	const header = 8 // of a record, bpf(2) BPF_MAP_TYPE_RINGBUF
	for left := w.events.AvailableBytes(); left > 0; left -= header + (len(w.record.RawSample)+7)&^7 {
		w.events.SetDeadline(time.Unix(1, 0)) // past: do not wait
		if err := w.next(f); err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				return nil // one is being written
			}
			return err
		}
	}
	return nil
}

// Waiting says whether there is something to read.
func (w *Watch) Waiting() bool { return w.events.AvailableBytes() > 0 }

// Wait waits until a snapshot is there and reads as Read does, or until a time. It
// returns an error that wraps os.ErrClosed when Close is called.
func (w *Watch) Wait(until time.Time, f func(*Snapshot)) error {
	w.events.SetDeadline(until)
	err := w.next(f)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil
	}
	if err != nil {
		return err
	}
	return w.Read(f)
}

func (w *Watch) next(f func(*Snapshot)) error {
	err := w.events.ReadInto(&w.record)
	if err == nil {
		err = w.decodeEvent(w.record.RawSample, &w.snap)
	}
	if err != nil {
		return fmt.Errorf("read snapshots: %w", err)
	}
	f(&w.snap)
	return nil
}

// Source looks up what is remembered at a place of the table; false if nothing
// is. From, To, Device, Before and SourcePort are those of a packet and not set.
func (w *Watch) Source(ref Ref) (Snapshot, bool) {
	var (
		s     Snapshot
		set   bpfSet
		rings bpfPacketSet
		at    = uint32(ref) / uint32(ways)
		way   = int(ref) % ways
	)
	if w.objects.Table.LookupWithFlags(at, &set, ebpf.LookupLock) != nil || set.Touched[way] == 0 {
		return s, false
	}
	if w.config.Packets && w.objects.Packets.Lookup(at, &rings) != nil {
		return s, false
	}
	w.decode(&s, &set.Way[way], &rings.Way[way], inverted(set.Inverse[way]))
	s.Ref = ref
	return s, true
}

// Sources calls f with every source in the table, as Source returns it. It
// reads all of the memory; the program waits for no more than one set.
func (w *Watch) Sources(f func(*Snapshot)) error {
	const batch = 64
	var (
		cursor ebpf.MapBatchCursor
		keys   = make([]uint32, batch)
		sets   = make([]bpfSet, batch)
		none   bpfPacketRing
		s      Snapshot
	)
	for {
		n, err := w.objects.Table.BatchLookup(&cursor, keys, sets, &ebpf.BatchOptions{ElemFlags: uint64(ebpf.LookupLock)})
		for i := range sets[:n] {
			for way, touched := range sets[i].Touched {
				if touched == 0 {
					continue
				}
				ring := &none
				if w.config.Packets {
					var rings bpfPacketSet
					if err := w.objects.Packets.Lookup(keys[i], &rings); err != nil {
						return fmt.Errorf("read sources: %w", err)
					}
					ring = &rings.Way[way]
				}
				w.decode(&s, &sets[i].Way[way], ring, inverted(sets[i].Inverse[way]))
				s.Ref = Ref(keys[i]*uint32(ways) + uint32(way))
				f(&s)
			}
		}
		if errors.Is(err, ebpf.ErrKeyNotExist) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read sources: %w", err)
		}
	}
}

// inverted makes an address of how the table has it.
func inverted(a [2]uint64) [2]uint64 { return [2]uint64{^a[0], ^a[1]} }
