package twin

// The lines, as bits of entry.toldOver.
const (
	overWindow uint8 = 1 << iota
	overGap
	overPackets
)

// tellAgain is how long, in nanoseconds, a source that stays over the same
// lines is not told of again: user space knows already, and a fast scan would
// otherwise cost it every probe.
const tellAgain = 50e6

// verdict gathers what a packet has come to by each line.
type verdict struct {
	interesting bool
	over        uint8
}

func (v *verdict) add(l *line, bit uint8, sum uint64) {
	if !l.On {
		return
	}
	v.interesting = v.interesting || l.interesting(sum)
	if l.crossed(sum) {
		v.over |= bit
	}
}

// due tells whether user space has to hear of it now.
func (v *verdict) due(e *entry, now uint64) bool {
	nothingNew := v.over != 0 && v.over&^e.toldOver == 0
	return v.interesting && !(nothingNew && now-e.told < tellAgain)
}
