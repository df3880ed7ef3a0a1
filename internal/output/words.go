package output

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// unfinished is why a report is incomplete that no Close has ended.
const unfinished = "the scan has not finished"

// word is what has become of a scan.
func (e *End) word() string {
	if e.Err != "" {
		return "ended early"
	}
	return "done"
}

// count says of how many addresses how many are up, how long that took, and what
// was lost.
func (e *End) count(up uint64) string {
	text := fmt.Sprintf("%s (%s up) scanned in %.2f seconds", number(max(e.Addresses, up), "IP address", "es"), number(up, "host", "s"), e.Elapsed.Seconds())
	if e.Dropped > 0 {
		text += fmt.Sprintf("; this machine dropped %s, results may be incomplete", number(e.Dropped, "packet", "s"))
	}
	return text
}

func number(n uint64, noun, plural string) string {
	if n == 1 {
		plural = ""
	}
	return fmt.Sprintf("%d %s%s", n, noun, plural)
}

// commandLine puts the arguments on one line, in quotes where they need them.
func commandLine(args []string) string {
	quoted := make([]string, len(args))
	for i, a := range args {
		quoted[i] = a
		if q := strconv.Quote(a); a == "" || q != `"`+a+`"` || strings.Contains(a, " ") {
			quoted[i] = q
		}
	}
	return strings.Join(quoted, " ")
}

// initiated is the first line of a report for people and for grep.
func initiated(scan *Scan) string {
	return fmt.Sprintf("# %s scan initiated %s as: %s\n", scan.Program, scan.Start.Format(time.ANSIC), commandLine(scan.Args))
}

// finished is the last.
func finished(scan *Scan, hosts *Hosts, end *End) string {
	if end == nil {
		return "# " + unfinished + "\n"
	}
	early := ""
	if end.Err != "" {
		early = ": " + oneLine(end.Err)
	}
	return fmt.Sprintf("# %s %s at %s -- %s%s\n", scan.Program, end.word(), end.Time.Format(time.ANSIC), end.count(uint64(hosts.Len())), early)
}

// oneLine puts a text in quotes that would break its line, as the name of a file
// in an error may.
func oneLine(text string) string {
	if strings.ContainsFunc(text, unicode.IsControl) {
		return strconv.Quote(text)
	}
	return text
}

func (s *Scan) service(port uint16) string {
	if s.Service == nil {
		return ""
	}
	return s.Service(port)
}
