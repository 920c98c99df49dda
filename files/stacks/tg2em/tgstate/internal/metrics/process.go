package metrics

import (
	"fmt"
	"os"
	"runtime"
	"syscall"
	"time"
)

// Process adds what Prometheus' own clients say about the process.
func (r *Registry) Process(started time.Time) {
	r.Gauge("process_start_time_seconds", "Start time of the process since unix epoch in seconds.", func() (float64, error) {
		return float64(started.UnixMilli()) / 1000, nil
	})
	r.CounterFunc("process_cpu_seconds_total", "Total user and system CPU time spent in seconds.", cpuSeconds)
	r.Gauge("process_resident_memory_bytes", "Resident memory size in bytes.", residentBytes)
	r.Gauge("process_open_fds", "Number of open file descriptors.", func() (float64, error) {
		entries, err := os.ReadDir("/proc/self/fd")
		return float64(len(entries)), err
	})
	r.Gauge("go_goroutines", "Number of goroutines that currently exist.", func() (float64, error) {
		return float64(runtime.NumGoroutine()), nil
	})
	r.Info("go_info", "Information about the Go environment.", []string{"version"}, []string{runtime.Version()})
}

func cpuSeconds() (float64, error) {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0, err
	}
	total := time.Duration(u.Utime.Nano() + u.Stime.Nano())
	return total.Seconds(), nil
}

func residentBytes() (float64, error) {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0, err
	}
	var size, resident int
	if _, err := fmt.Sscan(string(text), &size, &resident); err != nil {
		return 0, err
	}
	return float64(resident * os.Getpagesize()), nil
}
