package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// collector makes metrics of a Document. No label is an address: whoever scans
// us would otherwise decide how many there are.
type collector struct {
	document func(top int) (*Document, error)
}

// describe names the metrics.
func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("synwatch_"+name, help, labels, nil)
}

// Describe implements prometheus.Collector. It says nothing, because an error is
// a metric as well.
func (c *collector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	doc, err := c.document(0)
	if err != nil {
		out <- prometheus.NewInvalidMetric(describe("state", "what the detector knows of itself"), err)
		return
	}
	send := func(d *prometheus.Desc, t prometheus.ValueType, n uint64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, t, float64(n), labels...)
	}
	counter, gauge := prometheus.CounterValue, prometheus.GaugeValue
	packets := describe("packets_total", "Packets seen, by class.", "class")
	for _, class := range packetClasses(&doc.Counters) {
		send(packets, counter, class.packets, class.name)
	}
	send(describe("sources", "Sources that are remembered now."), gauge, doc.Sources)
	send(describe("evictions_total", "Sources that lost their place in the table to others."), counter, doc.Evictions.Idle+doc.Evictions.Live)
	alerts := describe("alerts_total", "Alerts raised, by policy and kind of scan.", "policy", "kind")
	for _, a := range doc.Alerts {
		send(alerts, counter, a.Count, a.Policy, a.Kind)
	}
	lost := describe("lost_events_total", "What was lost on the way from packet to reader: snapshots, sources that were still interesting, alerts of an output.", "reason")
	for reason, n := range doc.Lost {
		send(lost, counter, n, reason)
	}
	send(lost, counter, doc.Evictions.Live, "evicted-live")
	for _, s := range doc.Sinks {
		send(lost, counter, s.Lost, "output-"+s.Name)
	}
	send(describe("build_info", "The running program.", "version"), gauge, 1, doc.Version)
}

// metrics is the server for Prometheus.
type metrics struct {
	server  http.Server
	serving sync.WaitGroup
}

// listenMetrics binds the address, before there is anything to serve.
func listenMetrics(address string) (net.Listener, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen for Prometheus at %s: %w: choose another address with --metrics", address, systemError(err))
	}
	return l, nil
}

// serveMetrics answers GET /metrics until close.
func serveMetrics(l net.Listener, document func(top int) (*Document, error)) *metrics {
	registry := prometheus.NewRegistry()
	registry.MustRegister(&collector{document})
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{MaxRequestsInFlight: 2, DisableCompression: true}))
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "synwatch: the metrics are at /metrics") })
	m := &metrics{server: http.Server{
		Handler: mux, ReadTimeout: 5 * time.Second, WriteTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 1 << 14,
	}}
	m.serving.Go(func() {
		if err := m.server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			l.Close()
		}
	})
	return m
}

func (m *metrics) close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if m.server.Shutdown(ctx) != nil {
		m.server.Close()
	}
	m.serving.Wait()
}
