package web

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"tgstate/internal/config"
	"tgstate/internal/storage"
)

func TestUploadAnswersAsTgStateDoes(t *testing.T) {
	s := newSite(t, nil)
	body, contentType := form(t, "image", "a.png", png)
	a := s.do(http.MethodPost, "/api", body, "Content-Type", contentType)
	path := s.upload("b.png", png)
	want := fmt.Sprintf(`{"code":1,"message":"%s","url":"%s%s","imgUrl":"%s%s"}`, path, s.url, path, s.url, path)
	if got := strings.TrimSpace(string(a.body)); got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
	if a.Header.Get("Access-Control-Allow-Origin") != "*" || !strings.HasPrefix(a.Header.Get("Content-Type"), "application/json") {
		t.Errorf("headers %v", a.Header)
	}
	if got := s.get(path); !bytes.Equal(got.body, png) {
		t.Error("other bytes came back")
	}
}

func TestTinyFiles(t *testing.T) {
	s := newSite(t, nil)
	for n := 1; n <= 13; n++ {
		data := bytes.Repeat([]byte("x"), n)
		if got := s.get(s.upload("t", data)); !bytes.Equal(got.body, data) {
			t.Errorf("%d bytes came back as %q", n, got.body)
		}
	}
}

func TestLinksBeginWithTheSetting(t *testing.T) {
	s := newSite(t, func(c *config.Config) { c.URL = "https://img.example.com" })
	if _, reply := s.post("/api", "image", "a", png); reply.URL != "https://img.example.com"+reply.Message {
		t.Errorf("url %q", reply.URL)
	}
}

func TestRefusedUploads(t *testing.T) {
	s := newSite(t, func(c *config.Config) { c.MaxSize = 100 })
	for name, c := range map[string]struct {
		field, file string
		size        int
		want        int
	}{
		"other field":                          {"file", "a", 10, http.StatusBadRequest},
		"no file":                              {"image", "", 10, http.StatusBadRequest},
		"empty":                                {"image", "a", 0, http.StatusBadRequest},
		"largest":                              {"image", "a", 100, http.StatusOK},
		"too large":                            {"image", "a", 101, http.StatusRequestEntityTooLarge},
		"far too large, refused by its length": {"image", "a", 100 + formOverhead, http.StatusRequestEntityTooLarge},
	} {
		a, reply := s.post("/api", c.field, c.file, bytes.Repeat([]byte("x"), c.size))
		if a.StatusCode != c.want || (reply.Code == 1) != (c.want == http.StatusOK) || reply.Message == "" {
			t.Errorf("%s: %d %+v", name, a.StatusCode, reply)
		}
	}
	for contentType, want := range map[string]int{
		"application/json":                 http.StatusUnsupportedMediaType,
		"multipart/form-data":              http.StatusUnsupportedMediaType,
		"multipart/form-data; boundary=xx": http.StatusBadRequest,
	} {
		a := s.do(http.MethodPost, "/api", strings.NewReader(`{"image":"x"}`), "Content-Type", contentType)
		if a.StatusCode != want || !strings.Contains(string(a.body), `"code":0`) {
			t.Errorf("%s: %d %s", contentType, a.StatusCode, a.body)
		}
	}
	for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodDelete} {
		if a := s.do(method, "/api", nil); a.StatusCode != http.StatusMethodNotAllowed || a.Header.Get("Allow") == "" {
			t.Errorf("%s: %d", method, a.StatusCode)
		}
	}
}

// A body without a length is only found too large while it is read.
func TestChunkedUploadTooLarge(t *testing.T) {
	s := newSite(t, func(c *config.Config) { c.MaxSize = 100 })
	body, contentType := form(t, "image", "a", bytes.Repeat([]byte("x"), 3*formOverhead))
	a := s.do(http.MethodPost, "/api", io.MultiReader(body), "Content-Type", contentType)
	if a.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("got %d %s", a.StatusCode, a.body)
	}
}

func TestServeOnlyMode(t *testing.T) {
	s := newSite(t, func(c *config.Config) { c.Mode = config.ModeServe })
	if a, reply := s.post("/api", "image", "a", png); a.StatusCode != http.StatusForbidden || reply.Code != 0 {
		t.Errorf("upload: %d %+v", a.StatusCode, reply)
	}
	if a := s.get("/"); a.StatusCode != http.StatusOK || bytes.Contains(a.body, []byte("<form")) {
		t.Errorf("page: %d %s", a.StatusCode, a.body)
	}
}

