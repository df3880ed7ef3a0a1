// Package netif finds how probes get to a set of targets: which interfaces they
// leave by, from which source addresses, and whose link addresses they need.
//
// Every decision is the kernel's; this package only asks. Resolve works in
// four steps, each in its own file:
//
//  1. segment.go cuts the targets where the kernel's answer can change: at the
//     first address of each prefix in any routing table or in a policy rule,
//     and at the address after its last.
//  2. route.go asks the kernel once per segment that holds a target
//     (RTM_GETROUTE): ten thousand targets behind one gateway are one question.
//  3. resolve.go joins the answers into links, one for each interface, and
//     gives each segment its next hop; source.go gives each link one source
//     address per family.
//  4. neighbour.go lists whom the scan has to ask for a link address: gateways,
//     and targets on a link itself. It asks nobody.
//
// Beside it, sourceport.go chooses the TCP ports that the probes come from,
// list.go shows what there is, and xdp.go what an interface can do with XDP.
//
// The result are Routes (routes.go). Their Hop is called per probe: it allocates
// nothing, and any number of goroutines may call it at once.
//
// # What the kernel's answer covers
//
// Routing tables, policy rules by address (VPNs) and by the calling user,
// gateways of the other family (RTA_VIA), and multipath routes: a segment with
// several next hops uses the one the kernel gives its first target. Rules that
// match firewall marks, protocols or ports are not consulted, since the probes
// of one scan carry many ports and no mark. A route that an ICMP redirect
// planted for a single address can stand for the segment that begins there. A
// route or neighbour that changes during the scan is not noticed.
//
// # Network namespaces and privileges
//
// Resolve and SourcePorts look at the network namespace of the calling thread
// and start no goroutines: a caller that has moved its locked thread into a
// namespace gets that namespace's answers. None of it needs a privilege.
//
// # Left out
//
// Routes that encapsulate (MPLS, SRv6), and link types other than Ethernet and
// those without a link header, are errors.
package netif
