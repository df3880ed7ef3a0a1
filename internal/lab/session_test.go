package lab

import (
	"fmt"
	"os"
	"testing"
)

// Taking a lab down leaves namespaces alone that are only named alike.
func TestTakeDownRemovesOnlyItsOwn(t *testing.T) {
	NeedRoot(t)
	var names []string
	lab := fmt.Sprintf("takedown%d", os.Getpid())
	for _, name := range []string{lab + "-scanner", lab + "-host3", lab + "-precious", lab + "-2-gate"} {
		n, err := NewNamespace(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := n.Close(); err != nil {
			t.Fatal(err)
		}
		names = append(names, name)
	}
	if err := TakeDown(lab); err != nil {
		t.Fatal(err)
	}
	for i, name := range names {
		_, err := os.Stat("/run/netns/" + name)
		if kept := err == nil; kept != (i >= 2) {
			t.Errorf("%s is still there: %v", name, kept)
		}
		if err == nil {
			if err := RemoveNamespace(name); err != nil {
				t.Error(err)
			}
		}
	}
	for _, name := range []string{"*", "", "../x", "a/b", "A", "a*"} {
		if err := TakeDown(name); err == nil {
			t.Errorf("the name %q is accepted", name)
		}
	}
}
