package web

import (
	"net/http"
	"net/netip"
	"strings"
)

// clientIP is the peer's address or, behind trusted proxies, the last address in
// X-Forwarded-For that is not one of them.
func (s *Server) clientIP(r *http.Request) netip.Addr {
	peer := peerIP(r)
	if !s.trusted(peer) {
		return peer
	}
	if hops := s.config.TrustedProxies.Hops; hops > 0 {
		if ip, err := netip.ParseAddr(written(r, "X-Forwarded-For", hops)); err == nil {
			return ip.Unmap()
		}
		return peer
	}
	hops := listed(r, "X-Forwarded-For")
	for i := len(hops) - 1; i >= 0; i-- {
		ip, err := netip.ParseAddr(hops[i])
		if err != nil {
			break // whatever stands left of it was not written by a proxy of ours
		}
		peer = ip.Unmap()
		if !s.trusted(peer) {
			break
		}
	}
	return peer
}

// listed returns a header's values, each proxy's in its turn.
func listed(r *http.Request, name string) []string {
	values := strings.Split(strings.Join(r.Header.Values(name), ","), ",")
	for i, value := range values {
		values[i] = strings.TrimSpace(value)
	}
	return values
}

// written is what the outermost of so many proxies wrote; empty when there were fewer.
func written(r *http.Request, name string, hops int) string {
	values := listed(r, name)
	if len(values) < hops {
		return ""
	}
	return values[len(values)-hops]
}

func peerIP(r *http.Request) netip.Addr {
	addr, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return addr.Addr().Unmap()
}

func (s *Server) trusted(ip netip.Addr) bool {
	for _, p := range s.config.TrustedProxies.Networks {
		if p.Contains(ip) {
			return true
		}
	}
	return false
}

// scheme is how the client reached us: https when we or a trusted proxy terminated TLS.
func (s *Server) scheme(r *http.Request) string {
	said := ""
	if !s.trusted(peerIP(r)) {
		// Whatever it says, nobody of ours has written it.
	} else if hops := s.config.TrustedProxies.Hops; hops > 0 {
		said = written(r, "X-Forwarded-Proto", hops)
	} else {
		said = r.Header.Get("X-Forwarded-Proto")
	}
	if r.TLS != nil || said == "https" {
		return "https"
	}
	return "http"
}

// secureCookies reports whether browsers reach the service by HTTPS.
func (s *Server) secureCookies(r *http.Request) bool {
	return s.scheme(r) == "https" || strings.HasPrefix(s.config.URL, "https:")
}
