package web

import (
	"bytes"
	"net/http"
	"strings"
	"testing"
)

func TestFileHeaders(t *testing.T) {
	s := newSite(t, nil)
	path := s.upload("a.png", png)
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		a := s.do(method, path, nil)
		for name, want := range map[string]string{
			"Content-Type":           "image/png",
			"Content-Disposition":    "inline",
			"Content-Length":         "12008",
			"X-Content-Type-Options": "nosniff",
			"Cache-Control":          "public, max-age=31536000, immutable",
			"Etag":                   `"` + strings.TrimPrefix(path, "/d/") + `"`,
			"Accept-Ranges":          "bytes",
		} {
			if got := a.Header.Get(name); got != want {
				t.Errorf("%s %s: %q, want %q", method, name, got, want)
			}
		}
		if !strings.Contains(a.Header.Get("Content-Security-Policy"), "sandbox") {
			t.Errorf("%s: no sandbox", method)
		}
		if (method == http.MethodHead) != (len(a.body) == 0) {
			t.Errorf("%s: %d bytes of body", method, len(a.body))
		}
	}
	if a := s.get(path + ".png"); a.StatusCode != http.StatusOK || !bytes.Equal(a.body, png) {
		t.Errorf("with an extension: %d", a.StatusCode)
	}
}

func TestConditionsAndRanges(t *testing.T) {
	s := newSite(t, nil)
	path := s.upload("a.png", png)
	tag := s.get(path).Header.Get("ETag")
	if a := s.get(path, "If-None-Match", tag); a.StatusCode != http.StatusNotModified || len(a.body) != 0 {
		t.Errorf("If-None-Match: %d", a.StatusCode)
	}
	if a := s.get(path, "If-None-Match", `"other"`); a.StatusCode != http.StatusOK {
		t.Errorf("other tag: %d", a.StatusCode)
	}
	for header, want := range map[string][2]int{
		"bytes=0-9": {0, 10}, "bytes=12000-": {12000, 12008}, "bytes=-8": {12000, 12008}, "bytes=510-515": {510, 516},
	} {
		a := s.get(path, "Range", header)
		if a.StatusCode != http.StatusPartialContent || !bytes.Equal(a.body, png[want[0]:want[1]]) {
			t.Errorf("%s: %d, %d bytes", header, a.StatusCode, len(a.body))
		}
	}
	if a := s.get(path, "Range", "bytes=99999-"); a.StatusCode != http.StatusRequestedRangeNotSatisfiable {
		t.Errorf("beyond the end: %d", a.StatusCode)
	}
	if a := s.get(path, "Range", "bytes=0-9", "If-Range", `"other"`); a.StatusCode != http.StatusOK {
		t.Errorf("If-Range: %d", a.StatusCode)
	}
}

func TestUnknownFiles(t *testing.T) {
	s := newSite(t, nil)
	for _, path := range []string{"/d/", "/d/x", "/d/AAAAAAAAAAAAAAAA", "/d/..%2f..%2fetc%2fpasswd", "/d/a/b", "/d/.png"} {
		if a := s.get(path); a.StatusCode != http.StatusNotFound || strings.Contains(a.Header.Get("Cache-Control"), "immutable") {
			t.Errorf("%s: %d %v", path, a.StatusCode, a.Header)
		}
	}
	if a := s.do(http.MethodDelete, "/d/AAAAAAAAAAAAAAAA", nil); a.StatusCode != http.StatusMethodNotAllowed && a.StatusCode != http.StatusNotFound {
		t.Errorf("DELETE: %d", a.StatusCode)
	}
}

func TestTypes(t *testing.T) {
	s := newSite(t, nil)
	script := "<script>alert(document.domain)</script>"
	for name, c := range map[string]struct {
		content, contentType, disposition string
	}{
		"jpeg":              {"\xff\xd8\xff\xe0rest", "image/jpeg", "inline"},
		"gif":               {"GIF89a" + script, "image/gif", "inline"},
		"webp":              {"RIFF\x10\x00\x00\x00WEBPVP8 ", "image/webp", "inline"},
		"avif":              {"\x00\x00\x00\x20ftypavif\x00\x00\x00\x00", "image/avif", "inline"},
		"heic":              {"\x00\x00\x00\x20ftypheic\x00\x00\x00\x00", "image/heic", "attachment"},
		"mp4":               {"\x00\x00\x00\x20ftypisom\x00\x00\x02\x00", "video/mp4", "inline"},
		"text":              {"plain words, 中文", "text/plain; charset=utf-8", "inline"},
		"html":              {"<!DOCTYPE html>" + script, "text/plain; charset=utf-8", "inline"},
		"html in disguise":  {"  <!-- GIF89a -->\n<html><body><svg>" + script, "text/plain; charset=utf-8", "inline"},
		"script only":       {script, "text/plain; charset=utf-8", "inline"},
		"xml":               {"<?xml version=\"1.0\"?><x/>", "text/plain; charset=utf-8", "inline"},
		"xhtml":             {"<?xml version=\"1.0\"?><html xmlns=\"http://www.w3.org/1999/xhtml\">" + script, "text/plain; charset=utf-8", "inline"},
		"svg":               {"<svg xmlns=\"http://www.w3.org/2000/svg\">" + script, "image/svg+xml", "attachment"},
		"svg with prologue": {"\xef\xbb\xbf\n<?xml version=\"1.0\"?><!-- x --><SVG>" + script, "image/svg+xml", "attachment"},
		"pdf":               {"%PDF-1.7\n", "application/pdf", "attachment"},
		"zip":               {"PK\x03\x04rest", "application/zip", "attachment"},
		"wasm":              {"\x00asm\x01\x00\x00\x00", "application/octet-stream", "attachment"},
		"binary":            {"\x00\x01\x02\x03", "application/octet-stream", "attachment"},
	} {
		a := s.get(s.upload("报告 1.docx", []byte(c.content)))
		disposition, params, _ := strings.Cut(a.Header.Get("Content-Disposition"), ";")
		if got := a.Header.Get("Content-Type"); got != c.contentType || disposition != c.disposition {
			t.Errorf("%s: %s, %s", name, got, disposition)
		}
		if disposition == "attachment" && !strings.Contains(params, "filename*=utf-8''%E6%8A%A5%E5%91%8A%201.docx") {
			t.Errorf("%s: the name is lost: %s", name, params)
		}
		if string(a.body) != c.content {
			t.Errorf("%s: other bytes came back", name)
		}
	}
}

// Whatever is uploaded, no browser may take it for something that runs.
func FuzzSniff(f *testing.F) {
	for _, seed := range []string{"", "<svg>", "<html>", "\x89PNG\r\n\x1a\n", "\x00\x00\x00\x20ftypavif", "%PDF-"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		k := sniff(data[:min(len(data), sniffSize)])
		t1, _, _ := strings.Cut(k.contentType, ";")
		_, known := inlineTypes[t1]
		if k.inline && !known && t1 != "text/plain" {
			t.Errorf("%q is shown as %s", data, k.contentType)
		}
		if k.extension == "" || strings.Contains(t1, "html") || strings.Contains(t1, "javascript") {
			t.Errorf("%q: %+v", data, k)
		}
	})
}
