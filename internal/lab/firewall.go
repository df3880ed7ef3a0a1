package lab

import (
	"encoding/binary"
	"fmt"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// firewall sets a host's input rules, for IPv4 and IPv6 alike.
func (n *Namespace) firewall(rules []Rule) error {
	if len(rules) == 0 {
		return nil
	}
	conn, err := nftables.New(nftables.WithNetNSFd(int(n.handle)))
	if err != nil {
		return fmt.Errorf("set firewall: %w", err)
	}
	table := conn.AddTable(&nftables.Table{Name: "lab", Family: nftables.TableFamilyINet})
	chain := conn.AddChain(&nftables.Chain{
		Name:     "input",
		Table:    table,
		Type:     nftables.ChainTypeFilter,
		Hooknum:  nftables.ChainHookInput,
		Priority: nftables.ChainPriorityFilter,
	})
	for _, r := range rules {
		if err := r.Verdict.check(); err != nil {
			return err
		}
		for _, p := range r.Ports {
			conn.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: append(toPorts(p), r.Verdict.expr())})
		}
	}
	if err := conn.Flush(); err != nil {
		return fmt.Errorf("set firewall: %w", err)
	}
	return nil
}

// toPorts matches TCP segments to a range of ports.
func toPorts(p Ports) []expr.Any {
	const register = 1
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: register},
		&expr.Cmp{Op: expr.CmpOpEq, Register: register, Data: []byte{unix.IPPROTO_TCP}},
		&expr.Payload{DestRegister: register, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Range{
			Op: expr.CmpOpEq, Register: register,
			FromData: binary.BigEndian.AppendUint16(nil, p.First),
			ToData:   binary.BigEndian.AppendUint16(nil, p.Last),
		},
	}
}

func (v Verdict) expr() expr.Any {
	switch v {
	case RejectReset:
		return &expr.Reject{Type: unix.NFT_REJECT_TCP_RST}
	case RejectPort:
		return &expr.Reject{Type: unix.NFT_REJECT_ICMPX_UNREACH, Code: unix.NFT_REJECT_ICMPX_PORT_UNREACH}
	case RejectHost:
		return &expr.Reject{Type: unix.NFT_REJECT_ICMPX_UNREACH, Code: unix.NFT_REJECT_ICMPX_HOST_UNREACH}
	case RejectAdmin:
		return &expr.Reject{Type: unix.NFT_REJECT_ICMPX_UNREACH, Code: unix.NFT_REJECT_ICMPX_ADMIN_PROHIBITED}
	}
	return &expr.Verdict{Kind: expr.VerdictDrop}
}
