// Package web serves the image service's HTTP interface: tgState's API, the files, the upload
// page, and what operations need.
package web

import (
	"log/slog"
	"net/http"
	"strings"
	"time"

	"tgstate/internal/auth"
	"tgstate/internal/config"
	"tgstate/internal/metrics"
	"tgstate/internal/storage"
)

const (
	// Uploads in progress at the same time; more are asked to come back.
	maxUploads = 32

	headerTimeout = 10 * time.Second
	smallTimeout  = 30 * time.Second
	idleTimeout   = 2 * time.Minute
)

// Server is an http.Handler.
type Server struct {
	config  config.Config
	store   storage.Store
	gate    *auth.Gate
	log     *slog.Logger
	metrics *counters
	pages   *pages
	uploads chan struct{}
	health  health
	handler http.Handler
}

// New builds the service on a store. Metrics are added to registry.
func New(cfg config.Config, store storage.Store, registry *metrics.Registry, log *slog.Logger) *Server {
	s := &Server{
		config:  cfg,
		store:   store,
		gate:    auth.New(cfg.Pass.Reveal()),
		log:     log,
		metrics: newCounters(registry),
		pages:   newPages(),
		uploads: make(chan struct{}, maxUploads),
	}
	registry.Gauge("tgstate_uploads_in_progress", "Uploads being received or stored.", func() (float64, error) {
		return float64(len(s.uploads)), nil
	})
	mux := http.NewServeMux()
	handle := func(pattern, route string, h http.HandlerFunc) {
		mux.Handle(pattern, s.observe(route, h))
	}
	handle("/api", "upload", s.api)
	handle("GET /d/{id}", "file", s.file)
	handle("GET /pwd", "password", s.passwordForm)
	handle("POST /pwd", "password", s.passwordSent)
	handle("GET /{$}", "page", s.index)
	handle("GET /assets/{name}", "asset", s.asset)
	handle("GET /health", "health", s.healthz)
	handle("GET /metrics", "metrics", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		_, _ = registry.WriteTo(w)
	})
	handle("/", "other", http.NotFound)
	s.handler = mux
	return s
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.handler.ServeHTTP(w, r) }

// HTTPServer returns a server with limits against clients that dawdle. Uploads and downloads set
// deadlines of their own, by size.
func (s *Server) HTTPServer() *http.Server {
	return &http.Server{
		Addr:              s.config.Addr(),
		Handler:           s,
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       smallTimeout,
		WriteTimeout:      smallTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
}

// baseURL is what links begin with: the setting, or what the client itself called us.
func (s *Server) baseURL(r *http.Request) string {
	if s.config.URL != "" {
		return s.config.URL
	}
	host := r.Host
	if strings.ContainsAny(host, "/\\\"'<>@?# ") {
		return ""
	}
	return s.scheme(r) + "://" + host
}
