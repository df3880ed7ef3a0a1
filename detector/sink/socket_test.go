package sink

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// readOctets reads a message as RFC 6587 section 3.4.1 counts it.
func readOctets(r *bufio.Reader) (string, error) {
	length, err := r.ReadString(' ')
	if err != nil {
		return "", err
	}
	n, err := strconv.Atoi(strings.TrimSuffix(length, " "))
	if err != nil {
		return "", err
	}
	message := make([]byte, n)
	_, err = io.ReadFull(r, message)
	return string(message), err
}

func mustParse(t *testing.T, text string) Address {
	t.Helper()
	a, err := ParseAddress(text)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func episodeOf(message string) string {
	_, rest, _ := strings.Cut(message, `episode="`)
	n, _, _ := strings.Cut(rest, `"`)
	return n
}

func TestSyslogOverUDP(t *testing.T) {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := conn.LocalAddr().String()
	receive := func() string {
		t.Helper()
		buf := make([]byte, 4096)
		conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		n, _, err := conn.ReadFrom(buf)
		if err != nil {
			t.Fatal(err)
		}
		return string(buf[:n])
	}
	var r told
	s := NewSyslog(mustParse(t, "udp://"+address), "web1", Config{Report: r.report})
	s.Alert(event(1))
	if got := receive(); !rfc5424.MatchString(got) || episodeOf(got) != "1" {
		t.Errorf("received %q", got)
	}
	// The collector dies. UDP tells that with the next datagram after the one that
	// is lost.
	conn.Close()
	s.Alert(event(2))
	eventually(t, "it is sent to nobody", func() bool { return s.Stats().Written == 2 })
	s.Alert(event(3))
	eventually(t, "it fails", func() bool { return s.Stats().Failures >= 2 })
	if st := s.Stats(); st.Written != 2 || !st.Failing || !strings.Contains(st.Err, "connection refused") {
		t.Errorf("without a collector: %+v", st)
	}
	if conn, err = net.ListenPacket("udp", address); err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	s.Reopen()
	if got := receive(); episodeOf(got) != "3" {
		t.Errorf("received %q", got)
	}
	eventually(t, "it works", func() bool { return !s.Stats().Failing })
	if err := s.Close(time.Second); err != nil {
		t.Error(err)
	}
	if got, want := r.texts(), []string{"syslog: send to udp://" + address + ": connection refused: trying again, detection goes on", "syslog: works again, nothing lost"}; !slices.Equal(got, want) {
		t.Errorf("said %q, want %q", got, want)
	}
}

// A collector that is restarted gets each message once.
func TestSyslogOverTCP(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	accept := func() (net.Conn, *bufio.Reader) {
		t.Helper()
		listener.(*net.TCPListener).SetDeadline(time.Now().Add(10 * time.Second))
		conn, err := listener.Accept()
		if err != nil {
			t.Fatal(err)
		}
		conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		return conn, bufio.NewReader(conn)
	}
	expect := func(r *bufio.Reader, episode string) {
		t.Helper()
		got, err := readOctets(r)
		if err != nil || !rfc5424.MatchString(got) || episodeOf(got) != episode {
			t.Errorf("received %q, %v; want episode %s", got, err, episode)
		}
	}
	s := NewSyslog(mustParse(t, "tcp://"+address), "web1", Config{})
	s.Alert(event(1))
	s.Alert(event(2))
	conn, r := accept()
	expect(r, "1")
	expect(r, "2")
	// It hangs up: the next message takes a new connection.
	conn.Close()
	time.Sleep(50 * time.Millisecond)
	s.Alert(event(3))
	conn, r = accept()
	expect(r, "3")
	if st := s.Stats(); st.Failures != 0 {
		t.Errorf("a new connection is no failure: %+v", st)
	}
	// It is gone for a while.
	listener.Close()
	conn.Close()
	time.Sleep(50 * time.Millisecond)
	s.Alert(event(4))
	s.Alert(event(5))
	eventually(t, "it fails", func() bool { return s.Stats().Failures >= 2 })
	if st := s.Stats(); st.Written != 3 || !strings.Contains(st.Err, "tcp://"+address+": connection refused") {
		t.Errorf("without a collector: %+v", st)
	}
	if listener, err = net.Listen("tcp", address); err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	s.Reopen()
	conn, r = accept()
	defer conn.Close()
	expect(r, "4")
	expect(r, "5")
	if err := s.Close(time.Second); err != nil {
		t.Error(err)
	}
}

// A collector that accepts and never reads holds up nobody at the end.
func TestSyslogOverTCPThatNobodyReads(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	s := NewSyslog(mustParse(t, "tcp://"+listener.Addr().String()), "", Config{Room: 1 << 16})
	for i := range 1 << 15 { // more than any buffer takes
		s.Alert(event(i))
	}
	eventually(t, "it is blocked", func() bool {
		was := s.Stats().Written
		time.Sleep(100 * time.Millisecond)
		return was > 0 && s.Stats().Written == was
	})
	began := time.Now()
	err = s.Close(200 * time.Millisecond)
	if took := time.Since(began); took > time.Second || err == nil || !strings.Contains(err.Error(), "took too long at the end") {
		t.Errorf("the end took %v: %v", took, err)
	}
}

func TestSyslogOverUnix(t *testing.T) {
	dir, err := os.MkdirTemp("", "log") // short: a socket's path is at most 107 bytes
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "log")
	listen := func() *net.UnixConn {
		t.Helper()
		os.Remove(path)
		conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
		if err != nil {
			t.Fatal(err)
		}
		conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		return conn
	}
	buf := make([]byte, 4096)
	// As on a machine that boots: the log comes later.
	s := NewSyslog(mustParse(t, "unix://"+path), "web1", Config{})
	s.Alert(event(1))
	eventually(t, "it fails", func() bool { return s.Stats().Failing })
	if st := s.Stats(); !strings.Contains(st.Err, "unix://"+path+": no such file or directory") {
		t.Errorf("%+v", st)
	}
	conn := listen()
	s.Reopen()
	if n, err := conn.Read(buf); err != nil || episodeOf(string(buf[:n])) != "1" {
		t.Errorf("received %q, %v", buf[:n], err)
	}
	// The log is restarted.
	conn.Close()
	conn = listen()
	defer conn.Close()
	s.Alert(event(2))
	eventually(t, "it is written", func() bool { return s.Stats().Written == 2 })
	if n, err := conn.Read(buf); err != nil || episodeOf(string(buf[:n])) != "2" {
		t.Errorf("received %q, %v", buf[:n], err)
	}
	if err := s.Close(time.Second); err != nil {
		t.Error(err)
	}
}

