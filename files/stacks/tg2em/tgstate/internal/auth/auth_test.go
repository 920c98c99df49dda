package auth

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"
)

var client = netip.MustParseAddr("192.0.2.1")

func request(query string, headers ...string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/api"+query, nil)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	return r
}

func expect(t *testing.T, g *Gate, r *http.Request, want Verdict) {
	t.Helper()
	if got, _ := g.Check(r, client); got != want {
		t.Errorf("%s %v: verdict %d, want %d", r.URL, r.Header, got, want)
	}
}

func TestCheck(t *testing.T) {
	g := New("s3cret")
	expect(t, g, request(""), Missing)
	expect(t, g, request("?pass="), Missing)
	expect(t, g, request("?pass=s3cret"), Allowed)
	expect(t, g, request("?pass=s3cre"), Wrong)
	expect(t, g, request("?pass=s3cret1"), Wrong)
	expect(t, g, request("", "Authorization", "bearer s3cret"), Allowed)
	expect(t, g, request("", "Authorization", "Basic s3cret"), Missing)
	expect(t, g, request("", "Cookie", "p=s3cret"), Allowed)
	expect(t, g, request("", "Cookie", "p=other"), Wrong)
	expect(t, New(""), request(""), Allowed)
}

func TestCookie(t *testing.T) {
	g := New("s3cret")
	now := time.Unix(1_700_000_000, 0)
	g.now = func() time.Time { return now }
	c := g.Cookie(true)
	if !c.HttpOnly || !c.Secure || c.SameSite != http.SameSiteLaxMode || strings.Contains(c.Value, "s3cret") {
		t.Errorf("cookie %+v", c)
	}
	with := func(value string) *http.Request { return request("", "Cookie", CookieName+"="+value) }
	expect(t, g, with(c.Value), Allowed)
	other := New("s3cret") // another process, or the same after a restart
	other.now = g.now
	expect(t, other, with(c.Value), Allowed)
	changed := New("new password")
	changed.now = g.now
	expect(t, changed, with(c.Value), Missing)

	later := strings.Replace(c.Value, "v1.17", "v1.99", 1)
	expect(t, g, with(later), Missing)
	expect(t, g, with("v1."), Missing)
	now = now.Add(cookieLife + time.Second)
	expect(t, g, with(c.Value), Missing)
}

func TestGuessingIsLimited(t *testing.T) {
	g := New("s3cret")
	now := time.Unix(1_700_000_000, 0)
	g.now = func() time.Time { return now }
	good := g.Cookie(false)
	for range burst {
		expect(t, g, request("?pass=guess"), Wrong)
	}
	verdict, wait := g.Check(request("?pass=s3cret"), client)
	if verdict != Limited || wait <= 0 || wait > refill {
		t.Errorf("verdict %d, wait %v", verdict, wait)
	}
	expect(t, g, request("", "Cookie", "p="+good.Value), Allowed) // who is signed in stays so
	if got, _ := g.Check(request("?pass=s3cret"), netip.MustParseAddr("192.0.2.2")); got != Allowed {
		t.Errorf("another address: %d", got)
	}
	now = now.Add(wait)
	expect(t, g, request("?pass=s3cret"), Allowed)
}

func TestRightPasswordsAreNotLimited(t *testing.T) {
	g := New("s3cret")
	for range 10 * burst {
		expect(t, g, request("?pass=s3cret"), Allowed)
	}
}

func TestOneIPv6CustomerIsOneClient(t *testing.T) {
	l := NewLimiter()
	now := time.Now()
	for i := range burst {
		ip := netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 15: byte(i)})
		if l.Take(ip, now) > 0 {
			t.Fatalf("limited after %d", i)
		}
	}
	if l.Take(netip.MustParseAddr("2001:db8::ffff"), now) == 0 {
		t.Error("a fresh address of the same /64 was let through")
	}
	if l.Take(netip.MustParseAddr("2001:db8:0:1::1"), now) > 0 {
		t.Error("the neighbour was limited")
	}
}

func TestLimiterIsBounded(t *testing.T) {
	l := NewLimiter()
	now := time.Now()
	for i := range 2 * maxTracked {
		l.Take(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), now)
	}
	if len(l.clients) > maxTracked {
		t.Errorf("%d clients tracked", len(l.clients))
	}
}
