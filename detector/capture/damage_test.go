package capture

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// Every file cut at every byte: what is whole before the cut is delivered, and
// the error is the end exactly where a file may end, else says where it broke.
func TestTruncationAtEveryByte(t *testing.T) {
	for name, s := range samples() {
		t.Run(name, func(t *testing.T) {
			for cut := range s.file {
				all, _, err := readAll(bytes.NewReader(s.file[:cut]))
				n := complete(s, cut)
				if !slices.Equal(all, s.want[:n]) {
					t.Errorf("cut at %d: read %v, want %d packets", cut, all, n)
				}
				switch {
				case cut == 0:
					if !errors.Is(err, ErrEmpty) {
						t.Errorf("cut at 0: %v", err)
					}
					continue
				case slices.Contains(s.clean, cut):
					if err != io.EOF {
						t.Errorf("cut at %d, where a file may end: %v", cut, err)
					}
					continue
				case !errors.Is(err, ErrTruncated):
					t.Errorf("cut at %d: %v", cut, err)
					continue
				}
				start := 0 // of what is cut
				for _, c := range s.clean {
					if c < cut {
						start = c
					}
				}
				f := faultOf(t, err)
				if f.Frame != uint64(n+1) || f.Offset != uint64(start) {
					t.Errorf("cut at %d: frame %d at %d, want %d at %d", cut, f.Frame, f.Offset, n+1, start)
				}
				if place := fmt.Sprintf(" at byte %d is cut off after ", start); !strings.Contains(err.Error(), place) {
					t.Errorf("cut at %d: %q does not say %q", cut, err, place)
				}
			}
		})
		t.Run(name+"_compressed", func(t *testing.T) {
			whole := compressed(s.file)
			last := 0
			for cut := 1; cut < len(whole); cut++ {
				all, _, err := readAll(bytes.NewReader(whole[:cut]))
				if len(all) < last || len(all) > len(s.want) || !slices.Equal(all, s.want[:len(all)]) {
					t.Errorf("cut at %d: read %v", cut, all)
				}
				last = len(all)
				if !errors.Is(err, ErrTruncated) {
					t.Errorf("cut at %d: %v", cut, err)
				}
			}
			if last != len(s.want) { // the checksum is cut, and no packet
				t.Errorf("%d packets were read before the last byte, want %d", last, len(s.want))
			}
		})
	}
}

