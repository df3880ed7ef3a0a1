package output

import (
	"encoding/xml"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"synoptic/internal/method"
	"synoptic/internal/result"
)

// These are the rules by which three programs import nmap's XML, as their
// published sources have them. An importer turns a document into lines of
// "address port state", the hosts without a listed port included.
type importer func(document string) ([]string, error)

// node is an element of a document tree.
type node struct {
	XMLName  xml.Name
	Attrs    []xml.Attr `xml:",any,attr"`
	Children []node     `xml:",any"`
}

func (n *node) attr(name string) (string, bool) {
	i := slices.IndexFunc(n.Attrs, func(a xml.Attr) bool { return a.Name.Local == name })
	if i < 0 {
		return "", false
	}
	return n.Attrs[i].Value, true
}

// find returns the elements at the end of a path.
func (n *node) find(path ...string) (all []*node) {
	for i := range n.Children {
		c := &n.Children[i]
		if c.XMLName.Local != path[0] {
			continue
		}
		if len(path) == 1 {
			all = append(all, c)
		} else {
			all = append(all, c.find(path[1:]...)...)
		}
	}
	return all
}

// addressOf returns the address of a kind.
func addressOf(host *node, kind string) (string, bool) {
	for _, a := range host.find("address") {
		if got, _ := a.attr("addrtype"); got == kind {
			return a.attr("addr")
		}
	}
	return "", false
}

// metasploit tells the file's type by its first lines, and reads a stream: what
// a state or service element says belongs to the port before it, and a host that
// is not "up" is dropped, as is one without status.
func metasploit(document string) (all []string, err error) {
	first, rest, ok := strings.Cut(document, "\n")
	if !ok || !strings.Contains(first, "<?xml") {
		return nil, errors.New("the first line is no XML declaration by itself")
	}
	tag := regexp.MustCompile(`<([a-zA-Z0-9\-_]+)[ >]`)
	known := false
	for i, line := range strings.Split(rest, "\n") {
		if m := tag.FindStringSubmatch(line); m != nil {
			known = m[1] == "nmaprun"
			break
		}
		if i > 10 {
			break
		}
	}
	if !known {
		return nil, errors.New("the file's type is not recognised")
	}
	var alive, inPort bool
	var ports []map[string]string
	addresses := map[string]string{}
	for decoder := xml.NewDecoder(strings.NewReader(document)); ; {
		token, err := decoder.Token()
		if err != nil && token == nil {
			if decoder.InputOffset() == int64(len(document)) {
				return all, nil
			}
			return nil, err
		}
		switch e := token.(type) {
		case xml.StartElement:
			attrs := map[string]string{}
			for _, a := range e.Attr {
				attrs[a.Name.Local] = a.Value
			}
			switch e.Name.Local {
			case "status":
				alive = attrs["state"] == "up"
			case "address":
				addresses[attrs["addrtype"]] = attrs["addr"]
			case "port":
				ports, inPort = append(ports, attrs), true
			case "state", "service":
				if !inPort {
					return nil, fmt.Errorf("%s belongs to no port", e.Name.Local)
				}
				for k, v := range attrs {
					ports[len(ports)-1][k] = v
				}
			}
		case xml.EndElement:
			switch e.Name.Local {
			case "port":
				inPort = false
			case "host":
				address := addresses["ipv4"]
				if address == "" {
					address = addresses["ipv6"]
				}
				if address == "" {
					return nil, errors.New("a host has neither an IPv4 nor an IPv6 address")
				}
				if alive {
					all = append(all, address)
					for _, p := range ports {
						all = append(all, fmt.Sprintf("%s %s %s", address, p["portid"], p["state"]))
					}
				}
				alive, ports, addresses = false, nil, map[string]string{}
			}
		}
	}
}

// dojo is DefectDojo: it wants the root's start as an integer and an address of
// type ipv4, and fails on a port without a state. Of ports it takes the open ones.
func dojo(document string) (all []string, err error) {
	var root node
	if err := xml.Unmarshal([]byte(document), &root); err != nil {
		return nil, err
	}
	if !strings.Contains(root.XMLName.Local, "nmaprun") {
		return nil, errors.New("the root is not nmaprun")
	}
	start, ok := root.attr("start")
	if _, err := strconv.Atoi(start); err != nil || !ok {
		return nil, errors.New("no start as an integer")
	}
	for _, host := range root.find("host") {
		address, ok := addressOf(host, "ipv4")
		if !ok {
			return nil, errors.New("a host has no IPv4 address")
		}
		all = append(all, address)
		for _, port := range host.find("ports", "port") {
			_, hasProtocol := port.attr("protocol")
			id, _ := port.attr("portid")
			_, notInteger := strconv.Atoi(id)
			states := port.find("state")
			if !hasProtocol || notInteger != nil || len(states) == 0 {
				return nil, errors.New("a port lacks its protocol, number or state")
			}
			if state, _ := states[0].attr("state"); state == "open" {
				all = append(all, fmt.Sprintf("%s %s open", address, id))
			}
		}
	}
	return all, nil
}

