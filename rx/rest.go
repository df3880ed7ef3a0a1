package rx

import "time"

// rest is how a source waits in which there is nothing. It sleeps: to be woken for
// every packet would cost more than all the rest, and so does waiting in a system
// call, for which Go's monitor takes the P away and then looks out, 50,000 times a
// second at worst, for the next one. A source that has been empty for a while sleeps
// longer, twice as long each time, so that nothing waits for much longer than there
// had been nothing.
type rest struct {
	next    time.Duration
	hurried chan struct{} // closed: there is no more waiting; nil: there always is
}

const (
	leastRest = time.Millisecond
	mostRest  = 8 * time.Millisecond
)

func (r *rest) sleep() {
	r.next = max(r.next, leastRest)
	timer := time.NewTimer(r.next)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-r.hurried:
	}
	r.next = min(2*r.next, mostRest)
}

// over says that there was something.
func (r *rest) over() { r.next = leastRest }
