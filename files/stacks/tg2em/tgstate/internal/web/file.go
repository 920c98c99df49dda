package web

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"tgstate/internal/storage"
)

// Nothing that is stored may run: not even what a browser, against the headers, takes for a page.
const filePolicy = "default-src 'none'; img-src 'self' data:; media-src 'self'; style-src 'unsafe-inline'; sandbox"

func (s *Server) file(w http.ResponseWriter, r *http.Request) {
	// Some forums want links that end in .png: whatever follows a dot is decoration.
	id, _, _ := strings.Cut(r.PathValue("id"), ".")
	obj, err := s.store.Open(r.Context(), id)
	if err != nil {
		s.fileError(w, err)
		return
	}
	defer obj.Content.Close()
	head := make([]byte, min(sniffSize, obj.Size))
	if _, err := io.ReadFull(obj.Content, head); err != nil {
		s.fileError(w, err)
		return
	}
	if _, err := obj.Content.Seek(0, io.SeekStart); err != nil {
		s.fileError(w, err)
		return
	}
	h := w.Header()
	k := sniff(head)
	h.Set("Content-Type", k.contentType)
	if k.inline {
		h.Set("Content-Disposition", "inline")
	} else {
		h.Set("Content-Disposition", attachment(obj.Name(), id+k.extension))
	}
	h.Set("Content-Security-Policy", filePolicy)
	h.Set("Cross-Origin-Resource-Policy", "cross-origin")
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "public, max-age=31536000, immutable")
	h.Set("ETag", `"`+id+`"`)
	if obj.Remote && strings.Contains(r.Header.Get("Range"), ",") {
		r.Header.Del("Range") // many small ranges would be many requests to Telegram
	}
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(transferTime(obj.Size)))
	http.ServeContent(w, r, "", obj.ModTime, obj.Content)
}

func (s *Server) fileError(w http.ResponseWriter, err error) {
	w.Header().Set("Cache-Control", "no-store")
	var unavailable *storage.UnavailableError
	if errors.Is(err, storage.ErrNotFound) {
		http.Error(w, "no such file", http.StatusNotFound)
		return
	}
	s.metrics.storeErrors.Inc("open")
	s.log.Error("file cannot be read", "error", err.Error(), "request_id", w.Header().Get("X-Request-Id"))
	if errors.As(err, &unavailable) {
		w.Header().Set("Retry-After", strconv.Itoa(int(unavailable.RetryAfter.Seconds()+1)))
		http.Error(w, "the storage is not available", http.StatusServiceUnavailable)
		return
	}
	http.Error(w, "the file cannot be read", http.StatusBadGateway)
}

func attachment(name, fallback string) string {
	if name == "" {
		name = fallback
	}
	if v := mime.FormatMediaType("attachment", map[string]string{"filename": name}); v != "" {
		return v
	}
	return fmt.Sprintf("attachment; filename=%q", fallback)
}
