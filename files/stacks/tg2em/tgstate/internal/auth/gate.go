// Package auth decides whether a request may upload.
package auth

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// CookieName is tgState's.
const CookieName = "p"

const (
	cookieVersion = "v1"
	cookieLife    = 30 * 24 * time.Hour
)

// Verdict is the outcome of a check.
type Verdict int

// Verdicts.
const (
	Allowed Verdict = iota
	Missing         // no password given
	Wrong
	Limited // too many wrong passwords from this address: not even compared
)

// Gate knows the password.
type Gate struct {
	pass    string
	nonce   []byte
	limiter *Limiter
	now     func() time.Time
}

// New returns a gate; an empty password lets everyone in.
func New(pass string) *Gate {
	nonce := make([]byte, 32)
	_, _ = rand.Read(nonce) // never fails, says its documentation
	return &Gate{pass: pass, nonce: nonce, limiter: NewLimiter(), now: time.Now}
}

// Open reports whether no password is needed.
func (g *Gate) Open() bool { return g.pass == "" }

// Check looks for the password in the cookie, the Authorization header and the query. With
// Limited comes the time to wait.
func (g *Gate) Check(r *http.Request, client netip.Addr) (Verdict, time.Duration) {
	if g.Open() {
		return Allowed, 0
	}
	cookie := ""
	if c, err := r.Cookie(CookieName); err == nil {
		cookie = c.Value
		if g.validToken(cookie) {
			return Allowed, 0
		}
	}
	for _, given := range []string{
		bearer(r.Header.Get("Authorization")),
		r.URL.Query().Get("pass"),
		plain(cookie), // what tgState itself put there, and scripts still send
	} {
		if given != "" {
			return g.Try(given, client)
		}
	}
	return Missing, 0
}

func bearer(header string) string {
	scheme, value, _ := strings.Cut(header, " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(value)
}

// plain filters out our own tokens: an expired one is no attempt to guess the password.
func plain(cookie string) string {
	if strings.HasPrefix(cookie, cookieVersion+".") {
		return ""
	}
	return cookie
}

// Try compares a password. Wrong ones count against the client's address.
func (g *Gate) Try(given string, client netip.Addr) (Verdict, time.Duration) {
	if wait := g.limiter.Take(client, g.now()); wait > 0 {
		return Limited, wait
	}
	if !g.equal(given) {
		return Wrong, 0
	}
	g.limiter.Refund(client)
	return Allowed, 0
}

// equal takes the same time whatever the lengths and wherever the difference is.
func (g *Gate) equal(given string) bool {
	a, b := g.mac(g.nonce, given), g.mac(g.nonce, g.pass)
	return subtle.ConstantTimeCompare(a, b) == 1
}

func (g *Gate) mac(key []byte, text string) []byte {
	m := hmac.New(sha256.New, key)
	m.Write([]byte(text))
	return m.Sum(nil)
}

// Cookie makes the cookie of someone who knows the password. It holds no password, expires, and
// is void once the password changes; no state is kept for it.
func (g *Gate) Cookie(secure bool) *http.Cookie {
	expires := g.now().Add(cookieLife)
	return &http.Cookie{
		Name:     CookieName,
		Value:    g.token(expires.Unix()),
		Path:     "/",
		Expires:  expires,
		MaxAge:   int(cookieLife / time.Second),
		HttpOnly: true,
		Secure:   secure,
		SameSite: http.SameSiteLaxMode,
	}
}

func (g *Gate) token(expires int64) string {
	head := cookieVersion + "." + strconv.FormatInt(expires, 10)
	sum := g.mac([]byte("tgstate cookie\x00"+g.pass), head)
	return head + "." + base64.RawURLEncoding.EncodeToString(sum)
}

func (g *Gate) validToken(value string) bool {
	fields := strings.Split(value, ".")
	if len(fields) != 3 || fields[0] != cookieVersion {
		return false
	}
	expires, err := strconv.ParseInt(fields[1], 10, 64)
	if err != nil || expires < g.now().Unix() {
		return false
	}
	return subtle.ConstantTimeCompare([]byte(value), []byte(g.token(expires))) == 1
}
