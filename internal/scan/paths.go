package scan

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"synoptic/bpf/generate"
	"synoptic/bpf/validate"
	"synoptic/internal/cookie"
	"synoptic/internal/method"
	"synoptic/internal/netif"
	"synoptic/internal/plan"
	"synoptic/rx"
	"synoptic/tx"
)

// Pathway is which way packets go between the devices and this program.
type Pathway string

const (
	// PacketPath is by packet sockets: it works on every device.
	PacketPath Pathway = "packet"
	// KernelPath has probes made and answers judged by programs in the kernel
	// (bpf/generate, bpf/validate), or is an error. Of plans that are beyond the
	// generator's bounds only the answers go that way.
	KernelPath Pathway = "kernel"
	// AutoPath is KernelPath as far as it can be had and pays.
	AutoPath Pathway = "auto"
)

// Kernel is what the kernel path needs to know of a scan beforehand.
type Kernel struct {
	Path   Pathway // "": PacketPath
	Plan   *plan.Plan
	Method *method.Method
	Seed   uint64
	Rate   float64 // that is asked for, 0: unlimited
	// Adaptive says that the scan begins far below Rate.
	Adaptive bool
	NoReset  bool // leave open what a SYN+ACK has half opened at the target
	// Bounded says that networks have rates of their own, which the generator does
	// not know.
	Bounded bool
}

// Fast is the rate in packets per second from which AutoPath takes the kernel
// path: a packet socket sends half a million on one core, and below this it costs
// little, while programs in the kernel have to be loaded, and some network cards
// lose the link for a second when one is attached to them.
const Fast = 200_000

// wanted reports whether the kernel path is to be tried.
func (k *Kernel) wanted(probes uint64) bool {
	switch k.Path {
	case KernelPath:
		return true
	case AutoPath:
		return !k.Adaptive && (k.Rate == 0 || k.Rate >= Fast) && probes-1 >= fewProbes // 0 probes: not known
	}
	return false
}

// Paths says which way a scan's packets go.
type Paths struct {
	Transmit string `json:"transmit"` // kernel, packet or connect
	Receive  string `json:"receive"`  // kernel (native, tcx or generic), packet or connect
}

// Paths implements Prober. Of several ways to hear answers it names the slowest.
func (n *Network) Paths() Paths {
	p := Paths{Transmit: string(PacketPath), Receive: string(PacketPath)}
	if n.kernel != nil {
		p.Transmit = string(KernelPath)
	}
	for i, w := range n.Ways {
		if i == 0 || w.heard == "" {
			p.Receive = cmp.Or(w.heard, string(PacketPath))
		}
	}
	return p
}

// Note says why the kernel path is not used where it was to be, in one line; "": it is.
// Where neither half of it can be had, the reason is the first one's.
func (n *Network) Note() string {
	switch {
	case n.unjudged == nil && n.unmade == nil:
		return ""
	case n.unmade == nil:
		return "answers are judged by the program and not in the kernel: " + n.unjudged.Error()
	case n.unjudged == nil:
		return "probes are made by the program and not in the kernel: " + n.unmade.Error()
	}
	return "probes are made and answers judged by the program and not in the kernel: " + n.unjudged.Error()
}

// Unreset returns how many connections that answers have half opened at targets the
// kernel could not reset.
func (n *Network) Unreset() (total uint64, err error) {
	for _, w := range n.Ways {
		if k, ok := w.Source.(*rx.Kernel); ok {
			n, kernelErr := k.Unreset()
			total, err = total+n, errors.Join(err, kernelErr)
		}
	}
	return total, err
}

