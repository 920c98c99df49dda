package web

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"html/template"
	"net/http"
	"path"
	"strconv"
	"strings"
	"time"

	"tgstate/internal/auth"
	"tgstate/internal/config"
)

//go:embed assets
var assets embed.FS

const (
	pagePolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; " +
		"connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
	maxPassword = 4 << 10
)

// pages holds the templates and the static files with names that change with their content.
type pages struct {
	templates *template.Template
	static    map[string]staticFile
	urls      map[string]string
}

type staticFile struct {
	data        []byte
	contentType string
}

var staticTypes = map[string]string{
	".css": "text/css; charset=utf-8",
	".js":  "text/javascript; charset=utf-8",
	".svg": "image/svg+xml",
}

// newPages panics on a broken template: it is part of the binary, so any start shows it.
func newPages() *pages {
	p := &pages{static: map[string]staticFile{}, urls: map[string]string{}}
	entries, err := assets.ReadDir("assets")
	if err != nil {
		panic(err)
	}
	for _, e := range entries {
		ext := path.Ext(e.Name())
		contentType, ok := staticTypes[ext]
		if !ok {
			continue
		}
		data, err := assets.ReadFile("assets/" + e.Name())
		if err != nil {
			panic(err)
		}
		sum := sha256.Sum256(data)
		name := strings.TrimSuffix(e.Name(), ext) + "." + hex.EncodeToString(sum[:6]) + ext
		p.static[name] = staticFile{data, contentType}
		p.urls[e.Name()] = "/assets/" + name
	}
	funcs := template.FuncMap{"asset": func(name string) string { return p.urls[name] }}
	p.templates = template.Must(template.New("").Funcs(funcs).ParseFS(assets, "assets/*.html"))
	return p
}

func (s *Server) asset(w http.ResponseWriter, r *http.Request) {
	f, ok := s.pages.static[r.PathValue("name")]
	if !ok {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", f.contentType)
	w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(f.data))
}

type pageData struct {
	Lang, Other string // language of the page, and the one it links to
	T           map[string]string
	MaxSize     int64
	MaxSizeText string
	Accepts     bool // uploads are switched on
	Error       string
}

func (s *Server) render(w http.ResponseWriter, r *http.Request, status int, name string, fill func(*pageData)) {
	lang := language(r)
	data := pageData{
		Lang: lang, Other: map[string]string{"zh": "en", "en": "zh"}[lang], T: texts[lang],
		MaxSize: s.config.MaxSize, MaxSizeText: sizeText(s.config.MaxSize), Accepts: s.config.Mode == config.ModeDrive,
	}
	if fill != nil {
		fill(&data)
	}
	var buf bytes.Buffer
	if err := s.pages.templates.ExecuteTemplate(&buf, name, data); err != nil {
		panic(err)
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", pagePolicy)
	h.Set("Content-Language", map[string]string{"zh": "zh-CN", "en": "en"}[lang])
	h.Set("Referrer-Policy", "same-origin")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Cache-Control", "no-store")
	h.Set("Vary", "Accept-Language, Cookie")
	w.WriteHeader(status)
	_, _ = w.Write(buf.Bytes())
}

func sizeText(n int64) string {
	switch {
	case n >= 1<<30 && n%(1<<30) == 0:
		return strconv.FormatInt(n>>30, 10) + " GiB"
	case n >= 1<<20:
		return strconv.FormatInt(n>>20, 10) + " MiB"
	}
	return strconv.FormatInt(n>>10, 10) + " KiB"
}

func (s *Server) index(w http.ResponseWriter, r *http.Request) {
	if s.config.Mode == config.ModeDrive {
		// Passwords in the query are for the API; a page's address ends up in histories.
		visitor := r.Clone(r.Context())
		visitor.URL.RawQuery = ""
		if verdict, _ := s.gate.Check(visitor, s.clientIP(r)); verdict != auth.Allowed {
			http.Redirect(w, r, withLanguage("/pwd", r), http.StatusSeeOther)
			return
		}
	}
	s.render(w, r, http.StatusOK, "index.html", nil)
}

func (s *Server) passwordForm(w http.ResponseWriter, r *http.Request) {
	if s.gate.Open() || s.config.Mode == config.ModeServe {
		http.Redirect(w, r, withLanguage("/", r), http.StatusSeeOther)
		return
	}
	s.render(w, r, http.StatusOK, "pwd.html", nil)
}

func (s *Server) passwordSent(w http.ResponseWriter, r *http.Request) {
	if s.gate.Open() {
		http.Redirect(w, r, withLanguage("/", r), http.StatusSeeOther)
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxPassword)
	given := r.PostFormValue("p") // tgState's name of the field
	verdict, wait := s.gate.Try(given, s.clientIP(r))
	switch verdict {
	case auth.Allowed:
		http.SetCookie(w, s.gate.Cookie(s.secureCookies(r)))
		http.Redirect(w, r, withLanguage("/", r), http.StatusSeeOther)
	case auth.Limited:
		s.metrics.authFailures.Inc("limited")
		w.Header().Set("Retry-After", strconv.Itoa(int(wait.Seconds()+1)))
		s.render(w, r, http.StatusTooManyRequests, "pwd.html", func(d *pageData) { d.Error = d.T["limited"] })
	default:
		s.metrics.authFailures.Inc("wrong")
		s.render(w, r, http.StatusUnauthorized, "pwd.html", func(d *pageData) { d.Error = d.T["wrong"] })
	}
}
