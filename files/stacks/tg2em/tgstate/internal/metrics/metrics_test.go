package metrics

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"
)

func text(t *testing.T, r *Registry) string {
	t.Helper()
	var buf bytes.Buffer
	n, err := r.WriteTo(&buf)
	if err != nil || n != int64(buf.Len()) {
		t.Fatalf("WriteTo: %d, %v", n, err)
	}
	return buf.String()
}

func TestFormat(t *testing.T) {
	r := &Registry{}
	plain := r.Counter("plain_total", "Nothing yet.")
	c := r.Counter("requests_total", "Requests.", "route", "code")
	c.Inc("file", "200")
	c.Add(2, "file", "200")
	c.Inc("a\"b\\c\n", "404")
	r.Gauge("free_bytes", "Free.", func() (float64, error) { return 1.5e9, nil })
	r.Gauge("broken", "Never shown.", func() (float64, error) { return 0, errors.New("no") })
	h := r.Histogram("seconds", "Time.", []float64{0.1, 1})
	for _, v := range []float64{0.05, 0.1, 0.5, 7} {
		h.Observe(v)
	}
	plain.Add(0)
	want := `# HELP plain_total Nothing yet.
# TYPE plain_total counter
plain_total 0
# HELP requests_total Requests.
# TYPE requests_total counter
requests_total{route="a\"b\\c\n",code="404"} 1
requests_total{route="file",code="200"} 3
# HELP free_bytes Free.
# TYPE free_bytes gauge
free_bytes 1.5e+09
# HELP seconds Time.
# TYPE seconds histogram
seconds_bucket{le="0.1"} 2
seconds_bucket{le="1"} 3
seconds_bucket{le="+Inf"} 4
seconds_sum 7.65
seconds_count 4
`
	if got := text(t, r); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestProcess(t *testing.T) {
	r := &Registry{}
	r.Process(time.Now())
	got := text(t, r)
	for _, name := range []string{
		"process_start_time_seconds 1", "process_cpu_seconds_total ", "process_resident_memory_bytes ",
		"process_open_fds ", "go_goroutines ", "go_info{version=\"go",
	} {
		if !strings.Contains(got, "\n"+name) {
			t.Errorf("no %s in\n%s", name, got)
		}
	}
}
