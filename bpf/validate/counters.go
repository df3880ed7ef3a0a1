package validate

import "fmt"

// Counters count frames since the program was loaded. Every frame adds to exactly
// one of the first group.
type Counters struct {
	Foreign   uint64 // nothing that could answer a probe of ours, or malformed: passed
	BadCookie uint64 // looks like an answer, and does not bring the cookie back: passed
	Valid     uint64 // handed over to Read
	Duplicate uint64 // repeats what was handed over half a second ago or less
	Full      uint64 // valid, and lost for want of room

	// Of the valid ones and the duplicates, the SYN+ACKs that were turned into a
	// reset, and those that nobody could turn. A reset counts when the program
	// returns it to the kernel.
	Resets, Unreset uint64
}

// Counters returns the sums over all CPUs.
func (v *Validator) Counters() (Counters, error) {
	var (
		c      Counters
		perCPU []bpfCounters
	)
	if err := v.objects.Counts.Lookup(uint32(0), &perCPU); err != nil {
		return c, fmt.Errorf("read the validator's counters: %w", err)
	}
	for i := range perCPU {
		b := &perCPU[i]
		c.Foreign += b.Foreign
		c.BadCookie += b.BadCookie
		c.Valid += b.Valid
		c.Duplicate += b.Duplicate
		c.Full += b.Full
		c.Resets += b.Resets
		c.Unreset += b.Unreset
	}
	return c, nil
}
