package rx

import (
	"errors"
	"time"

	"synoptic/bpf/validate"
)

// Kernel is a Judging source: bpf/validate, attached to a device. The machine's
// stack sees none of the answers, so it resets no connection that a SYN scan half
// opens; the validator does.
type Kernel struct {
	validator *validate.Validator
	rest      rest
}

// NewKernel returns a source that reads a validator, which is the source's to
// close from then on.
func NewKernel(v *validate.Validator) *Kernel { return &Kernel{validator: v} }

// Read implements Source.
func (k *Kernel) Read() ([]byte, time.Time, error) {
	record, at, err := k.validator.Read()
	if errors.Is(err, validate.ErrIdle) {
		k.rest.sleep()
		record, at, err = k.validator.Read()
		if errors.Is(err, validate.ErrIdle) {
			if err = k.validator.Alive(); err == nil {
				err = ErrIdle
			}
		}
	}
	if err == nil {
		k.rest.over()
	}
	return record, at, err
}

// Drops implements Source: valid answers that the validator's ring had no room
// for.
func (k *Kernel) Drops() (uint64, error) { return k.validator.Lost() }

// Judged implements Judging.
func (k *Kernel) Judged() (badCookie, duplicate uint64, err error) {
	c, err := k.validator.Counters()
	return c.BadCookie, c.Duplicate, err
}

// Unreset returns how many answers stay half open at their targets, because the driver
// let nobody make a reset of them.
func (k *Kernel) Unreset() (uint64, error) {
	c, err := k.validator.Counters()
	return c.Unreset, err
}

// Close implements Source. Read must have returned.
func (k *Kernel) Close() error { return k.validator.Close() }
