package watch

import (
	"encoding/binary"
	"testing"
)

// TestSetsAreEvenlyFilled: sources that count up, step by powers of two or
// lie in blocks fill the sets nearly as by chance, by nearly every key: the variance
// of how many meet in a set is at most half as much again. (Of 20,000 keys, one in
// 10,000 has up to twice the variance for addresses that count up.)
func TestSetsAreEvenlyFilled(t *testing.T) {
	const sets, sources = 1000, 8000
	for name, write := range map[string]func(a *[16]byte, i int){
		"ipv4_counting": func(a *[16]byte, i int) {
			a[10], a[11] = 0xff, 0xff
			binary.BigEndian.PutUint32(a[12:], 10<<24+uint32(i))
		},
		"ipv4_step_256": func(a *[16]byte, i int) { a[10], a[11] = 0xff, 0xff; binary.BigEndian.PutUint32(a[12:], uint32(i)<<8) },
		"ipv4_step_2^16": func(a *[16]byte, i int) {
			a[10], a[11] = 0xff, 0xff
			binary.BigEndian.PutUint32(a[12:], uint32(i)<<16|uint32(i)>>8)
		},
		"ipv6_counting":  func(a *[16]byte, i int) { a[0] = 0x20; binary.BigEndian.PutUint32(a[4:], uint32(i)) },
		"ipv6_step_2^16": func(a *[16]byte, i int) { a[0] = 0x20; binary.BigEndian.PutUint64(a[:], 0x20010db8<<32+uint64(i)<<16) },
	} {
		t.Run(name, func(t *testing.T) {
			const keys = 200
			var beyond int
			var worst float64
			for range keys {
				key := RandomKey()
				var filled [sets]int
				for i := range sources {
					var a [16]byte
					write(&a, i)
					filled[key.Set(a, sets)]++
				}
				chi := 0.0
				for _, n := range filled {
					d := float64(n) - sources/sets
					chi += d * d / (sources / sets)
				}
				worst = max(worst, chi/(sets-1))
				if chi > 1.5*(sets-1) {
					beyond++
				}
			}
			if beyond > keys/100 || worst > 4 {
				t.Errorf("the variance is more than half as much again for %d keys of %d, and up to %.1f times what it is by chance", beyond, keys, worst)
			}
		})
	}
}
