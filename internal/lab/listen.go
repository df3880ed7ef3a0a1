package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// patience is how long a listener holds a connection whose peer says nothing.
const patience = 10 * time.Second

// listen opens listeners on TCP ports, for both families. They accept, read
// and wait for the peer to close: a connection closed at once could reach the
// peer as a reset before it has seen that it was made.
func (n *Namespace) listen(ports []Ports) (closeAll func() error, err error) {
	var (
		open []net.Listener
		wg   sync.WaitGroup
	)
	ctx, cancel := context.WithCancel(context.Background())
	closeAll = func() error {
		cancel()
		var err error
		for _, l := range open {
			err = errors.Join(err, l.Close())
		}
		wg.Wait()
		return err
	}
	err = n.Do(func() error {
		for _, r := range ports {
			for port := int(r.First); port <= int(r.Last); port++ {
				l, err := net.Listen("tcp", fmt.Sprintf("[::]:%d", port))
				if err != nil {
					return err
				}
				open = append(open, l)
			}
		}
		return nil
	})
	for _, l := range open {
		wg.Go(func() { accept(ctx, l, &wg) })
	}
	return closeAll, err
}

func accept(ctx context.Context, l net.Listener, wg *sync.WaitGroup) {
	for {
		c, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // the peer was faster, or no file descriptors: try again
			time.Sleep(time.Millisecond)
			continue
		}
		wg.Go(func() {
			stop := context.AfterFunc(ctx, func() { c.Close() })
			defer stop()
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(patience))
			_, _ = io.Copy(io.Discard, c)
		})
	}
}
