// Package metrics counts, and writes what it has counted in Prometheus' text format.
package metrics

import (
	"bufio"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
)

// Registry holds metrics in the order they were made.
type Registry struct {
	mu      sync.Mutex
	metrics []metric
}

type metric interface{ write(w *bufio.Writer) }

func (r *Registry) add(m metric) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.metrics = append(r.metrics, m)
}

// WriteTo writes every metric.
func (r *Registry) WriteTo(w io.Writer) (int64, error) {
	r.mu.Lock()
	all := slices.Clone(r.metrics)
	r.mu.Unlock()
	counting := &countingWriter{w: w}
	buf := bufio.NewWriter(counting)
	for _, m := range all {
		m.write(buf)
	}
	err := buf.Flush()
	return counting.n, err
}

type countingWriter struct {
	w io.Writer
	n int64
}

func (c *countingWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

type desc struct{ name, help, kind string }

func (d desc) writeHead(w *bufio.Writer) {
	fmt.Fprintf(w, "# HELP %s %s\n# TYPE %s %s\n", d.name, d.help, d.name, d.kind)
}

var escaper = strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`)

// labelPairs renders a="b",c="d".
func labelPairs(names, values []string) string {
	if len(names) != len(values) {
		panic(fmt.Sprintf("metrics: labels %v given values %v", names, values))
	}
	pairs := make([]string, len(names))
	for i, name := range names {
		pairs[i] = name + `="` + escaper.Replace(values[i]) + `"`
	}
	return strings.Join(pairs, ",")
}

func braces(pairs ...string) string {
	pairs = slices.DeleteFunc(pairs, func(s string) bool { return s == "" })
	if len(pairs) == 0 {
		return ""
	}
	return "{" + strings.Join(pairs, ",") + "}"
}

func number(v float64) string {
	if math.IsInf(v, 1) {
		return "+Inf"
	}
	return strconv.FormatFloat(v, 'g', -1, 64)
}

// sortedSeries returns the label sets that have been used, in a stable order.
func sortedSeries(m *sync.Map) []string {
	var keys []string
	m.Range(func(k, _ any) bool {
		keys = append(keys, k.(string))
		return true
	})
	slices.Sort(keys)
	return keys
}

// Counter counts up, one number a combination of labels.
type Counter struct {
	desc
	labels []string
	series sync.Map // label pairs → *atomic.Uint64
}

// Counter makes a counter. Use label values from a small fixed set only.
func (r *Registry) Counter(name, help string, labels ...string) *Counter {
	c := &Counter{desc: desc{name, help, "counter"}, labels: labels}
	if len(labels) == 0 {
		c.Add(0) // a counter without labels shows before it first counts
	}
	r.add(c)
	return c
}

// Add adds n.
func (c *Counter) Add(n uint64, values ...string) {
	key := labelPairs(c.labels, values)
	v, ok := c.series.Load(key)
	if !ok {
		v, _ = c.series.LoadOrStore(key, new(atomic.Uint64))
	}
	v.(*atomic.Uint64).Add(n)
}

// Inc adds one.
func (c *Counter) Inc(values ...string) { c.Add(1, values...) }

func (c *Counter) write(w *bufio.Writer) {
	c.writeHead(w)
	for _, key := range sortedSeries(&c.series) {
		v, _ := c.series.Load(key)
		fmt.Fprintf(w, "%s%s %d\n", c.name, braces(key), v.(*atomic.Uint64).Load())
	}
}

// gauge asks for its value when it is written.
type gauge struct {
	desc
	pairs string
	value func() (float64, error)
}

// Gauge makes a gauge that calls value at each scrape; an error leaves it out.
func (r *Registry) Gauge(name, help string, value func() (float64, error)) {
	r.add(&gauge{desc{name, help, "gauge"}, "", value})
}

// CounterFunc is a Gauge that only grows.
func (r *Registry) CounterFunc(name, help string, value func() (float64, error)) {
	r.add(&gauge{desc{name, help, "counter"}, "", value})
}

// Info makes a gauge that is always 1 and says something in its labels.
func (r *Registry) Info(name, help string, labels, values []string) {
	r.add(&gauge{desc{name, help, "gauge"}, labelPairs(labels, values), func() (float64, error) { return 1, nil }})
}

func (g *gauge) write(w *bufio.Writer) {
	v, err := g.value()
	if err != nil {
		return
	}
	g.writeHead(w)
	fmt.Fprintf(w, "%s%s %s\n", g.name, braces(g.pairs), number(v))
}

// Histogram counts observations in buckets.
type Histogram struct {
	desc
	labels  []string
	bounds  []float64
	series  sync.Map // label pairs → *distribution
	ordered []string // the bounds as text
}

type distribution struct {
	mu     sync.Mutex
	counts []uint64
	sum    float64
}

// Histogram makes a histogram; bounds ascend and need no +Inf.
func (r *Registry) Histogram(name, help string, bounds []float64, labels ...string) *Histogram {
	h := &Histogram{desc: desc{name, help, "histogram"}, labels: labels, bounds: append(slices.Clone(bounds), math.Inf(1))}
	for _, b := range h.bounds {
		h.ordered = append(h.ordered, `le="`+number(b)+`"`)
	}
	r.add(h)
	return h
}

// Observe counts v.
func (h *Histogram) Observe(v float64, values ...string) {
	key := labelPairs(h.labels, values)
	d, ok := h.series.Load(key)
	if !ok {
		d, _ = h.series.LoadOrStore(key, &distribution{counts: make([]uint64, len(h.bounds))})
	}
	dist := d.(*distribution)
	i, _ := slices.BinarySearch(h.bounds, v)
	dist.mu.Lock()
	defer dist.mu.Unlock()
	dist.counts[i]++
	dist.sum += v
}

func (h *Histogram) write(w *bufio.Writer) {
	h.writeHead(w)
	for _, key := range sortedSeries(&h.series) {
		v, _ := h.series.Load(key)
		d := v.(*distribution)
		d.mu.Lock()
		counts, sum := slices.Clone(d.counts), d.sum
		d.mu.Unlock()
		total := uint64(0)
		for i, n := range counts {
			total += n
			fmt.Fprintf(w, "%s_bucket%s %d\n", h.name, braces(key, h.ordered[i]), total)
		}
		fmt.Fprintf(w, "%s_sum%s %s\n%s_count%s %d\n", h.name, braces(key), number(sum), h.name, braces(key), total)
	}
}
