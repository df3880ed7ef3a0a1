package main_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/textproto"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"synoptic/internal/lab"
)

// traffic is what a server sees on a good day, or on a bad one that is no scan.
type traffic struct {
	name, title string
	run         func(t *testing.T, l *lab.Lab, h *lab.Host)
	// happened counts what makes it this traffic among the packets to the host;
	// at least so many must have been.
	happened func(packet) bool
	atLeast  int

	// What the rules have to say of it is an alarm, for the reason in the note.
	sophos, scanlogd bool
	note             string
}

func toPort(port uint16, flags uint8) func(packet) bool {
	return func(p packet) bool { return !p.udp && p.to.Port() == port && p.flags == flags }
}

func traffics() []traffic {
	return []traffic{
		{name: "web_keep_alive", title: "web server, 300 clients' connections kept alive (nginx, wrk)",
			run: web(true), happened: toPort(80, ack|psh), atLeast: 1000},
		{name: "web_closing", title: "web server, a connection for each request (nginx, wrk)",
			run: web(false), happened: toPort(80, syn), atLeast: 1000},
		{name: "crowd", title: "500 connections to one port",
			run: crowd, happened: toPort(443, syn), atLeast: 500},
		{name: "farewell", title: "1,000 outgoing connections that all close at once",
			run: farewell, happened: func(p packet) bool { return !p.udp && p.from.Port() == 443 && p.flags&(fin|ack) == fin|ack }, atLeast: 1000},
		{name: "dns", title: "300 DNS answers, each to another port",
			run: dns, happened: func(p packet) bool { return p.udp && p.from.Port() == 53 }, atLeast: 300},
		{name: "ftp", title: "passive FTP, 200 small files, some 50 a second",
			run: ftp(20 * time.Millisecond), happened: highSYN, atLeast: 200, scanlogd: true,
			note: "for each file the client connects to another port, as a scan does; 21 of them with no gap above 3 s are an alarm by scanlogd's rule."},
		{name: "ftp_fast", title: "passive FTP, 200 small files without a pause",
			run: ftp(0), happened: highSYN, atLeast: 200, sophos: true, scanlogd: true,
			note: "more than 21 such ports within 300 ms are an alarm by Sophos' rule, too."},
		{name: "syn_flood", title: "SYN flood on one port, 50,000 forged sources",
			run: synFlood, happened: toPort(80, syn), atLeast: 50_000},
		{name: "syn_flood_one_source", title: "SYN flood on one port from one source (hping3)",
			run: hpingFlood, happened: toPort(80, syn), atLeast: 3000},
		{name: "backscatter", title: "SYN+ACK and RST backscatter from 5,000 addresses, 24 ports each",
			run: scatter, happened: func(p packet) bool { return !p.udp && (p.flags == syn|ack || p.flags == rst|ack) }, atLeast: backscattered},
		{name: "ssh", title: "SSH session (dropbear)",
			run: ssh, happened: toPort(22, ack|psh), atLeast: 100},
		{name: "ntp", title: "NTP, as a client and as a server",
			run: ntp, happened: func(p packet) bool { return p.udp && (p.from.Port() == 123 || p.to.Port() == 123) }, atLeast: 200},
	}
}

func highSYN(p packet) bool { return !p.udp && p.to.Port() >= 1024 && p.flags == syn }

// serve starts a daemon in a host's namespace for the time of the test, and
// waits until it listens.
func serve(t *testing.T, h *lab.Host, port uint16, name string, args ...string) {
	t.Helper()
	need(t, name)
	ctx, cancel := context.WithCancel(context.Background())
	cmd := h.Namespace.Command(ctx, name, args...)
	var said strings.Builder
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = &said, &said, time.Second
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	for start := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		// From the host itself, so that nothing of it is seen on its link.
		err := h.Namespace.Do(func() error {
			c, err := net.DialTimeout("tcp", netip.AddrPortFrom(h.Addr4, port).String(), time.Second)
			if err == nil {
				c.Close()
			}
			return err
		})
		if err == nil {
			return
		}
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("%s has ended: %v\n%s", name, err, &said)
		default:
		}
		if time.Since(start) > 10*time.Second {
			t.Fatalf("%s does not listen: %v", name, err)
		}
	}
}

