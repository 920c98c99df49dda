package web

import (
	"encoding/json"
	"html"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"regexp"
	"sort"
	"strings"
	"testing"

	"tgstate/internal/config"
)

func TestLanguage(t *testing.T) {
	for header, want := range map[string]string{
		"":                              "en",
		"zh-CN,zh;q=0.9,en;q=0.8":       "zh",
		"en-GB,en;q=0.9,zh;q=0.8":       "en",
		"fr,zh-TW;q=0.5":                "zh",
		"fr":                            "en",
		"en;q=0.1, zh;q=nonsense":       "en",
		"ZH-hans":                       "zh",
		"zh;q=0,en;q=0":                 "en",
		strings.Repeat("en,", 5000):     "en",
		"de-DE;q=1.0, zh-Hant-HK;q=0.3": "zh",
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set("Accept-Language", header)
		if got := language(r); got != want {
			t.Errorf("%.40q: %s", header, got)
		}
	}
	r := httptest.NewRequest(http.MethodGet, "/?lang=zh", nil)
	r.Header.Set("Accept-Language", "en")
	if got := language(r); got != "zh" {
		t.Errorf("?lang=zh: %s", got)
	}
}

func TestTextsAreComplete(t *testing.T) {
	keys := func(lang string) string {
		var out []string
		for k := range texts[lang] {
			out = append(out, k)
		}
		sort.Strings(out)
		return strings.Join(out, " ")
	}
	if keys("en") != keys("zh") {
		t.Errorf("en: %s\nzh: %s", keys("en"), keys("zh"))
	}
	for _, name := range []string{"index.html", "pwd.html", "head.html", "app.js"} {
		source, err := assets.ReadFile("assets/" + name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`(?:\.T|texts)\.(\w+)`).FindAllStringSubmatch(string(source), -1) {
			if _, ok := texts["en"][m[1]]; !ok {
				t.Errorf("%s: no text %q", name, m[1])
			}
		}
	}
}

func TestUploadPage(t *testing.T) {
	s := newSite(t, nil)
	a := s.get("/", "Accept-Language", "zh-CN")
	page := string(a.body)
	if a.StatusCode != http.StatusOK || !strings.Contains(page, `lang="zh-CN"`) || !strings.Contains(page, "把文件拖到这里") {
		t.Errorf("%d %s", a.StatusCode, page)
	}
	policy := a.Header.Get("Content-Security-Policy")
	if !strings.HasPrefix(policy, "default-src 'none'; script-src 'self'") || strings.Contains(policy, "unsafe") {
		t.Errorf("policy %q", policy)
	}
	embedded := regexp.MustCompile(`(?s)id="texts">(.*?)</script>`).FindStringSubmatch(page)
	var got map[string]string
	if embedded == nil || json.Unmarshal([]byte(embedded[1]), &got) != nil || got["retry"] != "重试" {
		t.Errorf("texts: %v", embedded)
	}
	links := regexp.MustCompile(`(?:src|href)="([^"]+)"`).FindAllStringSubmatch(page, -1)
	if len(links) < 4 {
		t.Fatalf("links %v", links)
	}
	for _, m := range links {
		target := html.UnescapeString(m[1])
		if strings.HasPrefix(target, "?") {
			continue
		}
		if !strings.HasPrefix(target, "/assets/") {
			t.Errorf("the page loads %s", target)
		}
		asset := s.get(target)
		if asset.StatusCode != http.StatusOK || !strings.Contains(asset.Header.Get("Cache-Control"), "immutable") {
			t.Errorf("%s: %d", target, asset.StatusCode)
		}
	}
	if a := s.get("/assets/index.html"); a.StatusCode != http.StatusNotFound {
		t.Errorf("a template is served: %d", a.StatusCode)
	}
}

func TestSignIn(t *testing.T) {
	s := newSite(t, func(c *config.Config) { c.Pass = "s3cret"; c.URL = "https://img.example.com" })
	for _, path := range []string{"/", "/?pass=s3cret"} {
		if a := s.get(path); a.StatusCode != http.StatusSeeOther || a.Header.Get("Location") != "/pwd" {
			t.Errorf("%s without a cookie: %d %s", path, a.StatusCode, a.Header.Get("Location"))
		}
	}
	send := func(password string) answer {
		body := strings.NewReader(url.Values{"p": {password}}.Encode())
		return s.do(http.MethodPost, "/pwd", body, "Content-Type", "application/x-www-form-urlencoded")
	}
	if a := s.get("/pwd"); a.StatusCode != http.StatusOK || !strings.Contains(string(a.body), `name="p"`) {
		t.Errorf("form: %d", a.StatusCode)
	}
	if a := send("wrong"); a.StatusCode != http.StatusUnauthorized || len(a.Cookies()) != 0 || !strings.Contains(string(a.body), "Wrong password") {
		t.Errorf("wrong password: %d", a.StatusCode)
	}
	a := send("s3cret")
	if a.StatusCode != http.StatusSeeOther || len(a.Cookies()) != 1 {
		t.Fatalf("right password: %d %v", a.StatusCode, a.Header)
	}
	c := a.Cookies()[0]
	if c.Name != "p" || !c.HttpOnly || !c.Secure || c.SameSite != http.SameSiteLaxMode || strings.Contains(c.Value, "s3cret") {
		t.Errorf("cookie %+v", c)
	}
	cookie := c.Name + "=" + c.Value
	if a := s.get("/", "Cookie", cookie); a.StatusCode != http.StatusOK {
		t.Errorf("with the cookie: %d", a.StatusCode)
	}
	if a, _ := s.post("/api", "image", "a", png, "Cookie", cookie); a.StatusCode != http.StatusOK {
		t.Errorf("upload with the cookie: %d", a.StatusCode)
	}
	for range 12 {
		a = send("guess")
	}
	if a.StatusCode != http.StatusTooManyRequests || a.Header.Get("Retry-After") == "" {
		t.Errorf("guessing: %d", a.StatusCode)
	}
}

