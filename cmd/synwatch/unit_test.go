package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const unit = "../../packaging/synwatch.service"

// keys reads a unit's keys; the last one of a name counts, but for lists.
func keys(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile(unit)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if key, value, ok := strings.Cut(line, "="); ok && !strings.HasPrefix(line, "#") {
			all[key] = strings.TrimSpace(all[key] + " " + value)
		}
	}
	return all
}

// systemd understands every line of the unit, and rates it as safe as a service
// that may attach to interfaces can be.
func TestUnit(t *testing.T) {
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Fatalf("%v: scripts/need test installs it", err)
	}
	text, err := os.ReadFile(unit)
	if err != nil {
		t.Fatal(err)
	}
	// The program is not installed here.
	name := filepath.Join(t.TempDir(), "synwatch.service")
	if err := os.WriteFile(name, []byte(strings.ReplaceAll(string(text), "/usr/local/sbin/synwatch", "/bin/true")), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "systemd-analyze", "verify", "--man=no", name).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("verify: %v\n%s", err, out)
	}
	if out, err := exec.CommandContext(t.Context(), "systemd-analyze", "security", "--no-pager", "--offline=true", "--threshold=20", name).CombinedOutput(); err != nil {
		t.Errorf("security: %v\n%s", err, out)
	}
}

// The unit has what the program needs, and calls it as it can be called.
func TestUnitFitsTheProgram(t *testing.T) {
	have := keys(t)
	var needs []string
	for _, c := range needed {
		needs = append(needs, c.name)
	}
	for key, want := range map[string]string{
		"Type": "notify", "NoNewPrivileges": "yes", "ProtectSystem": "strict", "RestartPreventExitStatus": "2", "ExecReload": "/bin/kill -HUP $MAINPID",
		"CapabilityBoundingSet": strings.Join(needs, " "), "AmbientCapabilities": strings.Join(needs, " "), "RuntimeDirectory": filepath.Base(filepath.Dir(defaultControl)),
	} {
		if have[key] != want {
			t.Errorf("%s is %q, want %q", key, have[key], want)
		}
	}
	if filepath.Dir(filepath.Dir(defaultControl)) != "/run" || exitUsage != 2 {
		t.Error("the unit's folder and code are not the program's")
	}
	if !regexp.MustCompile(`(^| )bpf( |$)`).MatchString(have["SystemCallFilter"]) {
		t.Errorf("bpf(2) is not allowed: %s", have["SystemCallFilter"])
	}
	for _, family := range []string{"AF_NETLINK", "AF_UNIX", "AF_INET", "AF_INET6"} {
		if !strings.Contains(have["RestrictAddressFamilies"]+" ", family+" ") {
			t.Errorf("%s is not allowed", family)
		}
	}
	config := filepath.Join(t.TempDir(), "synwatch.toml")
	if err := os.WriteFile(config, []byte(`interface = "lo"`), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"ExecStart", "ExecStartPre"} {
		words := strings.Fields(strings.ReplaceAll(have[key], "/etc/synwatch.toml", config))
		if len(words) < 2 || words[0] != "/usr/local/sbin/synwatch" {
			t.Fatalf("%s is %q", key, have[key])
		}
		w, all, _ := defined()
		if err := all.Parse(words[1:]); err != nil {
			t.Fatalf("%s: %v", key, err)
		}
		if o, err := w.read(all, fakeEngine()); err != nil || len(o.interfaces) != 1 || w.checkConfig != (key == "ExecStartPre") {
			t.Errorf("%s: %v, %v", key, o, err)
		}
	}
}
