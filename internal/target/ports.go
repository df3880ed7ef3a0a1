package target

import (
	"math/bits"
	"slices"
	"strconv"
	"strings"
)

// Ports is an immutable set of TCP ports, numbered in ascending order from 0.
// The zero value is the empty set. It is a small value to be passed around, and
// all methods may be called by many goroutines at once.
type Ports struct{ table *portTable }

type portTable struct {
	list   []uint16     // ascending
	bits   [1024]uint64 // one bit for each port
	before [1024]uint16 // how many ports of the set the words of bits below hold
}

// PortsOf returns the set of the ports in list, in which order and repetition
// do not matter.
func PortsOf(list ...uint16) Ports {
	if len(list) == 0 {
		return Ports{}
	}
	t := &portTable{list: slices.Clone(list)}
	slices.Sort(t.list)
	t.list = slices.Compact(t.list)
	for _, p := range t.list {
		t.bits[p>>6] |= 1 << (p & 63)
	}
	n := 0
	for w := range t.bits {
		t.before[w] = uint16(n) // at most 65472, which is 1023 full words
		n += bits.OnesCount64(t.bits[w])
	}
	return Ports{t}
}

// Len returns the number of ports, at most 65536.
func (p Ports) Len() int {
	if p.table == nil {
		return 0
	}
	return len(p.table.list)
}

// At returns port number i. It panics when i is not in [0, Len).
func (p Ports) At(i int) uint16 { return p.table.list[i] }

// Rank returns the number of a port, such that At(i) == port; ok is false when
// the port is not in the set.
func (p Ports) Rank(port uint16) (i int, ok bool) {
	if p.table == nil {
		return 0, false
	}
	word, bit := p.table.bits[port>>6], uint64(1)<<(port&63)
	if word&bit == 0 {
		return 0, false
	}
	return int(p.table.before[port>>6]) + bits.OnesCount64(word&(bit-1)), true
}

// String returns the set in the shortest form that ParsePorts reads, ascending:
// 22,80,8000-8100. The empty set is "".
func (p Ports) String() string {
	if p.table == nil {
		return ""
	}
	var b strings.Builder
	list := p.table.list
	for len(list) > 0 {
		n := 1
		for n < len(list) && list[n] == list[0]+uint16(n) {
			n++
		}
		if b.Len() > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.Itoa(int(list[0])))
		if n > 1 {
			b.WriteByte('-')
			b.WriteString(strconv.Itoa(int(list[n-1])))
		}
		list = list[n:]
	}
	return b.String()
}