func TestNoPasswordNoForm(t *testing.T) {
	if a := newSite(t, nil).get("/pwd?lang=zh"); a.StatusCode != http.StatusSeeOther || a.Header.Get("Location") != "/?lang=zh" {
		t.Errorf("%d %s", a.StatusCode, a.Header.Get("Location"))
	}
}

func TestClientBehindProxies(t *testing.T) {
	s := &Server{config: config.Config{TrustedProxies: config.Proxies{Networks: []netip.Prefix{
		netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("127.0.0.1/32"),
	}}}}
	for _, c := range []struct{ peer, forwarded, want string }{
		{"192.0.2.1:5", "203.0.113.9", "192.0.2.1"}, // not a proxy of ours: its header is worth nothing
		{"10.1.2.3:5", "", "10.1.2.3"},
		{"10.1.2.3:5", "203.0.113.9", "203.0.113.9"},
		{"10.1.2.3:5", "1.1.1.1, 203.0.113.9, 10.9.9.9", "203.0.113.9"},
		{"10.1.2.3:5", "junk, 10.9.9.9", "10.9.9.9"},
		{"[::ffff:127.0.0.1]:5", "203.0.113.9", "203.0.113.9"},
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.RemoteAddr = c.peer
		r.Header.Set("X-Forwarded-For", c.forwarded)
		r.Header.Set("X-Forwarded-Proto", "https")
		if got := s.clientIP(r).String(); got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
		if want := c.peer[:3] != "192"; (s.scheme(r) == "https") != want {
			t.Errorf("%+v: scheme %s", c, s.scheme(r))
		}
	}
}

func TestClientBehindANumberOfProxies(t *testing.T) {
	gateway := netip.MustParsePrefix("172.18.0.1/32")
	for _, c := range []struct {
		hops            int
		forwarded, want string
		https           bool
	}{
		{0, "203.0.113.9", "172.18.0.1", false},
		{1, "203.0.113.9", "203.0.113.9", true},
		{1, "1.1.1.1, 203.0.113.9", "203.0.113.9", true}, // what a visitor says of itself counts for nothing
		{1, "", "172.18.0.1", true},
		{1, "junk", "172.18.0.1", true},
		{2, "1.1.1.1, 203.0.113.9, 10.9.9.9", "203.0.113.9", false},
		{2, "203.0.113.9", "172.18.0.1", false},
	} {
		s := &Server{config: config.Config{TrustedProxies: config.Proxies{Hops: c.hops}}}
		if c.hops > 0 {
			s.config.TrustedProxies.Networks = []netip.Prefix{gateway}
		}
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.RemoteAddr = "172.18.0.1:5"
		r.Header.Set("X-Forwarded-For", c.forwarded)
		r.Header.Set("X-Forwarded-Proto", "https")
		if got := s.clientIP(r).String(); got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
		if (s.scheme(r) == "https") != c.https {
			t.Errorf("%+v: scheme %s", c, s.scheme(r))
		}
	}
}

func TestAnotherContainerIsNoProxy(t *testing.T) {
	for _, hops := range []int{0, 1, 2} {
		s := &Server{config: config.Config{TrustedProxies: config.Proxies{Hops: hops, Networks: []netip.Prefix{
			netip.MustParsePrefix("172.18.0.1/32"),
		}}}}
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.RemoteAddr = "172.18.0.7:5"
		r.Header.Set("X-Forwarded-For", "203.0.113.9, 203.0.113.8")
		r.Header.Set("X-Forwarded-Proto", "https, https")
		if got := s.clientIP(r).String(); got != "172.18.0.7" {
			t.Errorf("%d: %s", hops, got)
		}
		if got := s.scheme(r); got != "http" {
			t.Errorf("%d: %s", hops, got)
		}
	}
}