// rsyslogd, with the parsers that it has by default, takes our messages apart as
// they are meant: RFC 5424 from the network, syslog(3)'s form from the local log.
func TestRsyslogReadsIt(t *testing.T) {
	if _, err := exec.LookPath("rsyslogd"); err != nil {
		t.Fatalf("%v: scripts/need test installs it", err)
	}
	dir, err := os.MkdirTemp("", "rsyslog")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	port := freePort(t)
	config := fmt.Sprintf(`global(workDirectory=%[1]q)
module(load="imuxsock" SysSock.Use="off")
input(type="imuxsock" Socket="%[1]s/log" CreatePath="off")
module(load="imudp")
input(type="imudp" address="127.0.0.1" port="%[2]d")
module(load="imptcp")
input(type="imptcp" address="127.0.0.1" port="%[2]d")
template(name="parts" type="string" string="%%inputname%%|%%syslogfacility-text%%|%%syslogseverity-text%%|%%app-name%%|%%procid%%|%%msgid%%|%%structured-data%%|%%msg%%\n")
action(type="omfile" file="%[1]s/out" template="parts")
`, dir, port)
	if err := os.WriteFile(filepath.Join(dir, "conf"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cmd := exec.CommandContext(ctx, "rsyslogd", "-n", "-f", filepath.Join(dir, "conf"), "-i", filepath.Join(dir, "pid"))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cancel()
	local := Local()
	local.address = filepath.Join(dir, "log")
	eventually(t, "rsyslogd is up", func() bool {
		c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			return false
		}
		c.Close()
		_, err = os.Stat(local.address)
		return err == nil
	})
	a := sample()
	a.Interface = `e"t]h\0`
	for _, to := range []Address{mustParse(t, fmt.Sprintf("udp://127.0.0.1:%d", port)), mustParse(t, fmt.Sprintf("tcp://127.0.0.1:%d", port)), local} {
		s := NewSyslog(to, "web1", Config{})
		s.Alert(a)
		s.Alert(summary())
		if err := s.Close(5 * time.Second); err != nil {
			t.Fatal(err)
		}
	}
	var lines []string
	eventually(t, "rsyslogd has written", func() bool {
		text, _ := os.ReadFile(filepath.Join(dir, "out"))
		lines = slices.Sorted(strings.Lines(string(text)))
		return len(lines) >= 6
	})
	data := func(a string) string {
		_, rest, _ := strings.Cut(a, "[")
		return "[" + rest[:strings.LastIndex(rest, "] ")+1]
	}
	process := os.Getpid()
	var want []string
	for _, in := range []string{"imudp", "imptcp"} {
		want = append(want,
			fmt.Sprintf("%s|authpriv|warning|synwatch|%d|scan|%s|%s\n", in, process, data(string(appendSyslog(nil, a, "", 1))), Describe(a)),
			fmt.Sprintf("%s|authpriv|notice|synwatch|%d|scan-end|%s|%s\n", in, process, data(string(appendSyslog(nil, summary(), "", 1))), Describe(summary())))
	}
	want = append(want, fmt.Sprintf("imuxsock|authpriv|warning|synwatch|%d|-|-| %s\n", process, Describe(a)),
		fmt.Sprintf("imuxsock|authpriv|notice|synwatch|%d|-|-| %s\n", process, Describe(summary())))
	slices.Sort(want)
	if !slices.Equal(lines, want) {
		t.Errorf("rsyslogd reads\n%q\nwant\n%q", lines, want)
	}
}

// freePort returns a port that is free for TCP and UDP.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := l.Addr().(*net.TCPAddr).Port
	u, err := net.ListenPacket("udp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	u.Close()
	return port
}
