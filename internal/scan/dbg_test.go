package scan
import ("testing";"time";"fmt")
func TestDbg(t *testing.T) {
	r := newRoad(7)
	r.carries, r.loss, r.hits = 5000, 0, 1.0/200
	r.rtt = time.Duration(25+r.rnd.IntN(125)) * time.Millisecond
	c := newController(16 * 5000)
	r.drive(c, 30*time.Second)
	r.carries /= 4
	for range 40 {
		r.drive(c, 50*time.Millisecond)
		lo, hi := c.path.bounds()
		s := c.past[len(c.past)-1]
		l := c.path.baseAt(c.path.lo)
		fmt.Printf("%.2f rate %.0f low %.0f high %.0f mean %.0f klo %v khi %v n %.0f lost %.0f mode %v\n", r.now.Sub(roadBegin).Seconds(), c.rate, lo, hi, c.path.mean(1e6), baseLossGrid[l], baseLossGrid[c.path.baseAt(c.path.hi)], s.n, s.lost, c.mode)
	}
	for _, s := range c.past[len(c.past)-8:] { fmt.Println(s.from.Sub(roadBegin), s.rate, s.n, s.lost) }
}