// client runs a program of the scanner's side to its end.
func client(t *testing.T, l *lab.Lab, name string, args ...string) {
	t.Helper()
	need(t, name)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if out, err := l.Scanner.Command(ctx, name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
}

// web has wrk ask nginx for a small page on 300 connections for a second.
func web(keepAlive bool) func(*testing.T, *lab.Lab, *lab.Host) {
	return func(t *testing.T, l *lab.Lab, h *lab.Host) {
		dir := t.TempDir()
		config := fmt.Sprintf(`daemon off; master_process off; worker_processes 1; pid %[1]s/pid; error_log stderr;
events { worker_connections 2048; }
http {
	access_log off; client_body_temp_path %[1]s/b; proxy_temp_path %[1]s/p; fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
	server { listen %[2]s:80 backlog=4096; location / { return 200 "hello\n"; } }
}
`, dir, h.Addr4)
		path := filepath.Join(dir, "nginx.conf")
		if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
			t.Fatal(err)
		}
		serve(t, h, 80, "nginx", "-e", "stderr", "-p", dir, "-c", path)
		// Each connection waits a little between its requests: what is asked is
		// bounded, and so is the capture.
		pause := filepath.Join(dir, "pause.lua")
		if err := os.WriteFile(pause, []byte("function delay() return 40 end\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		args := []string{"-t1", "-c300", "-d1s", "-s", pause, "http://" + h.Addr4.String() + "/"}
		if !keepAlive {
			args = append([]string{"-H", "Connection: close"}, args...)
		}
		client(t, l, "wrk", args...)
	}
}

// listenAt listens in a namespace; conns gets every connection.
func listenAt(t *testing.T, ns *lab.Namespace, at netip.AddrPort, conn func(net.Conn)) (port uint16) {
	t.Helper()
	var ln net.Listener
	err := ns.Do(func() (err error) {
		ln, err = net.Listen("tcp", at.String())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	t.Cleanup(func() {
		ln.Close()
		serving.Wait()
	})
	serving.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { conn(c) })
		}
	})
	return ln.Addr().(*net.TCPAddr).AddrPort().Port()
}

