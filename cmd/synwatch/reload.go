package main

import (
	"fmt"
	"slices"

	"synoptic/detector"
)

// reload opens outputs anew, as after a rotation of logs, and reads the
// configuration file again. What is wrong in it changes nothing.
func (d *daemon) reload() {
	d.notify.reloading()
	defer func() {
		text, _ := d.work() // an error will show where it matters
		d.notify.ready(text)
	}()
	d.sinks.Reopen()
	opt, err := d.read()
	if err != nil {
		d.voice.say(failure, "reload: %v: the settings stay as they were", err)
		return
	}
	d.mu.Lock()
	now := d.opt
	d.mu.Unlock()
	rules, fixed := now.change(&opt)
	if err := d.detector.Reload(rules); err != nil {
		d.voice.say(failure, "reload: %v: the settings stay as they were", err)
		return
	}
	d.quiet.Store(opt.quiet)
	d.mu.Lock()
	d.opt.rules, d.opt.quiet = rules, opt.quiet
	d.mu.Unlock()
	for _, what := range fixed {
		d.voice.say(trouble, "reload: %s cannot change while the detector runs: restart it for that", what)
	}
	d.news("reload: the settings are in effect")
}

// change returns the rules of a newer reading that can take effect, and which
// other settings differ.
func (o *options) change(newer *options) (rules Rules, fixed []string) {
	for _, f := range []struct {
		option string
		same   bool
	}{
		{"-i", slices.Equal(o.interfaces, newer.interfaces)},
		{"-r", o.capture == newer.capture},
		{"--xdp-mode", o.mode == newer.mode},
		{"--gateway", o.gateway == newer.gateway},
		{"--memory", o.memory == newer.memory},
		{"--eve", o.eve == newer.eve},
		{"--syslog", o.syslog == newer.syslog && o.hasSyslog == newer.hasSyslog},
		{"--scanlogd-line", o.scanlogd == newer.scanlogd},
		{"--metrics", o.metrics == newer.metrics},
		{"--control", o.control == newer.control},
	} {
		if !f.same {
			fixed = append(fixed, f.option)
		}
	}
	rules = newer.rules
	// The memory for each source's last packets is there from the beginning or not
	// at all.
	if newer.uses(detector.SophosPacket) && !o.uses(detector.SophosPacket) {
		fixed = append(fixed, fmt.Sprintf("--policy %s", detector.SophosPacket))
		rules.Policies = slices.DeleteFunc(slices.Clone(rules.Policies), func(p detector.Policy) bool { return p.Name == detector.SophosPacket })
		if len(rules.Policies) == 0 {
			rules.Policies = o.rules.Policies
		}
	}
	return rules, fixed
}
