package capture

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"
)

func TestSoundFilesAreReadWhole(t *testing.T) {
	for name, s := range samples() {
		for variant, source := range map[string]io.Reader{
			"at_once":          bytes.NewReader(s.file),
			"byte_by_byte":     iotest.OneByteReader(bytes.NewReader(s.file)),
			"end_with_data":    iotest.DataErrReader(bytes.NewReader(s.file)),
			"compressed":       bytes.NewReader(compressed(s.file)),
			"compressed_twice": bytes.NewReader(append(compressed(s.file[:30]), compressed(s.file[30:])...)), // two members of one gzip file
		} {
			t.Run(name+"/"+variant, func(t *testing.T) {
				all, r, err := readAll(source)
				if err != io.EOF {
					t.Fatalf("%v after %d packets", err, len(all))
				}
				if !slices.Equal(all, s.want) {
					t.Errorf("read %v\nwant %v", all, s.want)
				}
				if stats := r.Stats(); stats.Packets != uint64(len(s.want)) || stats.Skipped != nil {
					t.Errorf("Stats are %+v, want %d packets", stats, len(s.want))
				}
			})
		}
	}
}

// What gopacket's writers write is read as it was given to them.
func TestWhatPcapgoWritesIsRead(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	packets := make([]got, 300)
	for i := range packets {
		frame := make([]byte, random.IntN(3000))
		for j := range frame {
			frame[j] = byte(random.Uint32())
		}
		packets[i] = got{string(frame), uint64(1_600_000_000e9) + random.Uint64N(1e18), 0}
	}
	type writer interface {
		WritePacket(ci gopacket.CaptureInfo, data []byte) error
	}
	write := func(t *testing.T, w writer) {
		t.Helper()
		for _, p := range packets {
			ci := gopacket.CaptureInfo{Timestamp: time.Unix(0, int64(p.at)), CaptureLength: len(p.frame), Length: len(p.frame), InterfaceIndex: p.device}
			if err := w.WritePacket(ci, []byte(p.frame)); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Run("pcap_in_microseconds", func(t *testing.T) {
		var b bytes.Buffer
		w := pcapgo.NewWriter(&b)
		if err := w.WriteFileHeader(65536, layers.LinkTypeEthernet); err != nil {
			t.Fatal(err)
		}
		write(t, w)
		want := slices.Clone(packets)
		for i := range want {
			want[i].at -= want[i].at % 1000
		}
		if all, _ := mustRead(t, b.Bytes()); !slices.Equal(all, want) {
			t.Error("the packets are not the same")
		}
	})
	t.Run("pcap_in_nanoseconds", func(t *testing.T) {
		var b bytes.Buffer
		w := pcapgo.NewWriterNanos(&b)
		if err := w.WriteFileHeader(65536, layers.LinkTypeEthernet); err != nil {
			t.Fatal(err)
		}
		write(t, w)
		if all, _ := mustRead(t, b.Bytes()); !slices.Equal(all, packets) {
			t.Error("the packets are not the same")
		}
	})
	t.Run("pcapng_with_two_interfaces", func(t *testing.T) {
		for i := range packets {
			packets[i].device = i % 2
		}
		var b bytes.Buffer
		w, err := pcapgo.NewNgWriterInterface(&b, pcapgo.NgInterface{LinkType: layers.LinkTypeEthernet, Name: "one", Comment: "a", OS: "b"}, pcapgo.DefaultNgWriterOptions)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.AddInterface(pcapgo.NgInterface{LinkType: layers.LinkTypeEthernet, Name: "second"}); err != nil {
			t.Fatal(err)
		}
		write(t, w)
		if err := w.WriteInterfaceStats(0, pcapgo.NgInterfaceStatistics{LastUpdate: time.Now(), PacketsReceived: 1}); err != nil {
			t.Fatal(err)
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		if all, _ := mustRead(t, b.Bytes()); !slices.Equal(all, packets) {
			t.Error("the packets are not the same")
		}
	})
}

func TestFormatsAsLibpcapTakesThem(t *testing.T) {
	little := binary.LittleEndian
	frame := strings.Repeat("0123456789", 10)
	t.Run("packets_longer_than_the_announced_snap_length_are_cut_to_it", func(t *testing.T) {
		p := newPcap(little, false, 1)
		little.PutUint32(p.file[16:], 40)
		p.add(1000, frame).add(2000, frame[:40])
		if all, _ := mustRead(t, p.file); len(all) != 2 || all[0].frame != frame[:40] || all[1].frame != frame[:40] {
			t.Errorf("read %v", all)
		}
	})
	t.Run("a_snap_length_of_zero_is_none", func(t *testing.T) {
		p := newPcap(little, false, 1)
		little.PutUint32(p.file[16:], 0)
		if all, _ := mustRead(t, p.add(1000, frame).file); len(all) != 1 || all[0].frame != frame {
			t.Errorf("read %v", all)
		}
	})
	t.Run("the_link_type_has_flags_in_its_upper_bits", func(t *testing.T) {
		p := newPcap(little, false, 0x34000001).add(1000, frame)
		if all, _ := mustRead(t, p.file); !slices.Equal(all, p.want) {
			t.Errorf("read %v", all)
		}
	})
	t.Run("the_length_on_the_wire_does_not_matter", func(t *testing.T) {
		p := newPcap(little, false, 1).add(1000, frame)
		little.PutUint32(p.file[24+12:], 3)
		if all, _ := mustRead(t, p.file); !slices.Equal(all, p.want) {
			t.Errorf("read %v", all)
		}
	})
	t.Run("the_longest_frame", func(t *testing.T) {
		p := newPcap(little, false, 1)
		little.PutUint32(p.file[16:], 0)
		p.add(1000, strings.Repeat("x", MaxFrame))
		if all, _ := mustRead(t, p.file); !slices.Equal(all, p.want) {
			t.Errorf("read %d packets", len(all))
		}
	})
	t.Run("the_longest_packet_that_becomes_a_frame", func(t *testing.T) {
		p := newPcap(little, false, linkRaw)
		little.PutUint32(p.file[16:], 0)
		packet := strings.Repeat("E", MaxFrame)
		p.add(1000, packet)
		if all, _ := mustRead(t, p.file); len(all) != 1 || all[0].frame != strings.Repeat("\x00", 12)+"\x08\x00"+packet {
			t.Errorf("read %d packets", len(all))
		}
	})
	t.Run("pcapng_version_1.2_is_1.0", func(t *testing.T) {
		p := newPcapng(little).device(1, 0).enhanced(0, 1, frame, 1000, 0)
		little.PutUint16(p.file[14:], 2)
		if all, _ := mustRead(t, p.file); !slices.Equal(all, p.want) {
			t.Errorf("read %v", all)
		}
	})
}

func TestSectionsAndInterfaces(t *testing.T) {
	little, big := binary.LittleEndian, binary.BigEndian
	for fact, p := range map[string]*pcapng{
		"interfaces_are_counted_through_all_sections": newPcapng(little).device(1, 0).device(1, 0).enhanced(1, 5, "x", 5000, 1).
			section(big).device(1, 0).device(1, 0).enhanced(0, 5, "x", 5000, 2).section(little).section(little).device(1, 0).enhanced(0, 5, "x", 5000, 4),
		"each_has_its_own_resolution": newPcapng(little).device(1, 0, resolution(9)).device(1, 0).
			enhanced(0, 5, "x", 5, 0).enhanced(1, 5, "x", 5000, 1).enhanced(0, 6, "x", 6, 0),
		"an_interface_may_come_between_packets": newPcapng(little).device(1, 0).enhanced(0, 5, "x", 5000, 0).device(1, 0).enhanced(1, 5, "x", 5000, 1),
		"what_follows_the_last_option_is_none":  newPcapng(little).device(1, 0, option{0, nil}, resolution(9)).enhanced(0, 5, "x", 5000, 0),
	} {
		t.Run(fact, func(t *testing.T) {
			if all, _ := mustRead(t, p.file); !slices.Equal(all, p.want) {
				t.Errorf("read %v\nwant %v", all, p.want)
			}
		})
	}
}

func TestTimes(t *testing.T) {
	little := binary.LittleEndian
	// Only the options are of interest: ticks of the interface, and when it is.
	for _, c := range []struct {
		fact    string
		options []option
		ticks   uint64
		want    uint64
	}{
		{"without_options_ticks_are_microseconds", nil, 1_600_000_000_000_001, 1_600_000_000_000_001_000},
		{"nanoseconds", []option{resolution(9)}, 1_600_000_000_000_000_001, 1_600_000_000_000_000_001},
		{"seconds", []option{resolution(0)}, 1_600_000_000, 1_600_000_000e9},
		{"picoseconds_are_rounded_down", []option{resolution(12)}, 1_999_999, 1999},
		{"binary_fractions_are_exact", []option{resolution(0x80 | 32)}, 1_600_000_000<<32 | 1<<31, 1_600_000_000_500_000_000},
		{"the_smallest_binary_fraction", []option{resolution(0xff)}, math.MaxUint64, 1},
		{"ticks_too_small_to_count", []option{resolution(0x7f)}, math.MaxUint64, 1},
		{"an_offset_is_added", []option{resolution(9), (&pcapng{order: little}).offset(1_600_000_000)}, 7, 1_600_000_000e9 + 7},
		{"before_1970_is_the_first_nanosecond", []option{(&pcapng{order: little}).offset(-2)}, 1_000_000, 1},
		{"the_zeroth_nanosecond_is_the_first", nil, 0, 1},
		{"beyond_2262_is_the_last", []option{resolution(0)}, 1 << 40, 1<<63 - 1},
		{"far_beyond_and_back", []option{resolution(0), (&pcapng{order: little}).offset(-1 << 40)}, 1<<40 + 5, 5e9},
		{"the_most_of_everything", []option{resolution(0), (&pcapng{order: little}).offset(math.MaxInt64)}, math.MaxUint64, 1<<63 - 1},
		{"the_least_of_everything", []option{(&pcapng{order: little}).offset(math.MinInt64)}, 0, 1},
	} {
		t.Run(c.fact, func(t *testing.T) {
			all, _ := mustRead(t, newPcapng(little).device(1, 0, c.options...).enhanced(0, c.ticks, "x", 0, 0).file)
			if len(all) != 1 || all[0].at != c.want {
				t.Errorf("%d ticks are %v, want %d", c.ticks, all, c.want)
			}
		})
	}
	t.Run("a_packet_without_time_has_that_of_the_one_before", func(t *testing.T) {
		all, _ := mustRead(t, newPcapng(little).device(1, 0).simple(1, "x", 0, 0).enhanced(0, 9, "x", 0, 0).simple(1, "x", 0, 0).file)
		if len(all) != 3 || all[0].at != 1 || all[2].at != 9000 {
			t.Errorf("read %v", all)
		}
	})
	t.Run("pcap_times_are_unsigned", func(t *testing.T) {
		p := newPcap(little, false, 1)
		p.uint32(little, math.MaxUint32, math.MaxUint32, 0, 0)
		if all, _ := mustRead(t, p.file); len(all) != 1 || all[0].at != math.MaxUint32*1e9+math.MaxUint32*1000 {
			t.Errorf("read %v", all)
		}
	})
	t.Run("pcap_time_zero_is_one", func(t *testing.T) {
		p := newPcap(little, true, 1)
		p.uint32(little, 0, 0, 0, 0)
		if all, _ := mustRead(t, p.file); len(all) != 1 || all[0].at != 1 {
			t.Errorf("read %v", all)
		}
	})
}

func TestOpen(t *testing.T) {
	s := newPcap(binary.LittleEndian, false, 1).add(1000, "frame")
	path := filepath.Join(t.TempDir(), "a capture.pcap")
	if err := os.WriteFile(path, s.file, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Run("a_file", func(t *testing.T) {
		r, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		if frame, at, device, err := r.Next(); string(frame) != "frame" || at != 1000 || device != 0 || err != nil {
			t.Errorf("Next gives %q, %d, %d, %v", frame, at, device, err)
		}
		for range 2 {
			if _, _, _, err := r.Next(); err != io.EOF {
				t.Errorf("Next gives %v, want the end, again and again", err)
			}
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		if err := r.file.Close(); !errors.Is(err, os.ErrClosed) {
			t.Errorf("Close has left the file open: %v", err)
		}
	})
	t.Run("a_closed_reader_says_so", func(t *testing.T) {
		r, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		if _, _, _, err := r.Next(); err == nil || err == io.EOF || !strings.Contains(err.Error(), "closed") {
			t.Errorf("Next gives %v", err)
		}
	})
	t.Run("the_standard_input_stays_open", func(t *testing.T) {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		before := os.Stdin
		os.Stdin = f
		defer func() { os.Stdin = before }()
		r, err := Open("-")
		if err != nil {
			t.Fatal(err)
		}
		if frame, _, _, err := r.Next(); string(frame) != "frame" || err != nil {
			t.Errorf("Next gives %q, %v", frame, err)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		if _, err := f.Stat(); err != nil {
			t.Errorf("it is closed: %v", err)
		}
	})
	t.Run("what_is_no_capture_is_closed_again", func(t *testing.T) {
		other := filepath.Join(t.TempDir(), "other")
		if err := os.WriteFile(other, []byte("no capture"), 0o600); err != nil {
			t.Fatal(err)
		}
		before := descriptors(t, other)
		if _, err := Open(other); !errors.Is(err, ErrFormat) || !strings.HasPrefix(err.Error(), fmt.Sprintf("read capture %q: unknown format", other)) {
			t.Errorf("Open gives %v", err)
		}
		if after := descriptors(t, other); before != 0 || after != 0 {
			t.Errorf("%d descriptors of the file are open, %d before", after, before)
		}
	})
	t.Run("no_such_file", func(t *testing.T) {
		if _, err := Open(path + "x"); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("Open gives %v", err)
		}
	})
	t.Run("a_folder", func(t *testing.T) {
		if _, err := Open(filepath.Dir(path)); err == nil || !strings.Contains(err.Error(), "is a directory") {
			t.Errorf("Open gives %v", err)
		}
	})
	t.Run("errors_name_the_file", func(t *testing.T) {
		if err := os.WriteFile(path, s.file[:len(s.file)-1], 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		want := fmt.Sprintf("read capture %q: frame 1 at byte 24 is cut off after 4 of 5 bytes", path)
		if _, _, _, err := r.Next(); err == nil || err.Error() != want {
			t.Errorf("Next says\n%v, want\n%s", err, want)
		}
	})
}

// descriptors counts those of this process that are of a file.
func descriptors(t *testing.T, path string) (n int) {
	t.Helper()
	links, err := filepath.Glob("/proc/self/fd/*")
	if err != nil || len(links) < 3 {
		t.Fatalf("%d descriptors, %v", len(links), err)
	}
	for _, link := range links {
		if to, err := os.Readlink(link); err == nil && to == path {
			n++
		}
	}
	return n
}

// A live capture comes through a pipe: what is complete is given before more
// comes.
func TestNextWaitsForNoMoreThanItsPacket(t *testing.T) {
	for name, s := range samples() {
		t.Run(name, func(t *testing.T) {
			out, in := io.Pipe()
			defer in.Close()
			type opened struct {
				r   *Reader
				err error
			}
			begun := make(chan opened, 1)
			go func() {
				r, err := NewReader(out)
				begun <- opened{r, err}
			}()
			if _, err := in.Write(s.file[:s.ends[0]]); err != nil {
				t.Fatal(err)
			}
			o := <-begun
			if o.err != nil {
				t.Fatal(o.err)
			}
			for i, want := range s.want {
				if i > 0 {
					go in.Write(s.file[s.ends[i-1]:s.ends[i]])
				}
				frame, at, device, err := o.r.Next() // would wait for ever
				if (got{string(frame), at, device}) != want || err != nil {
					t.Fatalf("Next gives %q, %d, %d, %v, want %v", frame, at, device, err, want)
				}
			}
		})
	}
}

func TestOtherErrorsAreKept(t *testing.T) {
	broken := errors.New("the disk is on fire")
	for name, s := range samples() {
		t.Run(name, func(t *testing.T) {
			for _, cut := range []int{0, 2, 10, s.ends[0] - 1, s.ends[0], s.ends[1] - 1} {
				all, _, err := readAll(io.MultiReader(bytes.NewReader(s.file[:cut]), iotest.ErrReader(broken)))
				if !errors.Is(err, broken) || errors.Is(err, ErrTruncated) || !strings.Contains(err.Error(), " at byte ") {
					t.Errorf("after %d bytes: %v", cut, err)
				}
				if want := complete(s, cut); len(all) != want {
					t.Errorf("after %d bytes %d packets were given, want %d", cut, len(all), want)
				}
			}
		})
	}
}

// complete is how many packets are whole in the first bytes of a sample.
func complete(s sample, cut int) int {
	n := 0
	for _, end := range s.ends {
		if end <= cut {
			n++
		}
	}
	return n
}

func TestPacketsDoNotAllocate(t *testing.T) {
	for _, c := range []struct {
		fact string
		file []byte
	}{
		{"pcap", many(newPcap(binary.LittleEndian, false, 1)).file},
		{"pcap_of_raw_ip", many(newPcap(binary.BigEndian, true, linkRaw)).file},
		{"pcap_of_unknown_links", many(newPcap(binary.BigEndian, true, 147)).file},
		{"pcapng", manyBlocks(newPcapng(binary.LittleEndian).device(1, 0)).file},
	} {
		t.Run(c.fact, func(t *testing.T) {
			r, err := NewReader(bytes.NewReader(c.file))
			if err != nil {
				t.Fatal(err)
			}
			for range 10 {
				r.Next()
			}
			if n := testing.AllocsPerRun(500, func() { r.Next() }); n != 0 {
				t.Errorf("%v allocations for a packet", n)
			}
			if r.Stats().Packets < 500 {
				t.Errorf("only %d packets were there", r.Stats().Packets)
			}
		})
	}
}

func many(p *pcap) *pcap {
	for i := range uint64(1000) {
		p.add(i*1000+1000, strings.Repeat("E", 60))
	}
	return p
}

func manyBlocks(p *pcapng) *pcapng {
	for i := range uint64(1000) {
		p.enhanced(0, i, strings.Repeat("E", 61), 0, 0)
	}
	return p
}

func TestSkippedPacketsAreCountedByName(t *testing.T) {
	p := newPcapng(binary.LittleEndian).device(127, 0).device(1, 0).device(147, 0).device(189, 0).device(220, 0)
	for i := range uint32(5) {
		p.enhanced(i, 1, "x", 1000, int(i)).enhanced(i, 1, "x", 1000, int(i))
	}
	all, r := mustRead(t, p.file)
	if want := p.want[2:4]; !slices.Equal(all, want) {
		t.Errorf("read %v, want %v", all, want)
	}
	want := Stats{Packets: 10, Skipped: map[string]uint64{"IEEE 802.11 with radiotap": 2, "link type 147": 2, "USB": 4}}
	if got := r.Stats(); !reflect.DeepEqual(got, want) {
		t.Errorf("Stats are %v, want %v", got, want)
	}
}
