package main

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"runtime"
	"strconv"
	"strings"
	"time"

	"synoptic/internal/plan"
)

const digits = "0123456789"

// Bounds of what is sensible; more is a slip of the finger.
const (
	maxRetries = 100
	maxSenders = 256
	maxWait    = time.Hour
)

// parseCount reads a number of an option.
func parseCount(option, text string, low, high uint64) (uint64, error) {
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil || n < low || n > high {
		if high == math.MaxUint64 {
			return 0, fmt.Errorf("%s takes a number from %d, not %q", option, low, text)
		}
		return 0, fmt.Errorf("%s takes a number from %d to %d, not %q", option, low, high, text)
	}
	return n, nil
}

func parseInt(option, text string, low, high uint64) (int, error) {
	n, err := parseCount(option, text, low, high)
	return int(n), err
}

// parseRate reads packets per second, with k or M for thousands and millions,
// or max for as many as the machine can, which is 0.
func parseRate(text string) (float64, error) {
	if text == "max" {
		return 0, nil
	}
	rate, ok := perSecondOf(text)
	switch {
	case !ok:
		return 0, fmt.Errorf("--rate takes packets per second, as in 2500, 100k, 1.5M or max, not %q", text)
	case rate <= 0:
		return 0, fmt.Errorf("--rate %s: nothing would ever be sent, the rate is above 0 (or max)", text)
	}
	return rate, nil
}

// parseRatePerPrefix reads packets per second too; no bound is no option.
func parseRatePerPrefix(text string) (float64, error) {
	rate, ok := perSecondOf(text)
	switch {
	case text == "max":
		return 0, errors.New("--rate-per-prefix max: leave it out, and no network has a bound of its own")
	case !ok:
		return 0, fmt.Errorf("--rate-per-prefix takes packets per second, as in 200, 2.5 or 1k, not %q", text)
	case rate <= 0:
		return 0, fmt.Errorf("--rate-per-prefix %s: nothing would ever be sent, the rate is above 0", text)
	}
	return rate, nil
}

// perSecondOf reads a number, with k or M for thousands and millions.
func perSecondOf(text string) (rate float64, ok bool) {
	number, unit := text, 1.0
	switch {
	case strings.HasSuffix(text, "k"), strings.HasSuffix(text, "K"):
		number, unit = text[:len(text)-1], 1e3
	case strings.HasSuffix(text, "m"), strings.HasSuffix(text, "M"):
		number, unit = text[:len(text)-1], 1e6
	}
	rate, err := strconv.ParseFloat(number, 64)
	return rate * unit, err == nil && strings.Trim(number, digits+".-") == ""
}

// parsePercent reads a share in percent.
func parsePercent(option, text string) (float64, error) {
	percent, err := strconv.ParseFloat(strings.TrimSuffix(text, "%"), 64)
	if err != nil || !(percent > 0 && percent < 100) {
		return 0, fmt.Errorf("%s takes a share in percent above 0 and below 100, as in 2 or 0.5, not %q", option, text)
	}
	return percent / 100, nil
}

// parseWait reads seconds, or a duration with a unit.
func parseWait(text string) (time.Duration, error) {
	wait, err := time.ParseDuration(text)
	if seconds, bare := strconv.ParseFloat(text, 64); bare == nil && strings.Trim(text, digits+".") == "" {
		wait, err = time.Duration(min(seconds, 2*maxWait.Seconds())*float64(time.Second)), nil
	}
	if err != nil || wait < 0 || wait > maxWait {
		return 0, fmt.Errorf("--wait takes seconds or a time up to %v, as in 8, 1.5s or 500ms, not %q", maxWait, text)
	}
	return wait, nil
}

// parseSeed reads a seed, or makes one that nobody can guess: the seed is what
// the cookies come from.
func parseSeed(text string) (uint64, error) {
	if text == "" {
		var b [8]byte
		rand.Read(b[:])
		return binary.LittleEndian.Uint64(b[:]), nil
	}
	return parseCount("--seed", text, 0, math.MaxUint64)
}

func parseShard(text string) (plan.Shard, error) {
	index, count, ok := strings.Cut(text, "/")
	i, indexErr := strconv.ParseUint(index, 10, 64)
	n, countErr := strconv.ParseUint(count, 10, 64)
	switch {
	case !ok || indexErr != nil || countErr != nil || n == 0:
		return plan.Shard{}, fmt.Errorf("--shard takes a part and the number of parts, as in 1/3, not %q", text)
	case i < 1 || i > n:
		return plan.Shard{}, fmt.Errorf("--shard %s: the parts are numbered from 1 to %d", text, n)
	}
	return plan.Shard{Index: i, Count: n}, nil
}

// defaultSenders leaves one processor to the receiver, if two are left: with two
// processors in all, a second sender gains more than the receiver loses.
func defaultSenders() int {
	n := runtime.GOMAXPROCS(0)
	return max(min(n, 2), n-1)
}
