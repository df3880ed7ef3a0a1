package lab

import (
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"synoptic/bpf/respond"
)

func TestWholeProcessInNamespace(t *testing.T) {
	if !InNamespace(t) {
		return
	}
	l := New(t, Config{Here: true})
	c, err := l.Responder.Config()
	if err != nil {
		t.Fatal(err)
	}
	open := find(t, c.Truth(), respond.Open, netip.MustParseAddr("10.0.0.1"))
	errs := make(chan error)
	for range 8 { // on any threads
		go func() {
			c, err := net.DialTimeout("tcp", open.String(), 3*time.Second)
			if err == nil {
				c.Close()
			}
			errs <- err
		}()
	}
	for range 8 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}

func TestGuardRefusesTheMachinesNamespace(t *testing.T) {
	if os.Getenv(insideVar) != "" {
		t.Skip("already inside one")
	}
	NeedRoot(t)
	if err := Guard(); err != ErrInitialNamespace {
		t.Errorf("outside: %v", err)
	}
	n, err := NewNamespace("")
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	if err := n.Do(Guard); err != nil {
		t.Errorf("inside: %v", err)
	}
	if err := Guard(); err != ErrInitialNamespace {
		t.Errorf("back outside: %v", err)
	}
}
