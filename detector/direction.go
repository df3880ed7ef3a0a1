package detector

// direction tells what was scanned from the number of hosts, an estimate above
// 1, and of ports.
func direction(hosts, ports int) Direction {
	switch {
	case hosts <= 1:
		return Vertical
	case hosts > ports:
		return Horizontal
	}
	return Block
}
