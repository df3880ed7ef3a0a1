// Package target turns what a user asks for into what a scan walks over: a
// [Set] of addresses and a list of [Ports].
//
// A Set is kept as sorted intervals with running counts, so its cost grows
// with the number of intervals and never with the number of addresses: the
// whole IPv4 space less ten thousand exclusions is a quarter of a megabyte. It
// answers two questions by arithmetic, one per probe and one per reply, without
// allocating:
//
//	10.0.0.0/30 and 10.0.1.8-10.0.1.9
//
//	i        0         1         2         3         4         5
//	At(i)    10.0.0.0  10.0.0.1  10.0.0.2  10.0.0.3  10.0.1.8  10.0.1.9
//	Rank is the way back: Rank(10.0.1.9) = 5, and 10.0.1.7 is not a target.
//
// A Set and a Ports never change once made, so any number of goroutines may
// use them.
//
// [Parse] reads target and exclusion words. It leaves out the special-purpose
// blocks of RFC 6890 unless they are named outright, and tells a malformed
// address from a host name before anything is looked up.
//
// The package does no I/O of its own: names go through the caller's [Resolver]
// and lists through the caller's reader. The one exception is [ParsePorts],
// which asks the system's services database for service names;
// [ParsePortsFunc] takes the lookup from the caller.
package target
