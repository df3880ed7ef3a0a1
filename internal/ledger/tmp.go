package ledger

import "encoding/json"

func (l *Ledger) AppendBinary(dst []byte) ([]byte, error) {
	m := map[uint64]Mark{}
	for p, k := range l.All() {
		m[p] = k
	}
	b, err := json.Marshal(m)
	return append(dst, b...), err
}
func (l *Ledger) UnmarshalBinary(b []byte) error {
	m := map[uint64]Mark{}
	if err := json.Unmarshal(b, &m); err != nil {
		return err
	}
	for p, k := range m {
		l.Put(p, k)
	}
	return nil
}
