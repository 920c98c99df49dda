package web

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"tgstate/internal/config"
	"tgstate/internal/metrics"
	"tgstate/internal/storage"
	"tgstate/internal/storage/local"
)

var png = append([]byte("\x89PNG\r\n\x1a\n"), bytes.Repeat([]byte("pixels"), 2000)...)

// site is the service on a real port and a real directory.
type site struct {
	t    *testing.T
	url  string
	log  *logBuffer
	srv  *Server
	http *http.Client
}

type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func newSite(t *testing.T, change func(*config.Config)) *site {
	t.Helper()
	disk, _, err := local.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return newSiteOn(t, disk, change)
}

func newSiteOn(t *testing.T, store storage.Store, change func(*config.Config)) *site {
	t.Helper()
	cfg, err := config.Load(nil, func(string) string { return "" })
	if err != nil {
		t.Fatal(err)
	}
	cfg.LogLevel = slog.LevelDebug
	if change != nil {
		change(&cfg)
	}
	s := &site{t: t, log: &logBuffer{}}
	s.srv = New(cfg, store, &metrics.Registry{}, slog.New(slog.NewJSONHandler(s.log, nil)))
	server := httptest.NewUnstartedServer(s.srv)
	server.Config = s.srv.HTTPServer()
	server.Start()
	t.Cleanup(server.Close)
	s.url = server.URL
	s.http = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return s
}

type answer struct {
	*http.Response
	body []byte
}

func (s *site) do(method, path string, body io.Reader, headers ...string) answer {
	s.t.Helper()
	req, err := http.NewRequest(method, s.url+path, body)
	if err != nil {
		s.t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := s.http.Do(req)
	if err != nil {
		s.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatalf("%s %s: %v", method, path, err)
	}
	return answer{resp, data}
}

func (s *site) get(path string, headers ...string) answer {
	s.t.Helper()
	return s.do(http.MethodGet, path, nil, headers...)
}

func form(t *testing.T, field, name string, data []byte) (io.Reader, string) {
	t.Helper()
	var buf bytes.Buffer
	w := multipart.NewWriter(&buf)
	part, err := w.CreateFormFile(field, name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := part.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &buf, w.FormDataContentType()
}

func (s *site) post(path, field, name string, data []byte, headers ...string) (answer, uploadReply) {
	s.t.Helper()
	body, contentType := form(s.t, field, name, data)
	a := s.do(http.MethodPost, path, body, append([]string{"Content-Type", contentType}, headers...)...)
	var reply uploadReply
	if err := json.Unmarshal(a.body, &reply); err != nil {
		s.t.Fatalf("answer %q: %v", a.body, err)
	}
	return a, reply
}

// upload stores data and returns its path.
func (s *site) upload(name string, data []byte) string {
	s.t.Helper()
	a, reply := s.post("/api", "image", name, data)
	if a.StatusCode != http.StatusOK || reply.Code != 1 {
		s.t.Fatalf("upload: %d %+v", a.StatusCode, reply)
	}
	return reply.Message
}

func (s *site) eventually(what string, ok func() bool) {
	s.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Fatalf("%s did not happen; log:\n%s", what, s.log)
		}
	}
}

// broken is a store in trouble.
type broken struct{ err error }

func (b broken) Put(context.Context, string, io.Reader) (storage.Stored, error) {
	return storage.Stored{}, b.err
}
func (b broken) Open(context.Context, string) (*storage.Object, error) { return nil, b.err }
func (b broken) Check(context.Context) error                           { return b.err }

func TestHealth(t *testing.T) {
	if a := newSite(t, nil).get("/health"); a.StatusCode != http.StatusOK || !strings.Contains(string(a.body), `"status":"ok"`) {
		t.Errorf("healthy: %d %s", a.StatusCode, a.body)
	}
	s := newSiteOn(t, broken{errors.New("/data: read-only")}, nil)
	if a := s.get("/health"); a.StatusCode != http.StatusServiceUnavailable || strings.Contains(string(a.body), "/data") {
		t.Errorf("unhealthy: %d %s", a.StatusCode, a.body)
	}
	if !strings.Contains(s.log.String(), "/data: read-only") {
		t.Error("the reason is not in the log")
	}
}

func TestMetrics(t *testing.T) {
	s := newSite(t, nil)
	s.get(s.upload("a.png", png))
	s.get("/nowhere")
	// The counters are written after the answer has left.
	s.eventually("counting", func() bool {
		text := string(s.get("/metrics").body)
		for _, line := range []string{
			`tgstate_http_requests_total{route="upload",method="POST",code="200"} 1`,
			`tgstate_http_requests_total{route="file",method="GET",code="200"} 1`,
			`tgstate_http_requests_total{route="other",method="GET",code="404"} 1`,
			`tgstate_http_sent_bytes_total{route="file"} 12008`,
			`tgstate_uploads_total{result="stored"} 1`,
			`tgstate_upload_bytes_total 12008`,
			`tgstate_http_request_seconds_count{route="file"} 1`,
		} {
			if !strings.Contains(text, line+"\n") {
				return false
			}
		}
		return true
	})
}

func TestLogHoldsNoSecrets(t *testing.T) {
	s := newSite(t, func(c *config.Config) { c.Pass = "s3cret" })
	s.post("/api?pass=s3cret", "image", "a.png", png)
	s.post("/api?pass=s3cret-but-wrong", "image", "a.png", png, "Cookie", "p=s3cret")
	s.get("/?pass=s3cret", "Authorization", "Bearer s3cret")
	s.eventually("logging", func() bool { return strings.Count(s.log.String(), `"msg":"request"`) == 3 })
	if strings.Contains(s.log.String(), "s3cret") {
		t.Errorf("the log holds the password:\n%s", s.log)
	}
	for _, line := range strings.Split(strings.TrimSpace(s.log.String()), "\n") {
		if !json.Valid([]byte(line)) {
			t.Errorf("not JSON: %s", line)
		}
	}
}

func TestPanicIsA500(t *testing.T) {
	s := newSiteOn(t, nil, nil) // a nil store panics when it is used
	if a := s.get("/d/AAAAAAAAAAAAAAAA"); a.StatusCode != http.StatusInternalServerError {
		t.Errorf("got %d", a.StatusCode)
	}
	s.eventually("logging", func() bool { return strings.Contains(s.log.String(), `"msg":"panic"`) })
}

func TestRequestID(t *testing.T) {
	s := newSite(t, nil)
	if got := s.get("/health", "X-Request-Id", "abc-1.2_3").Header.Get("X-Request-Id"); got != "abc-1.2_3" {
		t.Errorf("a proxy's id became %q", got)
	}
	if got := s.get("/health", "X-Request-Id", `"}{`).Header.Get("X-Request-Id"); len(got) < 20 || strings.ContainsAny(got, `"{`) {
		t.Errorf("a hostile id became %q", got)
	}
}
