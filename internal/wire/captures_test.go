package wire

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"
)

// Real traffic, much of it broken on purpose: what Decode calls a segment,
// gopacket reads alike, and nothing makes it panic. The captures lie beside the
// project and are not part of it.
func TestCapturesDecodeAsGopacketDecodes(t *testing.T) {
	root := filepath.Join("..", "..", "..", "shared", "captures")
	if _, err := os.Stat(root); errors.Is(err, fs.ErrNotExist) {
		t.Skip("there are no captures beside the project")
	}
	files, packets, segments := 0, 0, 0
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		next, link, ok := openCapture(f)
		if !ok || link != layers.LinkTypeEthernet && link != layers.LinkTypeRaw {
			return nil
		}
		files++
		for {
			data, _, err := next.ReadPacketData()
			if err != nil { // the end, or a capture that is itself cut
				return nil
			}
			packets++
			if compareCaptured(t, path, data, link) {
				segments++
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 100 || segments < 1000 {
		t.Errorf("only %d files with %d packets and %d segments were read", files, packets, segments)
	}
	t.Logf("%d files, %d packets, %d segments", files, packets, segments)
}

func openCapture(f io.ReadSeeker) (gopacket.PacketDataSource, layers.LinkType, bool) {
	if r, err := pcapgo.NewReader(f); err == nil {
		return r, r.LinkType(), true
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, 0, false
	}
	r, err := pcapgo.NewNgReader(f, pcapgo.DefaultNgReaderOptions)
	if err != nil {
		return nil, 0, false
	}
	return r, r.LinkType(), true
}

func compareCaptured(t *testing.T, path string, data []byte, link layers.LinkType) bool {
	t.Helper()
	var p Packet
	first, ours := gopacket.Decoder(layers.LayerTypeEthernet), Ethernet
	if link == layers.LinkTypeRaw {
		first, ours = layers.LinkTypeRaw, Raw
	}
	p.Decode(data, ours)
	if p.Kind != Segment {
		return false
	}
	oracle := gopacket.NewPacket(data, first, gopacket.DecodeOptions{NoCopy: true, Lazy: true})
	tcp, _ := oracle.Layer(layers.LayerTypeTCP).(*layers.TCP)
	if tcp == nil {
		var judged bool
		if tcp, judged = behindIP(oracle); !judged {
			return true
		}
	}
	if tcp == nil {
		t.Errorf("%s: Decode finds a segment, gopacket none: %v", filepath.Base(path), oracle)
		return true
	}
	compareTCP(t, &p.TCP, tcp)
	compareAddrs(t, &p, oracle)
	return true
}
