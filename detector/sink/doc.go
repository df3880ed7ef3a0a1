// Package sink takes alerts to where people and programs read them:
//
//	text.go      a line for people, on stderr or in the journal
//	eve.go       Suricata's EVE JSON lines
//	syslog.go    RFC 5424 for collectors, syslog(3)'s form for the local log
//	scanlogd.go  scanlogd's line, for log rules that know it
//
// A Sink is one of these at one place. It promises that a place which fails, is
// slow or is gone never stops who gives it alerts: each has a queue with a bound
// and a goroutine of its own. A failure is said once, tried again after a second
// and then at growing intervals, and its end is said with the number of alerts
// that were lost. Nothing is lost while the queue has room.
//
// Files hold whole lines: what a full disk has cut is taken back. Plain syslog
// has no receipts, so what was sent to a collector that is gone may be lost
// without a count.
package sink
