package main

import (
	"errors"
	"fmt"
	"net"
	"slices"

	"synoptic/internal/cli"
)

// checkInterfaces looks whether the interfaces exist.
func (o *options) checkInterfaces() error {
	if !o.live() {
		return nil
	}
	all, err := net.Interfaces()
	if err != nil {
		return fmt.Errorf("list the interfaces: %w", err)
	}
	var names []string
	for _, i := range all {
		names = append(names, i.Name)
	}
	if len(o.interfaces) == 0 {
		return errors.New("name what to watch: interfaces with -i (this machine has " + list(names) + "), or a capture with -r")
	}
	for _, name := range o.interfaces {
		if slices.Contains(names, name) {
			continue
		}
		if near := cli.Nearest(name, names); near != "" {
			return fmt.Errorf("find interface %q: there is none of that name: did you mean %s? this machine has %s", name, near, list(names))
		}
		return fmt.Errorf("find interface %q: there is none of that name: this machine has %s", name, list(names))
	}
	return nil
}
