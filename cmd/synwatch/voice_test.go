package main

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"synoptic/detector/sink"
)

func said(t *testing.T, journal bool, speak func(*voice)) string {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	s := info.Sys().(*syscall.Stat_t)
	stream := fmt.Sprintf("%d:%d", s.Dev, s.Ino+1)
	if journal {
		stream = fmt.Sprintf("%d:%d", s.Dev, s.Ino)
	}
	t.Setenv("JOURNAL_STREAM", stream)
	v := newVoice(f, sink.Config{})
	speak(v)
	if err := v.text.Close(time.Second); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// In the journal lines have a priority, elsewhere our name; an error of several
// lines is one.
func TestVoice(t *testing.T) {
	speak := func(v *voice) {
		v.say(failure, "broken: %v", "one\ntwo")
		v.say(news, "fine")
	}
	if got, want := said(t, false, speak), "synwatch: broken: one; two\nsynwatch: fine\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got, want := said(t, true, speak), "<3>broken: one; two\n<6>fine\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// The end of a failure is news, its beginning trouble.
func TestReports(t *testing.T) {
	got := said(t, true, func(v *voice) {
		d := &daemon{voice: v}
		d.report(sink.Event{Sink: "eve", Err: sink.ErrSlow})
		d.report(sink.Event{Sink: "eve", Lost: 1})
	})
	if want := "<4>eve: its reader is too slow: alerts are being lost\n<6>eve: works again, 1 alert lost meanwhile\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
