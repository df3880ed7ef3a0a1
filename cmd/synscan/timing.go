package main

import (
	"fmt"
	"strconv"
	"strings"
)

// preset is what -T stands for. What --rate and --wait say goes before it.
type preset struct{ name, rate, wait string }

// presets have nmap's names. Up to polite they keep the distance that nmap keeps
// between its probes (five minutes, 15 s, 0.4 s), but over the whole scan, where
// nmap keeps it for each host. Aggressive is for a network that one knows to
// bear it, and insane for a machine in one's own rack.
var presets = [...]preset{
	{"paranoid", "0.0033", "8s"},
	{"sneaky", "0.067", "8s"},
	{"polite", "2.5", "8s"},
	{"normal", "10000", "8s"},
	{"aggressive", "100k", "4s"},
	{"insane", "max", "2s"},
}

const normal = 3

func parsePreset(text string) (preset, error) {
	if text == "" {
		return presets[normal], nil
	}
	for i, p := range presets {
		if text == strconv.Itoa(i) || strings.EqualFold(text, p.name) {
			return p, nil
		}
	}
	return preset{}, fmt.Errorf("-T takes a number from 0 to %d or a name, as in -T4 or -T aggressive, not %q", len(presets)-1, text)
}

// presetList describes them for the help text.
func presetList() string {
	var parts []string
	for i, p := range presets {
		parts = append(parts, fmt.Sprintf("%d %s (%s, %s)", i, p.name, p.rate, p.wait))
	}
	return strings.Join(parts, ", ")
}
