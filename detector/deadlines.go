package detector

// deadlines is a heap of the active episodes, for container/heap: the one that
// ends soonest is the first.
type deadlines []*episode

func (d deadlines) Len() int           { return len(d) }
func (d deadlines) Less(i, j int) bool { return endsSooner(d[i], d[j]) < 0 }

func (d deadlines) Swap(i, j int) {
	d[i], d[j] = d[j], d[i]
	d[i].index, d[j].index = i, j
}

// Push implements heap.Interface.
func (d *deadlines) Push(x any) {
	e := x.(*episode)
	e.index = len(*d)
	*d = append(*d, e)
}

// Pop implements heap.Interface.
func (d *deadlines) Pop() any {
	last := len(*d) - 1
	e := (*d)[last]
	(*d)[last] = nil
	*d = (*d)[:last]
	return e
}