// open opens what answers are heard by, and loads the generator if the probes can be
// made in the kernel. Gateways are known.
func (n *Network) open(o *Options) error {
	if !o.Kernel.wanted(o.Probes) {
		for i := range n.Ways {
			if err := n.Ways[i].listen(&o.Routes.Links[i], o); err != nil {
				return err
			}
		}
		return nil
	}
	g, probes := n.generator(o)
	if g != nil {
		n.kernel, n.slots = g, slots(o) // from here on Close knows it
		probes = g.Check()
	}
	for i := range n.Ways {
		w, link := &n.Ways[i], &o.Routes.Links[i]
		err := errSources
		if !slices.ContainsFunc(n.Ways[:i], func(other Way) bool { return other.index == w.index }) {
			err = o.Kernel.validate(w, link)
		}
		if err != nil {
			n.unjudged = cmp.Or(n.unjudged, err)
			if err := w.listen(link, o); err != nil {
				return err
			}
		}
	}
	if g != nil && probes != nil {
		// Some drivers send frames of XDP only while a program is attached, as now.
		if probes = g.Check(); probes != nil {
			n.kernel = nil
			probes = errors.Join(fmt.Errorf("on %s: %w", o.Routes.Links[0].Name, probes), g.Close())
		}
	}
	beyond := generate.Unsupported("")
	if n.unmade = probes; errors.As(probes, &beyond) {
		n.unmade = errors.New(string(beyond))
		probes = nil // no fault of the device: the packet path takes over
	}
	if why := cmp.Or(n.unjudged, probes); why != errSources && why != nil && o.Kernel.Path == KernelPath {
		return fmt.Errorf("the kernel path cannot be used: %w: choose --path packet, or see synscan doctor", why)
	}
	return nil
}

// listen opens a socket to hear answers by.
func (w *Way) listen(link *netif.Link, o *Options) (err error) {
	w.Source, err = o.openSource(link, w.Match)
	return err
}

// errSources is told of the second source address that probes of an interface have; the
// validator there knows the first.
var errSources = errors.New("there are several source addresses on one interface")

// errNoHeader is told of devices without Ethernet headers, and of loopback, whose
// packets have routes instead.
var errNoHeader = errors.New("it is no Ethernet device")

// validate has answers judged by the validator, attached to the way's device.
func (k *Kernel) validate(w *Way, link *netif.Link) error {
	if link.Kind != netif.Ethernet {
		return fmt.Errorf("on %s: %w", link.Name, errNoHeader)
	}
	v, err := validate.New(validate.Config{
		Method: k.Method, Key: cookie.NewKey(k.Seed), Source4: w.Match.Source4, Source6: w.Match.Source6,
		Port: w.Port, Ports: w.Ports, NoReset: k.NoReset,
	})
	if err != nil {
		return err
	}
	mode, err := v.Attach(link.Index, validate.Auto)
	if err != nil {
		return errors.Join(err, v.Close())
	}
	w.Source, w.heard = rx.NewKernel(v), fmt.Sprintf("%s (%s)", KernelPath, mode)
	return nil
}

// mostSlots leaves room for others in what the kernel knows XDP programs by, of which
// there is one for all and which has 48 places (BPF_DISPATCHER_MAX).
const mostSlots = 16

// slots is how many senders a generator has.
func slots(o *Options) int { return min(max(o.Senders, 1), mostSlots) }

// generator loads the generator.
func (n *Network) generator(o *Options) (*generate.Generator, error) {
	k, link := &o.Kernel, &o.Routes.Links[0]
	switch {
	case len(o.Routes.Links) > 1:
		return nil, generate.Unsupported("targets are reached in more than one way")
	case link.Kind != netif.Ethernet:
		return nil, fmt.Errorf("on %s: %w", link.Name, errNoHeader)
	case k.Bounded:
		return nil, generate.Unsupported("networks have rates of their own")
	}
	probe := n.probe(k.Plan, k.Method, cookie.NewKey(k.Seed))
	framer := tx.NewFramer(probe)
	cfg := generate.Config{
		Plan: k.Plan, Key: probe.Key, CookieInAck: k.Method.CookieInAck, SourcePort: probe.SourcePort, PortStep: probe.PortStep,
		Device: link.Index, Slots: slots(o),
	}
	for _, ipv4 := range []bool{true, false} {
		if ipv4 && !k.Plan.Targets().Has4() || !ipv4 && !k.Plan.Targets().Has6() {
			continue
		}
		hop, ok := o.Routes.Uniform(ipv4)
		if !ok {
			return nil, generate.Unsupported("targets have more than one next hop")
		}
		frame := framer.Template(tx.Hop{Link: hop.Link, MAC: hop.MAC}, ipv4)
		if ipv4 {
			cfg.Frame4 = frame
		} else {
			cfg.Frame6 = frame
		}
	}
	return generate.New(cfg)
}
