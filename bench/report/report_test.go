package report

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"
)

var update = flag.Bool("update", false, "write the report, its plots and the README's figures")

// What people read is what was measured: the report, its plots and the figures of the
// README are exactly those that compare.json makes.
func TestWhatIsWrittenIsWhatWasMeasured(t *testing.T) {
	c, err := Read("../results/compare.json")
	if err != nil {
		t.Fatal(err)
	}
	files, err := c.Plots()
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]byte{}
	for name, svg := range files {
		want[filepath.Join("../results", name)] = svg
	}
	if want["../REPORT.md"], err = c.Report(); err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	if want["../../README.md"], err = c.Readme(readme); err != nil {
		t.Fatal(err)
	}
	for name, text := range want {
		if *update {
			if err := os.WriteFile(name, text, 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if is, err := os.ReadFile(name); err != nil || !bytes.Equal(is, text) {
			t.Errorf("%s is not what compare.json makes (go test ./bench/report -update writes it): %v", name, err)
		}
	}
	written, err := filepath.Glob("../results/*.svg")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range written {
		if want[name] == nil {
			t.Errorf("%s is nobody's", name)
		}
	}
}