// What a tired operator reads.
func TestSentences(t *testing.T) {
	little := binary.LittleEndian
	frame := strings.Repeat("x", 60)
	patch := func(file []byte, at int, v uint32) []byte {
		little.PutUint32(file[at:], v)
		return file
	}
	cut := func(file []byte, end int) []byte { return file[:end] }
	ng := func() *pcapng { return newPcapng(little).device(1, 0) } // blocks at 0 and 28, the next at 48
	for _, c := range []struct {
		fact string
		file []byte
		kind error
		want string
	}{
		{"empty", nil, ErrEmpty, "it is empty: expected pcap or pcapng, plain or compressed by gzip"},
		{"three_bytes", []byte{0xd4, 0xc3, 0xb2}, ErrTruncated, "the file at byte 0 is cut off after 3 of 4 bytes"},
		{"another_format", []byte("\x7fELF\x02\x01"), ErrFormat, "unknown format that begins with 7f 45 4c 46: expected pcap or pcapng, plain or compressed by gzip"},
		{"another_format_in_gzip", compressed([]byte("hello")), ErrFormat, "unknown format that begins with 68 65 6c 6c: expected pcap or pcapng, plain or compressed by gzip"},
		{"empty_gzip", compressed(nil), ErrEmpty, "it is empty: expected pcap or pcapng, plain or compressed by gzip"},
		{"an_old_pcap", patch(newPcap(little, false, 1).file, 4, 3<<16|2), ErrFormat, "pcap version 2.3 is not known, only 2.4: editcap converts others"},
		{"a_new_pcapng", patch(newPcapng(little).file, 12, 2), ErrFormat, "pcapng version 2.0 at byte 0 is not known, only 1.0: editcap converts others"},
		{"the_file_header_is_cut", cut(newPcap(little, false, 1).file, 23), ErrTruncated, "the pcap header at byte 0 is cut off after 23 of 24 bytes"},
		{"a_packet_header_is_cut", cut(newPcap(little, false, 1).add(1, frame).add(2, frame).file, 24+76+3), ErrTruncated,
			"the header of frame 2 at byte 100 is cut off after 3 of 16 bytes"},
		{"a_packet_is_cut", cut(newPcap(little, false, 1).add(1, frame).add(2, frame).file, 24+76+19), ErrTruncated, "frame 2 at byte 100 is cut off after 3 of 60 bytes"},
		{"a_packet_behind_its_header", cut(newPcap(little, false, 1).add(1, frame).file, 24+16), ErrTruncated, "frame 1 at byte 24 is cut off after 0 of 60 bytes"},
		{"a_packet_beyond_its_snap_length_is_cut", cut(patch(newPcap(little, false, 1).add(1, frame).file, 16, 10), 24+16+30), ErrTruncated,
			"frame 1 at byte 24 is cut off after 30 of 60 bytes"},
		{"a_packet_of_an_unknown_link_is_cut", cut(newPcap(little, false, 147).add(1, frame).file, 24+16+30), ErrTruncated, "frame 1 at byte 24 is cut off after 30 of 60 bytes"},
		{"a_huge_packet", newPcap(little, false, 1).add(1, frame).raw(2, 4026531840, "x").file, ErrDamaged,
			"frame 2 at byte 100 claims 4026531840 bytes, and none has more than 262144"},
		{"a_packet_one_byte_too_long", newPcap(little, false, 1).raw(2, MaxFrame+1, strings.Repeat("x", MaxFrame+1)).file, ErrDamaged,
			"frame 1 at byte 24 claims 262145 bytes, and none has more than 262144"},
		{"a_huge_packet_of_an_unknown_link", newPcap(little, false, 147).raw(2, 4026531840, "x").file, ErrTruncated, "frame 1 at byte 24 is cut off after 1 of 4026531840 bytes"},
		{"a_block_header_is_cut", cut(ng().enhanced(0, 1, frame, 1000, 0).file, 51), ErrTruncated, "the block after 0 frames at byte 48 is cut off after 3 of 12 bytes"},
		{"a_section_header_is_cut", cut(ng().file, 11), ErrTruncated, "the section header at byte 0 is cut off after 11 of 28 bytes"},
		{"an_interface_is_cut", cut(ng().file, 40), ErrTruncated, "the interface description at byte 28 is cut off after 12 of 20 bytes"},
		{"a_packet_block_is_cut", cut(ng().enhanced(0, 1, frame, 1000, 0).file, 48+91), ErrTruncated, "frame 1 at byte 48 is cut off after 91 of 92 bytes"},
		{"a_section_without_byte_order", patch(newPcapng(little).file, 8, 0x1a2b3c4e), ErrDamaged, "the section header at byte 0 has no byte order mark"},
		{"a_short_section", patch(newPcapng(little).file, 4, 24), ErrDamaged, "the section header at byte 0 claims to be 24 bytes long, but it has at least 28, and four times a number"},
		{"a_short_interface", patch(ng().file, 32, 16), ErrDamaged, "the interface description at byte 28 claims to be 16 bytes long, but it has at least 20, and four times a number"},
		{"a_short_packet_block", patch(ng().enhanced(0, 1, frame, 1000, 0).file, 52, 28), ErrDamaged, "frame 1 at byte 48 claims to be 28 bytes long, but it has at least 32, and four times a number"},
		{"a_short_simple_block", patch(ng().simple(60, frame, 1000, 0).file, 52, 12), ErrDamaged, "frame 1 at byte 48 claims to be 12 bytes long, but it has at least 16, and four times a number"},
		{"a_block_of_no_length", patch(ng().block(77, nil).file, 52, 0), ErrDamaged, "the block after 0 frames at byte 48 claims to be 0 bytes long, but it has at least 12, and four times a number"},
		{"an_odd_length", patch(ng().block(77, nil).file, 52, 13), ErrDamaged, "the block after 0 frames at byte 48 claims to be 13 bytes long, but it has at least 12, and four times a number"},
		{"a_huge_block", patch(ng().block(77, nil).file, 52, 0xfffffffc), ErrTruncated, "the block after 0 frames at byte 48 is cut off after 12 of 4294967292 bytes"},
		{"two_lengths", patch(ng().enhanced(0, 1, frame, 1000, 0).file, 48+88, 96), ErrDamaged, "frame 1 at byte 48 claims to be 92 bytes long at its beginning and 96 at its end"},
		{"a_huge_packet_in_a_block", patch(ng().enhanced(0, 1, frame, 1000, 0).file, 48+20, 0x80000000), ErrDamaged,
			"frame 1 at byte 48 claims 2147483648 bytes, and none has more than 262144"},
		{"a_packet_too_long_for_its_block", patch(ng().enhanced(0, 1, frame, 1000, 0).file, 48+20, 61), ErrDamaged, "frame 1 at byte 48 claims 61 bytes, but its block has room for 60"},
		{"a_simple_packet_too_long_for_its_block", patch(ng().simple(60, frame, 1000, 0).file, 48+8, 61), ErrDamaged, "frame 1 at byte 48 claims 61 bytes, but its block has room for 60"},
		{"an_interface_that_is_not_there", ng().enhanced(1, 1, frame, 1000, 0).file, ErrDamaged, "frame 1 at byte 48 came in by interface 1, but its section has described 1"},
		{"an_interface_with_the_highest_number", ng().enhanced(1<<32-1, 1, frame, 1000, 0).file, ErrDamaged, "frame 1 at byte 48 came in by interface 4294967295, but its section has described 1"},
		{"no_interface_at_all", newPcapng(little).simple(60, frame, 1000, 0).file, ErrDamaged, "frame 1 at byte 28 came in by interface 0, but its section has described 0"},
		{"an_interface_of_the_section_before", ng().section(little).enhanced(0, 1, frame, 1000, 0).file, ErrDamaged, "frame 1 at byte 76 came in by interface 0, but its section has described 0"},
		{"an_option_that_ends_beyond_its_block", patch(newPcapng(little).device(1, 0, option{2, []byte("abcd")}).file, 28+16, 9<<16|2), ErrDamaged,
			"the interface description at byte 28 has an option 2 of 9 bytes, which ends beyond it"},
		{"a_resolution_of_no_bytes", newPcapng(little).device(1, 0, option{9, nil}).file, ErrDamaged, "the interface description at byte 28 has an option 9 of 0 bytes, which is not its size"},
		{"an_offset_of_four_bytes", newPcapng(little).device(1, 0, option{14, make([]byte, 4)}).file, ErrDamaged, "the interface description at byte 28 has an option 14 of 4 bytes, which is not its size"},
		{"a_cut_gzip_header", compressed(nil)[:5], ErrTruncated, "the gzip header at byte 0 is cut off"},
		{"a_broken_gzip_header", []byte{0x1f, 0x8b, 9, 0, 0, 0, 0, 0, 0, 0}, ErrDamaged, "the gzip header at byte 0 cannot be decompressed (gzip: invalid header)"},
	} {
		t.Run(c.fact, func(t *testing.T) {
			_, _, err := readAll(bytes.NewReader(c.file))
			if !errors.Is(err, c.kind) {
				t.Errorf("%v is not %v", err, c.kind)
			}
			if want := "read capture: " + c.want; err.Error() != want {
				t.Errorf("it says\n%v, want\n%s", err, want)
			}
		})
	}
}