// dialMany makes connections from a namespace, one after the other.
func dialMany(t *testing.T, ns *lab.Namespace, to netip.AddrPort, n int) (conns []net.Conn) {
	t.Helper()
	err := ns.Do(func() error {
		for range n {
			c, err := net.DialTimeout("tcp", to.String(), 5*time.Second)
			if err != nil {
				return err
			}
			conns = append(conns, c)
		}
		return nil
	})
	t.Cleanup(func() {
		for _, c := range conns {
			c.Close()
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return conns
}

// crowd opens 500 connections, says a word on each and closes them.
func crowd(t *testing.T, l *lab.Lab, h *lab.Host) {
	listenAt(t, h.Namespace, netip.AddrPortFrom(h.Addr4, 443), func(c net.Conn) {
		defer c.Close()
		io.Copy(io.Discard, c)
	})
	for _, c := range dialMany(t, l.Scanner, netip.AddrPortFrom(h.Addr4, 443), 500) {
		fmt.Fprintln(c, "hello")
		c.Close()
	}
	time.Sleep(100 * time.Millisecond) // the other ends close
}

// farewell has the host hold 1,000 connections to a server, which closes them
// all at once; half of them the host closes at the same time.
func farewell(t *testing.T, l *lab.Lab, h *lab.Host) {
	const n = 1000
	accepted, theirs := make(chan net.Conn, n), []net.Conn(nil)
	listenAt(t, l.Scanner, netip.AddrPortFrom(h.Neighbour(1), 443), func(c net.Conn) { accepted <- c })
	ours := dialMany(t, h.Namespace, netip.AddrPortFrom(h.Neighbour(1), 443), n)
	for range n {
		select {
		case c := <-accepted:
			theirs = append(theirs, c)
		case <-time.After(5 * time.Second):
			t.Fatalf("%d of %d connections are made", len(theirs), n)
		}
	}
	var closing sync.WaitGroup
	closing.Go(func() {
		for _, c := range ours[:n/2] {
			c.Close()
		}
	})
	for _, c := range theirs {
		c.Close()
	}
	closing.Wait()
	for _, c := range ours[n/2:] {
		c.SetReadDeadline(time.Now().Add(5 * time.Second))
		if _, err := c.Read(make([]byte, 1)); err != io.EOF {
			t.Fatalf("a connection ends with %v", err)
		}
		c.Close()
	}
}

// answering runs a UDP server that answers each datagram with another.
func answering(t *testing.T, ns *lab.Namespace, at netip.AddrPort, answer func([]byte) []byte) {
	t.Helper()
	var conn *net.UDPConn
	err := ns.Do(func() (err error) {
		conn, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(at))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	t.Cleanup(func() {
		conn.Close()
		serving.Wait()
	})
	conn.SetReadBuffer(4 << 20)
	serving.Go(func() {
		buf := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			conn.WriteToUDPAddrPort(answer(buf[:n]), from)
		}
	})
}

// ask has n sockets of a namespace send a datagram each, all before the first
// answer is read. Every second one is connected.
func ask(t *testing.T, ns *lab.Namespace, server netip.AddrPort, n int, question func(i int) []byte) {
	t.Helper()
	var conns []*net.UDPConn
	err := ns.Do(func() error {
		for i := range n {
			var c *net.UDPConn
			var err error
			if i%2 == 0 {
				if c, err = net.ListenUDP("udp4", nil); err == nil {
					_, err = c.WriteToUDPAddrPort(question(i), server)
				}
			} else if c, err = net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(server)); err == nil {
				_, err = c.Write(question(i))
			}
			if err != nil {
				return err
			}
			conns = append(conns, c)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range conns {
		c.SetReadDeadline(time.Now().Add(5 * time.Second))
		if n, err := c.Read(make([]byte, 1500)); err != nil || n == 0 {
			t.Fatalf("no answer: %v", err)
		}
	}
	for _, c := range conns {
		c.Close()
	}
}

// dns is a resolver at work: a new port for each question.
func dns(t *testing.T, l *lab.Lab, h *lab.Host) {
	server := netip.AddrPortFrom(h.Neighbour(1), 53)
	answering(t, l.Scanner, server, func(question []byte) []byte {
		var m dnsmessage.Message
		if m.Unpack(question) != nil || len(m.Questions) == 0 {
			return nil
		}
		m.Response = true
		m.Answers = []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: m.Questions[0].Name, Class: dnsmessage.ClassINET, TTL: 60},
			Body:   &dnsmessage.AResource{A: [4]byte{192, 0, 2, 1}},
		}}
		answer, _ := m.Pack()
		return answer
	})
	ask(t, h.Namespace, server, 300, func(i int) []byte {
		m := dnsmessage.Message{Header: dnsmessage.Header{ID: uint16(i), RecursionDesired: true}, Questions: []dnsmessage.Question{{
			Name: dnsmessage.MustNewName(fmt.Sprintf("host%d.example.", i)), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET,
		}}}
		packed, err := m.Pack()
		if err != nil {
			t.Fatal(err)
		}
		return packed
	})
}

// ntp asks a server from the host's port 123 and from others, and the host's own
// server is asked by neighbours.
func ntp(t *testing.T, l *lab.Lab, h *lab.Host) {
	packet := func(mode byte) []byte { return append([]byte{4<<3 | mode, 1, 6, 0xec}, make([]byte, 44)...) } // RFC 5905 section 7.3
	serverMode := func([]byte) []byte { return packet(4) }
	answering(t, l.Scanner, netip.AddrPortFrom(h.Neighbour(1), 123), serverMode)
	answering(t, h.Namespace, netip.AddrPortFrom(h.Addr4, 123), serverMode)
	ask(t, h.Namespace, netip.AddrPortFrom(h.Neighbour(1), 123), 100, func(int) []byte { return packet(3) })
	ask(t, l.Scanner, netip.AddrPortFrom(h.Addr4, 123), 100, func(int) []byte { return packet(3) })
}

// ftp fetches 200 files in passive mode, with a pause after each.
func ftp(pause time.Duration) func(*testing.T, *lab.Lab, *lab.Host) {
	return func(t *testing.T, l *lab.Lab, h *lab.Host) {
		listenAt(t, h.Namespace, netip.AddrPortFrom(h.Addr4, 21), func(c net.Conn) { serveFTP(h, c) })
		conn := dialMany(t, l.Scanner, netip.AddrPortFrom(h.Addr4, 21), 1)[0]
		control := textproto.NewConn(conn)
		say := func(want int, format string, args ...any) string {
			if format != "" {
				if err := control.PrintfLine(format, args...); err != nil {
					t.Fatal(err)
				}
			}
			_, text, err := control.ReadResponse(want)
			if err != nil {
				t.Fatalf("%s: %v", format, err)
			}
			return text
		}
		conn.SetDeadline(time.Now().Add(30 * time.Second))
		say(220, "")
		say(331, "USER anonymous")
		say(230, "PASS guest@example.org")
		say(200, "TYPE I")
		for i := range 200 {
			var port uint16
			if _, err := fmt.Sscanf(say(229, "EPSV"), "passive (|||%d|)", &port); err != nil {
				t.Fatal(err)
			}
			data := dialMany(t, l.Scanner, netip.AddrPortFrom(h.Addr4, port), 1)[0]
			say(150, "RETR file%d", i)
			if file, err := io.ReadAll(data); err != nil || len(file) == 0 {
				t.Fatalf("file %d: %q, %v", i, file, err)
			}
			data.Close()
			say(226, "")
			time.Sleep(pause)
		}
		say(221, "QUIT")
	}
}

// serveFTP answers a client (RFC 959, RFC 2428 section 3): every file is
// there and short.
func serveFTP(h *lab.Host, c net.Conn) {
	defer c.Close()
	var data net.Listener
	defer func() {
		if data != nil {
			data.Close()
		}
	}()
	say := func(format string, args ...any) { fmt.Fprintf(c, format+"\r\n", args...) }
	say("220 ready")
	for lines := bufio.NewScanner(c); lines.Scan(); {
		verb, _, _ := strings.Cut(lines.Text(), " ")
		switch strings.ToUpper(verb) {
		case "USER":
			say("331 password")
		case "PASS":
			say("230 welcome")
		case "EPSV":
			if data != nil {
				data.Close()
			}
			err := h.Namespace.Do(func() (err error) {
				data, err = net.Listen("tcp", netip.AddrPortFrom(h.Addr4, 0).String())
				return err
			})
			if err != nil {
				say("425 %v", err)
				return
			}
			say("229 passive (|||%d|)", data.Addr().(*net.TCPAddr).Port)
		case "RETR":
			say("150 here it is")
			if file, err := data.Accept(); err == nil {
				fmt.Fprintln(file, "a small file")
				file.Close()
			}
			say("226 done")
		case "QUIT":
			say("221 bye")
			return
		default:
			say("200 ok")
		}
	}
}

func synFlood(t *testing.T, l *lab.Lab, h *lab.Host) {
	listenAt(t, h.Namespace, netip.AddrPortFrom(h.Addr4, 80), func(c net.Conn) { c.Close() })
	flood(t, l, h, 50_000, h.Storm(1, 80))
}

// flood sends so many frames, all of which the device takes.
func flood(t *testing.T, l *lab.Lab, h *lab.Host, n uint64, frame func(uint64, *[1514]byte) int) {
	t.Helper()
	done, err := l.Scanner.Flood(t.Context(), lab.Flood{Device: h.Near, Packets: n, Time: 20 * time.Second, Rate: 200_000, Frame: frame})
	if err != nil || done.Sent != n {
		t.Fatalf("flood: %+v, %v", done, err)
	}
}

func hpingFlood(t *testing.T, l *lab.Lab, h *lab.Host) {
	listenAt(t, h.Namespace, netip.AddrPortFrom(h.Addr4, 80), func(c net.Conn) { c.Close() })
	need(t, "hping3")
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	out, err := l.Scanner.Command(ctx, "hping3", "-n", "-q", "-I", h.Near, "-S", "-p", "80", "-i", "u200", "-c", "3000", h.Addr4.String()).CombinedOutput()
	if err != nil && !unanswered(out) {
		t.Fatalf("hping3: %v\n%s", err, out)
	}
}

// backscatter makes what comes back from the victims of floods that were forged
// in the host's name: of 5,000 addresses, every second accepts and the others
// refuse connections from 24 ports each.
func backscatter(h *lab.Host) func(uint64, *[1514]byte) int {
	s := h.Segment(netip.AddrPortFrom(h.Neighbour(1), 80), netip.AddrPortFrom(h.Addr4, 1), syn|ack)
	return func(n uint64, buf *[1514]byte) int {
		victim := n / scattered
		s.SetSource(100<<24 | uint32(victim))
		s.SetPort(32768 + uint16(n%scattered)*31 + uint16(victim%1000))
		s.SetFlags(syn | ack)
		if victim%2 == 1 {
			s.SetFlags(rst | ack)
		}
		return copy(buf[:], s[:])
	}
}

const (
	scattered     = 24
	backscattered = 5000 * scattered
)

func scatter(t *testing.T, l *lab.Lab, h *lab.Host) {
	flood(t, l, h, backscattered, backscatter(h))
}

// ssh has a session of some commands with dropbear, which sees a folder of the
// test's as root's home.
func ssh(t *testing.T, l *lab.Lab, h *lab.Host) {
	need(t, "dropbear", "dropbearkey", "dbclient", "unshare")
	dir := t.TempDir()
	key, hostKey := filepath.Join(dir, "key"), filepath.Join(dir, "hostkey")
	for _, path := range []string{key, hostKey} {
		if out, err := exec.CommandContext(t.Context(), "dropbearkey", "-t", "ed25519", "-f", path).CombinedOutput(); err != nil {
			t.Fatalf("dropbearkey: %v\n%s", err, out)
		}
	}
	public, err := exec.CommandContext(t.Context(), "dropbearkey", "-y", "-f", key).Output()
	if err != nil {
		t.Fatal(err)
	}
	home := filepath.Join(dir, "home")
	if err := os.MkdirAll(filepath.Join(home, ".ssh"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(home, ".ssh", "authorized_keys"), public, 0o600); err != nil {
		t.Fatal(err)
	}
	serve(t, h, 22, "unshare", "--mount", "sh", "-c", `mount --bind "$1" "$HOME" && exec dropbear -F -E -m -s -r "$2" -p "$3" -P "$4"`,
		"sh", home, hostKey, netip.AddrPortFrom(h.Addr4, 22).String(), filepath.Join(dir, "pid"))

	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	cmd := l.Scanner.Command(ctx, "dbclient", "-y", "-y", "-i", key, "root@"+h.Addr4.String(), "cat")
	cmd.Env = append(os.Environ(), "HOME="+dir)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	echo := bufio.NewReader(out)
	for i := range 100 { // somebody types and reads
		line := fmt.Sprintf("line %d\n", i)
		io.WriteString(in, line)
		if back, err := echo.ReadString('\n'); back != line {
			t.Errorf("%q came back for %q: %v", back, line, err)
			break
		}
	}
	in.Close()
	if err := cmd.Wait(); err != nil {
		t.Errorf("dbclient: %v\n%s", err, &said)
	}
}
