package main

import (
	"errors"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// scrape serves a Document and reads it as Prometheus does.
func scrape(t *testing.T, document func(int) (*Document, error)) (int, string) {
	t.Helper()
	l, err := listenMetrics("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m := serveMetrics(l, document)
	defer m.close()
	r, err := http.Get("http://" + l.Addr().String() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, string(text)
}

func TestMetrics(t *testing.T) {
	_, doc := readings()
	tops := 0
	code, text := scrape(t, func(top int) (*Document, error) { tops += top; return doc, nil })
	if code != http.StatusOK {
		t.Fatalf("%d: %s", code, text)
	}
	if tops != 0 {
		t.Error("the table is walked for metrics")
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	got := map[string]float64{}
	for name, f := range families {
		if f.GetHelp() == "" {
			t.Errorf("%s has no help", name)
		}
		for _, m := range f.GetMetric() {
			key := name
			for _, l := range m.GetLabel() {
				key += " " + l.GetName() + "=" + l.GetValue()
			}
			if _, twice := got[key]; twice {
				t.Errorf("%s is there twice", key)
			}
			got[key] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	for key, want := range map[string]float64{
		"synwatch_packets_total class=tcp-ack":             1_334_568,
		"synwatch_packets_total class=tcp-xmas":            11,
		"synwatch_packets_total class=ext-too-deep":        0,
		"synwatch_sources":                                 1234,
		"synwatch_evictions_total":                         6,
		"synwatch_alerts_total kind=syn policy=sophos":     2,
		"synwatch_alerts_total kind=syn policy=scanlogd":   1,
		"synwatch_lost_events_total reason=ring-full":      12,
		"synwatch_lost_events_total reason=crowded":        1,
		"synwatch_lost_events_total reason=evicted-live":   1,
		"synwatch_lost_events_total reason=output-syslog":  2,
		"synwatch_lost_events_total reason=output-eve":     0,
		"synwatch_build_info version=v1.2.3":               1,
		"synwatch_packets_total class=nothing of the sort": 0,
	} {
		have, ok := got[key]
		if have != want || !ok && !strings.Contains(key, "nothing") {
			t.Errorf("%s is %v, want %v", key, have, want)
		}
	}
	types := map[string]string{"synwatch_sources": "GAUGE", "synwatch_build_info": "GAUGE"}
	var names []string
	for name, f := range families {
		names = append(names, name)
		want := types[name]
		if want == "" {
			want = "COUNTER"
		}
		if f.GetType().String() != want {
			t.Errorf("%s is a %s", name, f.GetType())
		}
	}
	slices.Sort(names)
	if want := []string{"synwatch_alerts_total", "synwatch_build_info", "synwatch_evictions_total", "synwatch_lost_events_total", "synwatch_packets_total", "synwatch_sources"}; !slices.Equal(names, want) {
		t.Errorf("metrics are %v", names)
	}
	// Who scans us is not in them.
	if m := regexp.MustCompile(`\d+\.\d+\.\d+\.\d+|[0-9a-f]+::`).FindString(text); m != "" {
		t.Errorf("an address is in the metrics: %s", m)
	}
}

// A detector that does not answer is an error of the scrape, not zeros.
func TestMetricsOfNothing(t *testing.T) {
	code, text := scrape(t, func(int) (*Document, error) { return nil, errors.New("it is gone") })
	if code != http.StatusInternalServerError || !strings.Contains(text, "it is gone") {
		t.Errorf("%d: %s", code, text)
	}
}

func TestMetricsServeNothingElse(t *testing.T) {
	l, err := listenMetrics("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m := serveMetrics(l, func(int) (*Document, error) { return &Document{}, nil })
	for path, want := range map[string]int{"/": 200, "/debug/pprof/": 404, "/metrics/x": 404} {
		r, err := http.Get("http://" + l.Addr().String() + path)
		if err != nil {
			t.Fatal(err)
		}
		r.Body.Close()
		if r.StatusCode != want {
			t.Errorf("%s: %d, want %d", path, r.StatusCode, want)
		}
	}
	r, err := http.Post("http://"+l.Addr().String()+"/metrics", "text/plain", strings.NewReader("x"))
	if err != nil {
		t.Fatal(err)
	}
	r.Body.Close()
	if r.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d", r.StatusCode)
	}
	began := time.Now()
	m.close()
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("the end took %v", took)
	}
	if _, err := http.Get("http://" + l.Addr().String() + "/metrics"); err == nil {
		t.Error("it still answers")
	}
}