// faraday takes a host's status, and of each port the state, the reason and its
// TTL, and the service, all of which become "unknown" when they are missing or
// empty; a script needs an id and an output, a hostname its name and type.
func faraday(document string) (all []string, err error) {
	var root node
	if err := xml.Unmarshal([]byte(document), &root); err != nil {
		return nil, err
	}
	if root.XMLName.Local != "nmaprun" {
		return nil, errors.New("the root is not nmaprun")
	}
	word := func(n *node, child, name string) (string, error) {
		for _, c := range n.find(child) {
			if value, _ := c.attr(name); value != "" {
				return value, nil
			}
		}
		return "", fmt.Errorf("%s is unknown: no %s with %s", n.XMLName.Local, child, name)
	}
	for _, host := range root.find("host") {
		if _, err := word(host, "status", "state"); err != nil {
			return nil, err
		}
		address, ok := addressOf(host, "ipv4")
		if !ok {
			if address, ok = addressOf(host, "ipv6"); !ok {
				return nil, errors.New("a host has no address")
			}
		}
		for _, name := range host.find("hostnames", "hostname") {
			if _, ok := name.attr("type"); !ok {
				return nil, errors.New("a hostname has no type")
			}
		}
		all = append(all, address)
		for _, port := range host.find("ports", "port") {
			id, _ := port.attr("portid")
			state, err1 := word(port, "state", "state")
			_, err2 := word(port, "state", "reason")
			_, err3 := word(port, "state", "reason_ttl")
			if err := errors.Join(err1, err2, err3); err != nil {
				return nil, err
			}
			for _, s := range port.find("service") {
				if name, _ := s.attr("name"); name == "" {
					return nil, errors.New("a service has no name")
				}
			}
			for _, s := range port.find("script") {
				_, hasID := s.attr("id")
				if _, ok := s.attr("output"); !ok || !hasID {
					return nil, errors.New("a script has no id or output")
				}
			}
			all = append(all, fmt.Sprintf("%s %s %s", address, id, state))
		}
	}
	return all, nil
}

func TestImporters(t *testing.T) {
	many := []result.Record{}
	for i := range 300 {
		addr := netip.AddrFrom4([4]byte{10, 0, byte(i / 256), byte(i)})
		many = append(many,
			result.Record{Addr: netip.AddrPortFrom(addr, 80), State: result.Open, Reason: result.SynAck, TTL: 64},
			result.Record{Addr: netip.AddrPortFrom(addr, 22), State: result.Closed, Reason: result.Reset, TTL: 64})
	}
	suspect := record("10.0.0.1:443", result.Open, result.SynAck, 64)
	suspect.Suspect = result.SynProxy
	type document struct {
		name    string
		records []result.Record
		end     *End
	}
	documents := []document{
		{"no_results", nil, anEnd()},
		{"one_host", []result.Record{record("10.0.0.1:80", result.Open, result.SynAck, 64), suspect}, anEnd()},
		{"many_hosts", many, anEnd()},
		{"interrupted", many[:2], &End{Time: when, Err: "interrupted: 5 of 7 endpoints were not probed"}},
		{"lossy", many[:2], &End{Time: when, Addresses: 1, Dropped: 7}},
		{"unfinished", many[:2], nil},
		{"ipv6", []result.Record{record("[2001:db8::1]:80", result.Open, result.SynAck, 64), record("10.0.0.1:80", result.Open, result.SynAck, 64)}, anEnd()},
	}
	for _, m := range method.All() {
		documents = append(documents, document{m.Name, []result.Record{
			record("10.0.0.1:22", m.Reset, result.Reset, 64), record("10.0.0.1:23", m.Silence, result.NoResponse, 0),
			record("10.0.0.1:24", result.Closed, result.ConnRefused, 0),
			record("10.0.0.1:80", result.Open, result.SynAck, 64),
		}, anEnd()})
	}
	for _, d := range documents {
		scan := aScan()
		if m := method.ByName(d.name); m != nil {
			scan.Methods = []string{m.Name}
		}
		text := ""
		if d.end != nil {
			text = render(t, XML, scan, d.end, d.records...)
		} else {
			text = string(xmlTail(xmlHead(nil, scan), scan, NewHosts(), nil))
			d.records = nil
		}
		for name, rule := range map[string]importer{"metasploit": metasploit, "defectdojo": dojo, "faraday": faraday} {
			if name == "defectdojo" && d.name == "ipv6" {
				continue // it cannot import nmap's own IPv6 documents either
			}
			t.Run(name+"/"+d.name, func(t *testing.T) {
				got, err := rule(text)
				if err != nil {
					t.Fatalf("%v in\n%s", err, text)
				}
				if want := expected(d.records, name == "defectdojo"); !slices.Equal(got, want) {
					t.Errorf("imported\n%q, want\n%q", got, want)
				}
			})
		}
	}
	// The rules must be able to fail: masscan's XML, by its shape.
	foreign := "<?xml version=\"1.0\"?>\n<nmaprun scanner=\"masscan\" start=\"1\">\n<host><address addr=\"10.0.0.1\" addrtype=\"ipv4\"/><ports><port protocol=\"tcp\" portid=\"80\"><state state=\"open\"/></port></ports></host>\n</nmaprun>\n"
	if got, err := metasploit(foreign); err != nil || len(got) != 0 {
		t.Errorf("metasploit imports a host without status: %q, %v", got, err)
	}
	if _, err := faraday(foreign); err == nil {
		t.Error("faraday knows the status of a host without one")
	}
	if _, err := dojo(strings.Replace(foreign, ` start="1"`, "", 1)); err == nil {
		t.Error("defectdojo takes a report without start")
	}
}

// expected is what an importer should say of records.
func expected(records []result.Record, openOnly bool) (all []string) {
	records = slices.Clone(records)
	slices.SortFunc(records, func(a, b result.Record) int { return a.Addr.Compare(b.Addr) })
	for i, r := range records {
		if i == 0 || r.Addr.Addr() != records[i-1].Addr.Addr() {
			all = append(all, r.Addr.Addr().String())
		}
		if !openOnly || r.State == result.Open {
			all = append(all, fmt.Sprintf("%v %d %v", r.Addr.Addr(), r.Addr.Port(), r.State))
		}
	}
	return all
}
