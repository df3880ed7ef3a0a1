// Package estimate says how sure counts are: shares with their intervals, and
// what two passes tell of the loss on the way. It is arithmetic only, and safe
// for concurrent use.
package estimate
