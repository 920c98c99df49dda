package telegram

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
)

const botToken = "123456:AAsecretTOKEN"

type upload struct {
	chat, name string
	data       []byte
}

// botAPI behaves like the Bot API for the methods that the store uses.
type botAPI struct {
	t   *testing.T
	url string

	mu        sync.Mutex
	files     []upload
	calls     map[string]int
	flood     int // answer this many sendDocuments with 429
	floodWait int
	fail      int      // answer this many sendDocuments with 502
	cutAfter  int64    // break off downloads after this many bytes
	cuts      int      // … this often
	noRanges  bool     // ignore Range
	pathAge   int      // part of the download path; older ones are refused
	ranges    []string // the Range header of every download
}

func newBotAPI(t *testing.T) *botAPI {
	t.Helper()
	b := &botAPI{t: t, calls: map[string]int{}}
	srv := httptest.NewServer(b)
	t.Cleanup(srv.Close)
	b.url = srv.URL
	return b
}

func fileID(n int) string { return fmt.Sprintf("BQACAgUAAx0E%04d-_", n) }

func answer(w http.ResponseWriter, result any) {
	_ = json.NewEncoder(w).Encode(map[string]any{"ok": true, "result": result})
}

func refuse(w http.ResponseWriter, code int, text string, params map[string]any) {
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(map[string]any{"ok": false, "error_code": code, "description": text, "parameters": params})
}

func (b *botAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if path, ok := strings.CutPrefix(r.URL.Path, "/file/bot"+botToken+"/"); ok {
		b.download(w, r, path)
		return
	}
	method, ok := strings.CutPrefix(r.URL.Path, "/bot"+botToken+"/")
	if !ok {
		refuse(w, http.StatusUnauthorized, "Unauthorized", nil)
		return
	}
	b.mu.Lock()
	b.calls[method]++
	b.mu.Unlock()
	switch method {
	case "getMe":
		answer(w, map[string]any{"id": 123456, "is_bot": true})
	case "sendDocument":
		b.sendDocument(w, r)
	case "getFile":
		b.getFile(w, r)
	default:
		refuse(w, http.StatusNotFound, "Not Found", nil)
	}
}

func (b *botAPI) sendDocument(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength <= 0 {
		b.t.Error("sendDocument without a length")
	}
	file, header, err := r.FormFile("document")
	if err != nil {
		refuse(w, http.StatusBadRequest, err.Error(), nil)
		return
	}
	data, err := io.ReadAll(file)
	if err != nil {
		b.t.Errorf("reading the document: %v", err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.flood > 0:
		b.flood--
		refuse(w, http.StatusTooManyRequests, "Too Many Requests", map[string]any{"retry_after": b.floodWait})
	case b.fail > 0:
		b.fail--
		http.Error(w, "<html>bad gateway</html>", http.StatusBadGateway)
	case r.FormValue("disable_content_type_detection") != "true":
		refuse(w, http.StatusBadRequest, "would become a sticker", nil)
	default:
		b.files = append(b.files, upload{r.FormValue("chat_id"), header.Filename, data})
		answer(w, map[string]any{"message_id": 1, "document": map[string]any{"file_id": fileID(len(b.files) - 1)}})
	}
}

func (b *botAPI) getFile(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for n, f := range b.files {
		if fileID(n) == r.FormValue("file_id") {
			answer(w, map[string]any{"file_size": len(f.data), "file_path": fmt.Sprintf("documents/%d/file_%d.bin", b.pathAge, n)})
			return
		}
	}
	refuse(w, http.StatusBadRequest, "Bad Request: wrong file_id", nil)
}

func (b *botAPI) download(w http.ResponseWriter, r *http.Request, path string) {
	b.mu.Lock()
	b.calls["download"]++
	b.ranges = append(b.ranges, r.Header.Get("Range"))
	var age, n int
	if _, err := fmt.Sscanf(path, "documents/%d/file_%d.bin", &age, &n); err != nil || age != b.pathAge || n >= len(b.files) {
		b.mu.Unlock()
		refuse(w, http.StatusNotFound, "Not Found", nil)
		return
	}
	data := b.files[n].data
	cut := int64(0)
	if b.cuts > 0 {
		b.cuts--
		cut = b.cutAfter
	}
	noRanges := b.noRanges
	b.mu.Unlock()
	if from, ok := strings.CutPrefix(r.Header.Get("Range"), "bytes="); ok && !noRanges {
		start, err := strconv.Atoi(strings.TrimSuffix(from, "-"))
		if err != nil {
			b.t.Errorf("Range %q", from)
		}
		data = data[start:]
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", start, start+len(data)-1, start+len(data)))
		w.Header().Set("Content-Length", strconv.Itoa(len(data)))
		w.WriteHeader(http.StatusPartialContent)
	} else {
		w.Header().Set("Content-Length", strconv.Itoa(len(data)))
	}
	if cut > 0 && cut < int64(len(data)) {
		_, _ = w.Write(data[:cut])
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
	_, _ = w.Write(data)
}

func (b *botAPI) count(method string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.calls[method]
}
