package web

import (
	"context"
	"net/http"
	"sync"
	"time"
)

// A health check writes to the disk, and anyone may ask for it: the answer is good for a second.
const healthFresh = time.Second

type health struct {
	mu   sync.Mutex
	at   time.Time
	last error
}

func (h *health) check(ctx context.Context, probe func(context.Context) error) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if time.Since(h.at) >= healthFresh {
		h.last = probe(ctx)
		h.at = time.Now()
	}
	return h.last
}

type healthReply struct {
	Status  string `json:"status"`
	Storage string `json:"storage"`
	Mode    string `json:"mode"`
}

func (s *Server) healthz(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	reply := healthReply{"ok", s.config.Storage, s.config.Mode}
	status := http.StatusOK
	if err := s.health.check(context.WithoutCancel(r.Context()), s.store.Check); err != nil {
		// The reason may name paths: it goes to the log, not to whoever asks.
		s.log.Error("unhealthy", "error", err.Error())
		reply.Status, status = "storage is not usable", http.StatusServiceUnavailable
	}
	replyJSON(w, status, reply)
}