func TestStorageTrouble(t *testing.T) {
	for _, c := range []struct {
		err       error
		put, open int
		wait      string
	}{
		{fmt.Errorf("x: %w", storage.ErrFull), 507, 502, ""},
		{&storage.UnavailableError{RetryAfter: 90 * time.Second, Err: errors.New("flood")}, 503, 503, "91"},
		{errors.New("disk on fire"), 500, 502, ""},
	} {
		s := newSiteOn(t, broken{c.err}, nil)
		a, reply := s.post("/api", "image", "a", png)
		if a.StatusCode != c.put || reply.Code != 0 || a.Header.Get("Retry-After") != c.wait {
			t.Errorf("%v: %d %+v %v", c.err, a.StatusCode, reply, a.Header)
		}
		if strings.Contains(reply.Message, "fire") {
			t.Errorf("the answer tells too much: %s", reply.Message)
		}
		if a := s.get("/d/AAAAAAAAAAAAAAAA"); a.StatusCode != c.open || a.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%v: open %d", c.err, a.StatusCode)
		}
	}
}

func TestPasswordForUploads(t *testing.T) {
	s := newSite(t, func(c *config.Config) { c.Pass = "s3cret" })
	for _, c := range []struct {
		query, header, value string
		want                 int
	}{
		{"", "X", "", http.StatusUnauthorized},
		{"?pass=wrong", "X", "", http.StatusUnauthorized},
		{"?pass=s3cret", "X", "", http.StatusOK},
		{"", "Authorization", "Bearer s3cret", http.StatusOK},
		{"", "Cookie", "p=s3cret", http.StatusOK},
	} {
		a, reply := s.post("/api"+c.query, "image", "a.png", png, c.header, c.value)
		if a.StatusCode != c.want || (reply.Code == 1) != (c.want == http.StatusOK) {
			t.Errorf("%s %s: %d %+v", c.query, c.header, a.StatusCode, reply)
		}
	}
	// What tgState answers with an empty 200.
	if a := s.do(http.MethodPost, "/api?pass=s3cret", nil); a.StatusCode != http.StatusUnsupportedMediaType || len(a.body) == 0 {
		t.Errorf("no body: %d %q", a.StatusCode, a.body)
	}
}

func TestGuessingIsAnsweredWith429(t *testing.T) {
	s := newSite(t, func(c *config.Config) { c.Pass = "s3cret" })
	last := 0
	for range 12 {
		a, _ := s.post("/api?pass=guess", "image", "a", png)
		if last = a.StatusCode; last == http.StatusTooManyRequests && a.Header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
	}
	if last != http.StatusTooManyRequests {
		t.Errorf("the twelfth guess was answered with %d", last)
	}
}

// A client that goes away in the middle of a file leaves nothing behind.
func TestBrokenOffUploadStoresNothing(t *testing.T) {
	s := newSite(t, nil)
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(conn, "POST /api HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: 1000\r\n\r\n"+
		"--b\r\nContent-Disposition: form-data; name=\"image\"; filename=\"a\"\r\n\r\nhalf of the fi")
	s.eventually("the upload", func() bool { return len(s.srv.uploads) == 1 })
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	s.eventually("the end of the upload", func() bool { return strings.Contains(s.log.String(), `"status":400`) })
	if text := string(s.get("/metrics").body); !strings.Contains(text, "tgstate_upload_bytes_total 0\n") {
		t.Error("something was stored")
	}
}

func TestUploadsAtOnceAreLimited(t *testing.T) {
	s := newSite(t, nil)
	for range maxUploads {
		s.srv.uploads <- struct{}{}
	}
	a, reply := s.post("/api", "image", "a", png)
	if a.StatusCode != http.StatusServiceUnavailable || a.Header.Get("Retry-After") == "" || reply.Code != 0 {
		t.Errorf("got %d %+v", a.StatusCode, reply)
	}
}

func TestTricklingIsCutOff(t *testing.T) {
	if got := transferTime(0); got != transferGrace {
		t.Errorf("nothing came: %v", got)
	}
	if got := transferTime(100 << 20); got < 3*time.Hour || got > 4*time.Hour {
		t.Errorf("100 MiB: %v", got)
	}
	server, client := net.Pipe()
	defer client.Close()
	rec := deadlined{httptest.NewRecorder(), server}
	body := &pacedReader{r: server, rc: http.NewResponseController(rec), start: time.Now().Add(-transferGrace)}
	if _, err := body.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a client that sent nothing for %v: %v", transferGrace, err)
	}
}

type deadlined struct {
	*httptest.ResponseRecorder
	net.Conn
}

func (d deadlined) Write(p []byte) (int, error)         { return d.ResponseRecorder.Write(p) }
func (d deadlined) SetReadDeadline(at time.Time) error  { return d.Conn.SetReadDeadline(at) }
func (d deadlined) SetWriteDeadline(at time.Time) error { return d.Conn.SetWriteDeadline(at) }

func TestPreflight(t *testing.T) {
	a := newSite(t, nil).do(http.MethodOptions, "/api", nil, "Origin", "https://example.com")
	if a.StatusCode != http.StatusNoContent || a.Header.Get("Access-Control-Allow-Methods") != "POST" ||
		a.Header.Get("Access-Control-Allow-Credentials") != "" {
		t.Errorf("%d %v", a.StatusCode, a.Header)
	}
}
