// Package detector decides who is scanning. It is told by the kernel half, package
// watch, or by its twin, what is remembered of a source that has become
// interesting, and judges it by named policies: the Scorer. An Alert is what it
// says, at the beginning of an episode and at its end.
//
// All times come with the observations, never from a clock, so that a capture is
// judged as its packets were when they came.
package detector