func TestDamageInCompressedData(t *testing.T) {
	s := many(newPcap(binary.LittleEndian, false, 1)).sample
	t.Run("a_wrong_checksum_comes_after_all_packets", func(t *testing.T) {
		file := compressed(s.file)
		file[len(file)-8] ^= 1
		all, _, err := readAll(bytes.NewReader(file))
		if !slices.Equal(all, s.want) || !errors.Is(err, ErrDamaged) {
			t.Errorf("%d packets and %v", len(all), err)
		}
		if want := fmt.Sprintf("the header of frame 1001 at byte %d of the decompressed data cannot be decompressed (gzip: invalid checksum)", len(s.file)); !strings.HasSuffix(err.Error(), want) {
			t.Errorf("it says\n%v, want\n%s", err, want)
		}
	})
	t.Run("a_broken_block_comes_after_the_packets_before_it", func(t *testing.T) {
		s := newPcap(binary.LittleEndian, false, 1).add(1e9, "one").add(2e9, "two")
		size := uint16(len(s.file))
		file := []byte("\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff\x00") // header, a stored block that is not the last
		file = binary.LittleEndian.AppendUint16(file, size)
		file = binary.LittleEndian.AppendUint16(file, ^size)
		file = append(append(file, s.file...), 0x07) // the type that no block has
		all, _, err := readAll(bytes.NewReader(file))
		if !slices.Equal(all, s.want) || !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "cannot be decompressed (flate: corrupt input before offset") {
			t.Errorf("%v and %v", all, err)
		}
	})
	t.Run("no_byte_flipped_makes_packets_that_were_not_there_without_an_error", func(t *testing.T) {
		s := newPcap(binary.LittleEndian, false, 1).add(1e9, "one").add(2e9, "two")
		whole := compressed(s.file)
		for i := 18; i < len(whole); i++ { // behind the header, which has no checksum
			file := slices.Clone(whole)
			file[i] ^= 0x40
			if all, _, err := readAll(bytes.NewReader(file)); err == io.EOF && !slices.Equal(all, s.want) {
				t.Errorf("byte %d: %v and a clean end", i, all)
			}
		}
	})
}

