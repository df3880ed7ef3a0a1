package main

import (
	"encoding/json"
	"encoding/xml"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"synoptic/internal/output"
	"synoptic/internal/result"
)

// allFiles are all formats in files that bear the names of their options.
var allFiles = []string{"-oD", "oD", "-oJ", "oJ", "-oL", "oL", "-oX", "oX", "-oG", "oG", "-oN", "oN"}

// documents reads the outputs of a scan in a directory, which must be valid, into
// a sorted list of what each has: all that another run of the same scan has too,
// which is everything but times.
func documents(t *testing.T, dir string) map[string][]string {
	t.Helper()
	all := map[string][]string{}
	for name, read := range map[string]func(text string) ([]string, error){
		"oD": jsonRecords, "oJ": arrayRecords, "oL": listRecords, "oX": xmlRecords, "oG": lineRecords, "oN": lineRecords,
	} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if all[name], err = read(string(text)); err != nil {
			t.Errorf("%s is no valid document: %v\n%.300s", name, err, text)
		}
		slices.Sort(all[name])
	}
	return all
}

// sameDocuments fails the test unless a directory has the outputs that are wanted,
// each record once.
func sameDocuments(t *testing.T, dir string, want map[string][]string) {
	t.Helper()
	for name, got := range documents(t, dir) {
		sameRecords(t, name, got, want[name])
	}
}

func sameRecords(t *testing.T, name string, got, want []string) {
	t.Helper()
	if slices.Equal(got, want) {
		return
	}
	counts := map[string]int{}
	for _, r := range got {
		counts[r]++
	}
	for _, r := range want {
		counts[r]--
	}
	shown := 0
	for r, n := range counts {
		if n != 0 && shown < 3 {
			shown++
			t.Errorf("%s: %+d of %s", name, n, r)
		}
	}
	t.Errorf("%s has %d records, want %d", name, len(got), len(want))
}

func jsonRecords(text string) (all []string, err error) {
	if text != "" && !strings.HasSuffix(text, "\n") {
		return nil, os.ErrInvalid
	}
	return all, output.ReadJSON(strings.NewReader(text), "lines", func(r *result.Record) error {
		all = append(all, r.Addr.String()+" "+r.Host+" "+r.State.String()+" "+r.Reason.String())
		return nil
	})
}

func arrayRecords(text string) (all []string, err error) {
	var array []map[string]any
	if err := json.Unmarshal([]byte(text), &array); err != nil {
		return nil, err
	}
	for _, r := range array {
		delete(r, "timestamp")
		line, err := json.Marshal(r)
		if err != nil {
			return nil, err
		}
		all = append(all, string(line))
	}
	return all, nil
}

func listRecords(text string) (all []string, err error) {
	text, whole := strings.CutSuffix(text, "# end\n")
	if !whole {
		return nil, os.ErrInvalid
	}
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		all = append(all, strings.Join(fields[:len(fields)-1], " "))
	}
	return all, nil
}

func xmlRecords(text string) (all []string, err error) {
	var doc struct {
		XMLName xml.Name `xml:"nmaprun"`
		Hosts   []struct {
			Address struct {
				Addr string `xml:"addr,attr"`
			} `xml:"address"`
			Ports struct {
				Text string `xml:",innerxml"`
			} `xml:"ports"`
		} `xml:"host"`
		End *struct{} `xml:"runstats"`
	}
	if err := xml.Unmarshal([]byte(text), &doc); err != nil {
		return nil, err
	}
	if doc.End == nil {
		return nil, os.ErrInvalid
	}
	for _, h := range doc.Hosts {
		all = append(all, h.Address.Addr+" "+h.Ports.Text)
	}
	return all, nil
}

var latency = regexp.MustCompile(`\(.* latency\)`)

// lineRecords reads the reports that are lines: what is comment tells of times.
func lineRecords(text string) (all []string, err error) {
	if !strings.HasSuffix(text, "\n") || !strings.HasPrefix(text, "#") {
		return nil, os.ErrInvalid
	}
	host := ""
	for line := range strings.Lines(text) {
		switch {
		case strings.HasPrefix(line, "Nmap scan report"):
			host = line
		case strings.HasPrefix(line, "#"):
		default:
			all = append(all, host+latency.ReplaceAllString(line, ""))
		}
	}
	return all, nil
}
