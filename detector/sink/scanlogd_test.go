package sink

import (
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"synoptic/detector"
)

func TestScanlogdLine(t *testing.T) {
	in(t, "CET", 3600)
	moving := sample()
	moving.Hosts, moving.MinTTL, moving.Kind = 3, 63, detector.FIN
	packets := sample()
	packets.Policy = detector.SophosPacket
	packets.Proof = append(packets.Proof[:2:2], packets.Proof[0], packets.Proof[1])
	for _, tc := range []struct {
		name  string
		alert *detector.Alert
		want  string
	}{
		{"a_scan", sample(), "192.0.2.7 to 10.0.0.1 ports 23, 22, 21, 80, 53, 110, 111, 443, ..., fSrpauxy, TTL 64 @05:00:00"},
		{"many_hosts_and_ttls", moving, "192.0.2.7 to 10.0.0.1 and others, ports 23, 22, 21, 80, 53, 110, 111, 443, ..., Fsrpauxy @05:00:00"},
		{"each_port_once", packets, "192.0.2.7 to 10.0.0.1 ports 23, 22, ..., fSrpauxy, TTL 64 @05:00:00"},
		{"udp", datagrams(), "2001:db8::7 to fd00::1 ports 23, 22, 21, 80, 53, 110, 111, 443, ..., ????????, TTL 64 @05:00:00"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := string(appendScanlogd(nil, tc.alert)); got != tc.want {
				t.Errorf("%s\nwant\n%s", got, tc.want)
			}
			line := string(scanlogdLines("web1")(nil, tc.alert))
			if want := "Nov 25 05:00:00 web1 scanlogd: " + tc.want + "\n"; line != want {
				t.Errorf("%s\nwant\n%s", line, want)
			}
		})
	}
	if got := scanlogdLines("web1")(nil, summary()); len(got) > 0 {
		t.Errorf("scanlogd logs no ends, and this is %q", got)
	}
}

// A line of Debian's scanlogd 2.2.7 and ours have the form of its manual page:
// saddr[:sport] to daddr [and others,] ports port[, port...], ..., flags[, TOS TOS][, TTL TTL] @HH:MM:SS
var scanlogdForm = regexp.MustCompile(`^\S+( and others,)? ports (\d+, )+\.\.\., ` +
	`[Ff?][Ss?][Rr?][Pp?][Aa?][Uu?][Xx?][Yy?](, TOS [0-9a-f]{2})?(, TTL \d+)? @\d\d:\d\d:\d\d$`)

func TestScanlogdForm(t *testing.T) {
	lines := []string{"10.0.0.1:57542 to 10.0.0.2 ports 23, 53, 80, 110, 135, 139, 443, ..., fSrpauxy, TOS 00 @04:14:01"}
	for _, k := range kinds(t) {
		a := sample()
		a.Kind = k
		lines = append(lines, string(appendScanlogd(nil, a)))
	}
	for _, line := range lines {
		if _, rest, ok := strings.Cut(line, " to "); !ok || !scanlogdForm.MatchString(rest) {
			t.Errorf("not scanlogd's form: %s", line)
		}
	}
}

// fail2ban's own rule for scanlogd finds the source.
func TestFail2banReadsScanlogdLines(t *testing.T) {
	if _, err := exec.LookPath("fail2ban-regex"); err != nil {
		t.Fatalf("%v: scripts/need test installs it", err)
	}
	for _, a := range []*detector.Alert{sample(), datagrams()} {
		line := strings.TrimSuffix(string(scanlogdLines("web1")(nil, a)), "\n")
		out, err := exec.CommandContext(t.Context(), "fail2ban-regex", "--out=ip", line, "/etc/fail2ban/filter.d/scanlogd.conf").CombinedOutput()
		if err != nil || strings.TrimSpace(string(out)) != a.Source.String() {
			t.Errorf("%s\nfail2ban finds %q (%v)", line, out, err)
		}
	}
}
