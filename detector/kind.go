package detector

import "synoptic/bpf/watch"

// tally counts what an episode is made of: the ports of its proof by the kind of
// their latest probe, and every probe since.
type tally struct {
	kinds [watch.Kinds]uint64
	// unprobed are ports of the proof to which no probe is remembered: only
	// sophos-packet counts what is none, such as an answer.
	unprobed   uint64
	handshakes uint64
}

// kinds that are said as they are.
var plainKinds = [...]struct {
	probe watch.Kind
	kind  Kind
}{
	{watch.NULL, NULL}, {watch.FIN, FIN}, {watch.XMAS, XMAS}, {watch.Maimon, Maimon},
	{watch.ACK, ACK}, {watch.UDP, UDP}, {watch.Tiny, Tiny},
}

// dominates is what it takes to name the whole after a part of it: three
// quarters, so that a few stray packets do not make a scan a mixed one.
func dominates(part, whole uint64) bool { return whole > 0 && 4*part >= 3*whole }

// kind returns the kind of scan that this is. Both halves of SYN make one kind:
// whose options are a system's is connect, even if no handshake was seen to
// complete, because all ports may be closed.
func (t *tally) kind() Kind {
	all := t.unprobed
	for _, n := range t.kinds {
		all += n
	}
	raw, system := t.kinds[watch.SYN], t.kinds[watch.SystemSYN]
	if dominates(raw+system, all) {
		if t.handshakes > 0 || dominates(system, raw+system) {
			return Connect
		}
		return SYN
	}
	for _, k := range plainKinds {
		if dominates(t.kinds[k.probe], all) {
			return k.kind
		}
	}
	return Mixed
}

// kindAtEnd returns the kind to be said in the summary of an episode whose alert
// said another. Only a handshake tells more than the alert could: options alone
// do not change its word.
func (t *tally) kindAtEnd(said Kind) Kind {
	k := t.kind()
	if halfOpen := func(k Kind) bool { return k == SYN || k == Connect }; halfOpen(k) && halfOpen(said) && t.handshakes == 0 {
		return said
	}
	return k
}
