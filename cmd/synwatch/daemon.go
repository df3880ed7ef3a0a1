package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"synoptic/detector"
	"synoptic/detector/sink"
)

// daemon is a detector at work, with all that is around it.
type daemon struct {
	read     func() (options, error) // what the command line and the file say now
	detector Detector
	voice    *voice
	sinks    sink.Sinks // but the voice
	tally    tally
	notify   *notifier
	since    time.Time

	signals chan os.Signal
	quiet   atomic.Bool // no alerts and news on stderr
	mu      sync.Mutex
	opt     options // in effect
}

// Patience with outputs at the end.
const (
	flushTime = 5 * time.Second
	sayTime   = time.Second
)

// alert takes an alert from the detector.
func (d *daemon) alert(a *detector.Alert) {
	d.tally.add(a)
	d.sinks.Alert(a)
	if !d.quiet.Load() {
		d.voice.text.Alert(a)
	}
}

// report takes the failure of an output, or its end.
func (d *daemon) report(e sink.Event) {
	if e.Err != nil {
		d.voice.say(trouble, "%v", e)
	} else {
		d.voice.say(news, "%v", e)
	}
}

// news says what is no fault, unless nobody wants to know.
func (d *daemon) news(format string, args ...any) {
	if !d.quiet.Load() {
		d.voice.say(news, format, args...)
	}
}

func (d *daemon) rules() Rules {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.opt.rules
}

// watch runs the detector from beginning to end and returns the exit code.
func (a *app) watch(opt options, read func() (options, error)) int {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	d := &daemon{read: read, opt: opt, since: time.Now()}
	d.quiet.Store(opt.quiet)
	var patience sink.Config
	if !opt.live() {
		patience.Wait = ctx.Done()
	}
	d.voice = newVoice(a.stderr, patience)
	code, err := a.runDaemon(ctx, cancel, d, patience)
	if err != nil {
		d.voice.say(failure, "%v", err)
	}
	d.voice.text.Close(sayTime)
	return code
}

// runDaemon sets everything up, runs it, and takes it down.
func (a *app) runDaemon(ctx context.Context, cancel func(), d *daemon, outputs sink.Config) (code int, err error) {
	opt := &d.opt
	outputs.Report = d.report
	if d.sinks, err = opt.openSinks(a.stdout, outputs); err != nil {
		return exitUsage, err
	}
	defer func() {
		// Live, somebody who does not read any more is no fault of ours, and has been
		// said; of a capture, the alerts are the result.
		if lost := d.sinks.Close(flushTime); lost != nil && code == exitDone && !opt.live() {
			code, err = exitFailed, lost
		} else if lost != nil {
			d.voice.say(trouble, "%v", lost)
		}
	}()
	if d.notify, err = newNotifier(os.Getenv); err != nil {
		return exitUsage, err
	}
	defer d.notify.close()
	// What comes before the detector is at work is done then; who sees our socket may
	// signal. The opening of a capture may take for ever, as of a pipe, and is better
	// interrupted.
	d.signals = make(chan os.Signal, 8)
	if opt.live() {
		signal.Notify(d.signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
		defer signal.Stop(d.signals)
	}
	var listener net.Listener
	var socket *net.UnixListener
	if opt.live() && opt.metrics != "" {
		if listener, err = listenMetrics(opt.metrics); err != nil {
			return exitUsage, err
		}
		defer listener.Close()
	}
	if opt.live() && opt.control != "" {
		if socket, err = listenControl(opt.control); err != nil {
			return exitUsage, err
		}
		defer socket.Close()
	}
	if d.detector, err = a.engine.Start(&Config{
		Interfaces: opt.interfaces, Capture: opt.capture, XDPMode: opt.mode, Gateway: opt.gateway, Memory: opt.memory, Rules: opt.rules,
		Alert: d.alert, Note: func(text string) { d.news("%s", text) },
		Trouble: func(text string) { d.voice.say(trouble, "%s", text) },
	}); err != nil {
		return exitUsage, err
	}
	defer func() {
		if closed := d.detector.Close(); closed != nil && err == nil {
			code, err = exitFailed, closed
		}
	}()
	if opt.live() {
		if err := a.drop(); err != nil {
			return exitUsage, err
		}
		if err := d.greet(); err != nil {
			return exitFailed, err
		}
	}
	if listener != nil {
		defer serveMetrics(listener, d.document).close()
		d.news("serving Prometheus at http://%v/metrics", listener.Addr())
	}
	if socket != nil {
		defer serveControl(socket, d.document).close()
	}
	err = d.run(ctx, cancel)
	d.notify.stopping()
	if err != nil {
		return exitFailed, err
	}
	return exitDone, d.farewell()
}

// greet says that the detector is at work.
func (d *daemon) greet() error {
	text, err := d.work()
	if err != nil {
		return err
	}
	d.news("%s", text)
	d.notify.ready(text)
	return nil
}

// work says in one line what is being done.
func (d *daemon) work() (string, error) {
	state, err := d.detector.State(0)
	if err != nil {
		return "", fmt.Errorf("read the detector's state: %w", err)
	}
	rules := d.rules()
	var policies []string
	for _, p := range rules.Policies {
		policies = append(policies, p.Name)
	}
	text := "watching " + interfaceList(state.Interfaces) + " by " + list(policies)
	if rules.Filter != "" {
		text += ", packets: " + rules.Filter
	}
	return text, nil
}

// farewell says what was seen.
func (d *daemon) farewell() error {
	state, err := d.detector.State(0)
	if err != nil {
		return fmt.Errorf("read the detector's state: %w", err)
	}
	var alerts uint64
	for _, a := range d.tally.list() {
		alerts += a.Count
	}
	what := "stopped after " + age(time.Since(d.since))
	if !d.opt.live() {
		what = "read " + d.opt.capture
	}
	d.news("%s: %s, %s", what, number(state.Counters.Frames(), "packet"), number(alerts, "alert"))
	return nil
}

// errInterrupted is the end of a capture that was not read to its end.
var errInterrupted = errors.New("interrupted: the capture was not read to its end")

// run runs the detector and does meanwhile what signals ask for.
func (d *daemon) run(ctx context.Context, cancel func()) error {
	if !d.opt.live() {
		signal.Notify(d.signals, syscall.SIGINT, syscall.SIGTERM)
		defer signal.Stop(d.signals)
	}
	ended := make(chan error, 1)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	running.Go(func() { ended <- d.detector.Run(ctx) })
	if d.notify.watchdog > 0 {
		running.Go(func() { d.watchdog(ctx) })
	}
	asked := false
	for {
		select {
		case err := <-ended:
			if err == nil && asked && !d.opt.live() {
				return errInterrupted
			}
			return err
		case s := <-d.signals:
			switch {
			case s == syscall.SIGHUP:
				d.reload()
			case asked:
				os.Exit(exitFailed) // the kernel detaches
			default:
				asked = true
				cancel()
			}
		}
	}
}

// watchdog tells systemd that we are alive as long as the detector answers.
func (d *daemon) watchdog(ctx context.Context) {
	t := time.NewTicker(d.notify.watchdog / 2)
	defer t.Stop()
	for {
		if _, err := d.detector.State(0); err == nil {
			d.notify.alive()
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
	}
}
