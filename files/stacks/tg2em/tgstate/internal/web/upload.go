package web

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"os"
	"strconv"
	"time"

	"tgstate/internal/auth"
	"tgstate/internal/config"
	"tgstate/internal/storage"
)

const (
	fileField = "image"
	// What a multipart body holds besides the file.
	formOverhead = 1 << 20
	// A client that is told "no" before it has sent its body reads the answer only if the rest
	// of the body is taken from it; this much is.
	drainLimit = 4 << 20

	// An upload or download may take this long, and a second more for every so many bytes.
	transferGrace = 30 * time.Second
	minRate       = 8 << 10
)

// uploadReply is tgState's answer; clients look at code first.
type uploadReply struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
	URL     string `json:"url,omitempty"`
	ImgURL  string `json:"imgUrl,omitempty"`
}

// refusal is an answer other than success.
type refusal struct {
	status     int
	message    string
	retryAfter time.Duration
	cause      error // for the log only
}

func (e *refusal) Error() string { return e.message }

func (e *refusal) Unwrap() error { return e.cause }

func (s *Server) api(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	// Any page may upload: what decides is the password, and no cookie goes along cross-site.
	h.Set("Access-Control-Allow-Origin", "*")
	switch r.Method {
	case http.MethodPost:
		s.upload(w, r)
	case http.MethodOptions:
		h.Set("Allow", "POST, OPTIONS")
		h.Set("Access-Control-Allow-Methods", "POST")
		h.Set("Access-Control-Allow-Headers", "Authorization")
		h.Set("Access-Control-Max-Age", "86400")
		w.WriteHeader(http.StatusNoContent)
	default:
		h.Set("Allow", "POST, OPTIONS")
		replyJSON(w, http.StatusMethodNotAllowed, uploadReply{Message: "use POST with a multipart field named image"})
	}
}

func (s *Server) upload(w http.ResponseWriter, r *http.Request) {
	stored, err := s.receive(w, r)
	rc := http.NewResponseController(w)
	_ = rc.SetWriteDeadline(time.Now().Add(smallTimeout))
	if err != nil {
		no := s.explain(err)
		s.metrics.uploads.Inc("refused_" + strconv.Itoa(no.status))
		if no.status >= 500 {
			s.log.Error("upload failed", "error", fmt.Sprint(no.cause), "request_id", w.Header().Get("X-Request-Id"))
		}
		if no.retryAfter > 0 {
			w.Header().Set("Retry-After", strconv.Itoa(int(no.retryAfter.Seconds()+1)))
		}
		replyJSON(w, no.status, uploadReply{Message: no.message})
		drain(rc, r.Body)
		return
	}
	result := "stored"
	if stored.Existed {
		result = "known"
	}
	s.metrics.uploads.Inc(result)
	s.metrics.uploadBytes.Add(uint64(stored.Size))
	path := "/d/" + stored.ID
	link := s.baseURL(r) + path
	replyJSON(w, http.StatusOK, uploadReply{Code: 1, Message: path, URL: link, ImgURL: link})
}

func replyJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

func drain(rc *http.ResponseController, body io.Reader) {
	_ = rc.Flush()
	_ = rc.SetReadDeadline(time.Now().Add(5 * time.Second))
	_, _ = io.CopyN(io.Discard, body, drainLimit)
}

// receive stores the file of a request that may upload.
func (s *Server) receive(w http.ResponseWriter, r *http.Request) (storage.Stored, error) {
	var none storage.Stored
	if s.config.Mode == config.ModeServe {
		return none, &refusal{status: http.StatusForbidden, message: "uploads are switched off"}
	}
	if err := s.admit(r); err != nil {
		return none, err
	}
	if r.ContentLength > s.config.MaxSize+formOverhead {
		return none, s.tooLarge()
	}
	select {
	case s.uploads <- struct{}{}:
		defer func() { <-s.uploads }()
	default:
		return none, &refusal{status: http.StatusServiceUnavailable, message: "too many uploads at once", retryAfter: 5 * time.Second}
	}
	rc := http.NewResponseController(w)
	_ = rc.SetWriteDeadline(time.Time{}) // set again for the answer
	body := &pacedReader{r: r.Body, rc: rc, start: time.Now()}
	r.Body = http.MaxBytesReader(w, body, s.config.MaxSize+formOverhead)
	part, err := filePart(r)
	if err != nil {
		return none, err
	}
	content := bufio.NewReader(&limitedReader{r: part, left: s.config.MaxSize, err: s.tooLarge()})
	if _, err := content.Peek(1); err == io.EOF {
		return none, &refusal{status: http.StatusBadRequest, message: "the file is empty"}
	}
	return s.store.Put(r.Context(), part.FileName(), content)
}