// The interfaces of a file are the only thing that grows with it.
func TestInterfacesAreBounded(t *testing.T) {
	p := newPcapng(binary.LittleEndian)
	for range maxInterfaces {
		p.device(1, 0)
	}
	end := len(p.file)
	if all, _ := mustRead(t, p.file); all != nil {
		t.Errorf("read %v", all)
	}
	p.device(1, 0)
	_, _, err := readAll(bytes.NewReader(p.file))
	if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "one interface more than the 65536") {
		t.Errorf("it says %v", err)
	}
	if f := faultOf(t, err); f.Offset != uint64(end) {
		t.Errorf("it is at %d, want %d", f.Offset, end)
	}
	// A new section begins with none.
	p.file = p.file[:end]
	p.section(binary.LittleEndian).device(1, 0).enhanced(0, 5, "x", 5000, maxInterfaces)
	if all, _ := mustRead(t, p.file); !slices.Equal(all, p.want) {
		t.Errorf("read %v, want %v", all, p.want)
	}
}

// Whatever lengths a file claims, memory does not follow.
func TestClaimsCostNoMemory(t *testing.T) {
	little := binary.LittleEndian
	for fact, file := range map[string][]byte{
		"packet":          newPcap(little, false, 1).raw(1, 1<<32-1, "x").file,
		"packet_skipped":  newPcap(little, false, 147).raw(1, 1<<32-1, "x").file,
		"snap_length":     append(slices.Clone(newPcap(little, false, 1).file[:16]), "\xff\xff\xff\xff\x01\x00\x00\x00"...),
		"block":           append(newPcapng(little).file, "\x77\x00\x00\x00\xfc\xff\xff\xff"...),
		"options":         append(newPcapng(little).file, "\x01\x00\x00\x00\xfc\xff\xff\xff\x01\x00\x00\x00\x00\x00\x00\x00\x02\x00\xff\xff"...),
		"simple_packet":   append(newPcapng(little).device(1, 0).file, "\x03\x00\x00\x00\xfc\xff\xff\xff\xff\xff\xff\xff"...),
		"compressed_void": compressed(append(newPcapng(little).file, append([]byte("\x77\x00\x00\x00\xfc\xff\xff\xff"), make([]byte, 64<<20)...)...)),
	} {
		t.Run(fact, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, _, err := readAll(bytes.NewReader(file))
			runtime.ReadMemStats(&after)
			if err == nil {
				t.Error("no error")
			}
			if used := after.TotalAlloc - before.TotalAlloc; used > 1<<20 {
				t.Errorf("%d bytes were allocated for a file of %d", used, len(file))
			}
		})
	}
}
