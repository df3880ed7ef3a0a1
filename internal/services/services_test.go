package services

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	names, err := Parse(strings.NewReader(`# Network services, Internet style
ssh		22/tcp				# SSH Remote Login Protocol
domain		53/udp
http		80/tcp		www
www		80/tcp
	kerberos 88/tcp kerberos5#no blank
nothing
wrong		99999/tcp
worse		x/tcp
half		101
#off		102/tcp
last		65535/tcp`))
	if err != nil {
		t.Fatal(err)
	}
	for port, want := range map[uint16]string{
		22: "ssh", 53: "", 80: "http", 88: "kerberos", 101: "", 102: "", 34463: "", 0: "", 65535: "last",
	} {
		if got := names.Name(port); got != want {
			t.Errorf("port %d is %q, want %q", port, got, want)
		}
	}
}

func TestLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "services")
	names, err := Load(path)
	if err != nil || names.Name(22) != "" {
		t.Errorf("no file: %q, %v", names.Name(22), err)
	}
	if err := os.WriteFile(path, []byte("ssh 22/tcp\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if names, err = Load(path); err != nil || names.Name(22) != "ssh" {
		t.Errorf("port 22 is %q, %v", names.Name(22), err)
	}
	if _, err = Load(t.TempDir()); err == nil || !strings.HasPrefix(err.Error(), "read the names of services: ") {
		t.Errorf("a folder: error %v", err)
	}
}