// admit checks the password.
func (s *Server) admit(r *http.Request) error {
	verdict, wait := s.gate.Check(r, s.clientIP(r))
	switch verdict {
	case auth.Allowed:
		return nil
	case auth.Limited:
		s.metrics.authFailures.Inc("limited")
		return &refusal{status: http.StatusTooManyRequests, message: "too many wrong passwords, try later", retryAfter: wait}
	case auth.Wrong:
		s.metrics.authFailures.Inc("wrong")
		return &refusal{status: http.StatusUnauthorized, message: "wrong password"}
	default:
		s.metrics.authFailures.Inc("missing")
		return &refusal{status: http.StatusUnauthorized, message: "a password is needed: /pwd or /api?pass="}
	}
}

// filePart returns the first part that is a file in the field we expect.
func filePart(r *http.Request) (*multipart.Part, error) {
	parts, err := r.MultipartReader()
	if err != nil {
		return nil, &refusal{status: http.StatusUnsupportedMediaType, message: "send multipart/form-data with a field named image"}
	}
	for {
		part, err := parts.NextPart()
		if err == io.EOF {
			return nil, &refusal{status: http.StatusBadRequest, message: "no file in a field named image"}
		}
		if err != nil {
			return nil, &brokenBody{err}
		}
		if part.FormName() == fileField && part.FileName() != "" {
			return part, nil
		}
	}
}

func (s *Server) tooLarge() *refusal {
	return &refusal{
		status:  http.StatusRequestEntityTooLarge,
		message: fmt.Sprintf("the file is larger than %d bytes", s.config.MaxSize),
	}
}

// brokenBody marks errors of the client's side, which are not the storage's fault.
type brokenBody struct{ error }

func (e *brokenBody) Unwrap() error { return e.error }

// explain finds the status that fits an error.
func (s *Server) explain(err error) *refusal {
	var no *refusal
	var tooMany *http.MaxBytesError
	var broken *brokenBody
	var unavailable *storage.UnavailableError
	switch {
	case errors.As(err, &no):
		return no
	case errors.As(err, &tooMany):
		return s.tooLarge()
	case errors.Is(err, os.ErrDeadlineExceeded) && errors.As(err, &broken):
		return &refusal{status: http.StatusRequestTimeout, message: "the upload is too slow", cause: err}
	case errors.As(err, &broken), errors.Is(err, context.Canceled):
		return &refusal{status: http.StatusBadRequest, message: "the request's body is broken", cause: err}
	}
	s.metrics.storeErrors.Inc("put")
	switch {
	case errors.Is(err, storage.ErrFull):
		return &refusal{status: http.StatusInsufficientStorage, message: "the storage is full", cause: err}
	case errors.As(err, &unavailable):
		return &refusal{status: http.StatusServiceUnavailable, message: "the storage is not available", retryAfter: unavailable.RetryAfter, cause: err}
	}
	return &refusal{status: http.StatusInternalServerError, message: "the file could not be stored", cause: err}
}

// limitedReader fails, where io.LimitedReader would pretend that the file ends.
type limitedReader struct {
	r    io.Reader
	left int64
	err  error
}

func (l *limitedReader) Read(p []byte) (int, error) {
	if int64(len(p)) > l.left+1 {
		p = p[:l.left+1]
	}
	n, err := l.r.Read(p)
	l.left -= int64(n)
	if l.left < 0 {
		return 0, l.err
	}
	var tooMany *http.MaxBytesError
	if err != nil && err != io.EOF && !errors.As(err, &tooMany) {
		err = &brokenBody{err}
	}
	return n, err
}

// pacedReader gives the body time in proportion to what has come: a client that trickles is cut
// off, a slow one with a large file is not.
type pacedReader struct {
	r     io.ReadCloser
	rc    *http.ResponseController
	start time.Time
	total int64
}

func (p *pacedReader) Read(b []byte) (int, error) {
	_ = p.rc.SetReadDeadline(p.start.Add(transferTime(p.total)))
	n, err := p.r.Read(b)
	p.total += int64(n)
	return n, err
}

func (p *pacedReader) Close() error { return p.r.Close() }

func transferTime(n int64) time.Duration {
	return transferGrace + time.Duration(n)*time.Second/minRate
}
