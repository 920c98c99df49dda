package web

import (
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strconv"
	"time"

	"tgstate/internal/metrics"
)

type counters struct {
	requests     *metrics.Counter
	seconds      *metrics.Histogram
	sent         *metrics.Counter
	uploads      *metrics.Counter
	uploadBytes  *metrics.Counter
	authFailures *metrics.Counter
	storeErrors  *metrics.Counter
}

func newCounters(r *metrics.Registry) *counters {
	return &counters{
		requests: r.Counter("tgstate_http_requests_total", "Requests answered.", "route", "method", "code"),
		seconds: r.Histogram("tgstate_http_request_seconds", "Time to answer, including the transfer.",
			[]float64{.001, .005, .025, .1, .5, 2.5, 10, 60}, "route"),
		sent:         r.Counter("tgstate_http_sent_bytes_total", "Bytes of bodies sent.", "route"),
		uploads:      r.Counter("tgstate_uploads_total", "Uploads by outcome.", "result"),
		uploadBytes:  r.Counter("tgstate_upload_bytes_total", "Bytes of the files that were stored."),
		authFailures: r.Counter("tgstate_auth_failures_total", "Uploads and logins refused.", "reason"),
		storeErrors:  r.Counter("tgstate_storage_errors_total", "Failures of the storage.", "operation"),
	}
}

// response notes what was sent. It passes ReadFrom on, so that files still go out by sendfile.
type response struct {
	http.ResponseWriter
	status int
	bytes  int64
}

func (r *response) Unwrap() http.ResponseWriter { return r.ResponseWriter }

func (r *response) WriteHeader(status int) {
	if r.status == 0 && status >= 200 {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *response) started() {
	if r.status == 0 {
		r.status = http.StatusOK
	}
}

func (r *response) Write(p []byte) (int, error) {
	r.started()
	n, err := r.ResponseWriter.Write(p)
	r.bytes += int64(n)
	return n, err
}

func (r *response) ReadFrom(src io.Reader) (int64, error) {
	r.started()
	n, err := io.Copy(r.ResponseWriter, src)
	r.bytes += n
	return n, err
}

// observe wraps a handler with the request id, the common headers, the log and the metrics.
func (s *Server) observe(route string, next http.HandlerFunc) http.Handler {
	level := slog.LevelInfo
	if route == "health" || route == "metrics" {
		level = slog.LevelDebug // machines ask for these every few seconds
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		id := requestID(r)
		rec := &response{ResponseWriter: w}
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Request-Id", id)
		defer func() {
			aborted := s.recovered(recover(), rec, r, id)
			took := time.Since(start)
			s.metrics.requests.Inc(route, method(r.Method), strconv.Itoa(rec.status))
			s.metrics.seconds.Observe(took.Seconds(), route)
			s.metrics.sent.Add(uint64(rec.bytes), route)
			// The query is left out: it may hold the password.
			s.log.Log(r.Context(), level, "request", "method", r.Method, "path", r.URL.Path, "status", rec.status,
				"bytes", rec.bytes, "seconds", took.Seconds(), "client", s.clientIP(r).String(), "request_id", id)
			if aborted {
				panic(http.ErrAbortHandler)
			}
		}()
		next(rec, r)
		rec.started()
	})
}

// recovered turns a panic into a 500, or into a broken connection when the answer has begun; it
// reports the latter.
func (s *Server) recovered(cause any, rec *response, r *http.Request, id string) bool {
	if cause == nil {
		return false
	}
	if cause == http.ErrAbortHandler {
		rec.started()
		return true
	}
	s.log.Error("panic", "cause", fmt.Sprint(cause), "path", r.URL.Path, "request_id", id, "stack", string(debug.Stack()))
	if rec.status != 0 {
		return true
	}
	http.Error(rec, "internal error", http.StatusInternalServerError)
	return false
}

// method bounds the label's values: a client may send any word.
func method(m string) string {
	switch m {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodOptions:
		return m
	}
	return "other"
}

// requestID takes over a proxy's id when it is harmless in a log.
func requestID(r *http.Request) string {
	id := r.Header.Get("X-Request-Id")
	if id == "" || len(id) > 64 {
		return rand.Text()
	}
	for _, c := range []byte(id) {
		letter := (c|0x20) >= 'a' && (c|0x20) <= 'z'
		if !letter && (c < '0' || c > '9') && c != '-' && c != '_' && c != '.' {
			return rand.Text()
		}
	}
	return id
}
