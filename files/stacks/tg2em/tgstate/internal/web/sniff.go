package web

import (
	"bytes"
	"net/http"
	"strings"
)

const sniffSize = 512

// kind is how a file is served.
type kind struct {
	contentType string
	extension   string
	inline      bool
}

var download = kind{"application/octet-stream", ".bin", false}

// Types that browsers show without running anything in them.
var inlineTypes = map[string]string{
	"image/png": ".png", "image/jpeg": ".jpg", "image/gif": ".gif", "image/webp": ".webp",
	"image/bmp": ".bmp", "image/x-icon": ".ico", "image/avif": ".avif",
	"video/mp4": ".mp4", "video/webm": ".webm",
	"audio/mpeg": ".mp3", "audio/wave": ".wav", "application/ogg": ".ogg", "audio/aiff": ".aiff",
}

// Types worth naming although they are downloaded.
var attachmentTypes = map[string]string{
	"application/pdf": ".pdf", "application/zip": ".zip", "application/x-gzip": ".gz",
	"application/x-rar-compressed": ".rar", "image/heic": ".heic",
}

// sniff looks at the first bytes only: neither the client's word nor the file's name counts.
func sniff(head []byte) kind {
	if k, ok := sniffMarkup(head); ok {
		return k
	}
	if t := sniffISO(head); t != "" {
		if ext, ok := inlineTypes[t]; ok {
			return kind{t, ext, true}
		}
		return kind{t, attachmentTypes[t], false}
	}
	full := http.DetectContentType(head)
	t, _, _ := strings.Cut(full, ";")
	if ext, ok := inlineTypes[t]; ok {
		return kind{t, ext, true}
	}
	if ext, ok := attachmentTypes[t]; ok {
		return kind{t, ext, false}
	}
	if strings.HasPrefix(t, "text/") {
		// Also HTML and XML that were not caught above: shown as text, never as a page.
		if _, charset, ok := strings.Cut(full, ";"); ok {
			return kind{"text/plain;" + charset, ".txt", true}
		}
		return kind{"text/plain; charset=utf-8", ".txt", true}
	}
	return download
}

// sniffMarkup recognises SVG. It keeps its type, because <img> shows it (and runs no script
// there), but opened by itself it is downloaded.
func sniffMarkup(head []byte) (kind, bool) {
	text := bytes.TrimLeft(bytes.TrimPrefix(head, []byte("\xef\xbb\xbf")), " \t\r\n")
	if !bytes.HasPrefix(text, []byte("<")) || bytes.IndexByte(text, 0) >= 0 {
		return kind{}, false
	}
	lower := bytes.ToLower(text)
	if bytes.Contains(lower, []byte("<svg")) && !bytes.Contains(lower, []byte("<html")) {
		return kind{"image/svg+xml", ".svg", false}, true
	}
	return kind{}, false
}

// sniffISO tells apart the pictures that share MP4's container, which net/http does not know.
func sniffISO(head []byte) string {
	if len(head) < 12 || string(head[4:8]) != "ftyp" {
		return ""
	}
	switch string(head[8:12]) {
	case "avif", "avis":
		return "image/avif"
	case "heic", "heix", "hevc", "heim", "heis", "mif1", "msf1":
		return "image/heic"
	case "isom", "iso2", "iso4", "iso5", "iso6", "mp41", "mp42", "avc1", "dash", "M4V ":
		return "video/mp4"
	}
	return ""
}
