package scan

import (
	"cmp"
	"errors"
	"fmt"

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
	Path    Pathway // "": PacketPath
	Plan    *plan.Plan
	Method  *method.Method
	Seed    uint64
	Rate    float64 // that is asked for, 0: unlimited
	NoReset bool    // leave open what a SYN+ACK has half opened at the target
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
		return (k.Rate == 0 || k.Rate >= Fast) && probes-1 >= fewProbes // 0 probes: not known
	}
	return false
}

// Paths says which way a scan's packets go.
type Paths struct {
	Transmit string `json:"transmit"` // kernel, packet or connect
	Receive  string `json:"receive"`  // kernel (native), kernel (generic), packet or connect
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

// listen opens what answers are heard by on a link: the validator, or a socket.
func (n *Network) listen(way *Way, link *netif.Link, o *Options) (err error) {
	if o.Kernel.wanted(o.Probes) {
		if way.Source, way.heard, err = o.Kernel.validator(link, way.Match); err == nil {
			return nil
		}
		if o.Kernel.Path == KernelPath {
			return unusable(err)
		}
		n.unjudged = cmp.Or(n.unjudged, err)
	}
	way.Source, err = o.openSource(link, way.Match)
	return err
}

// errNoHeader is told of devices without Ethernet headers, and of loopback, whose
// packets have routes instead.
var errNoHeader = errors.New("it is no Ethernet device")

// validator attaches the validator to a link's device.
func (k *Kernel) validator(link *netif.Link, match rx.Match) (rx.Source, string, error) {
	if link.Kind != netif.Ethernet {
		return nil, "", fmt.Errorf("on %s: %w", link.Name, errNoHeader)
	}
	v, err := validate.New(validate.Config{
		Method: k.Method, Key: cookie.NewKey(k.Seed), Source4: match.Source4, Source6: match.Source6,
		Port: match.Port, Ports: match.Ports, NoReset: k.NoReset,
	})
	if err != nil {
		return nil, "", err
	}
	mode, err := v.Attach(link.Index, validate.Auto)
	if err != nil {
		return nil, "", errors.Join(err, v.Close())
	}
	return rx.NewKernel(v), fmt.Sprintf("%s (%s)", KernelPath, mode), nil
}

// generate loads the generator, if the probes can be made in the kernel.
func (n *Network) generate(o *Options) error {
	k := &o.Kernel
	if !k.wanted(o.Probes) {
		return nil
	}
	g, err := n.generator(o)
	if err == nil {
		n.kernel, n.slots = g, max(o.Senders, 1)
		return nil
	}
	beyond := generate.Unsupported("")
	switch {
	case errors.As(err, &beyond):
		err = errors.New(string(beyond))
	case k.Path == KernelPath:
		return unusable(err)
	}
	n.unmade = err
	return nil
}

func (n *Network) generator(o *Options) (*generate.Generator, error) {
	k := &o.Kernel
	link := &o.Routes.Links[0]
	switch {
	case len(o.Routes.Links) > 1:
		return nil, generate.Unsupported("targets are reached in more than one way")
	case link.Kind != netif.Ethernet:
		return nil, fmt.Errorf("on %s: %w", link.Name, errNoHeader)
	case k.Bounded:
		return nil, generate.Unsupported("networks have rates of their own")
	}
	probe := n.probe(k.Plan, k.Method, cookie.NewKey(k.Seed))
	framer, err := tx.NewFramer(probe)
	if err != nil {
		return nil, err
	}
	cfg := generate.Config{
		Plan: k.Plan, Key: probe.Key, CookieInAck: k.Method.CookieInAck, SourcePort: probe.SourcePort, PortStep: probe.PortStep,
		Device: link.Index, Slots: max(o.Senders, 1),
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
	g, err := generate.New(cfg)
	if err != nil {
		return nil, err
	}
	if err := g.Check(); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", link.Name, err), g.Close())
	}
	return g, nil
}

// unusable is the error of a kernel path that must be had and cannot.
func unusable(err error) error {
	return fmt.Errorf("the kernel path cannot be used: %w: choose --path packet, or see synscan doctor", err)
}
