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
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0; i-- {
		ip, err := netip.ParseAddr(strings.TrimSpace(hops[i]))
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

func peerIP(r *http.Request) netip.Addr {
	addr, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return addr.Addr().Unmap()
}

func (s *Server) trusted(ip netip.Addr) bool {
	for _, p := range s.config.TrustedProxies {
		if p.Contains(ip) {
			return true
		}
	}
	return false
}

// scheme is how the client reached us: https when we or a trusted proxy terminated TLS.
func (s *Server) scheme(r *http.Request) string {
	if r.TLS != nil || (s.trusted(peerIP(r)) && r.Header.Get("X-Forwarded-Proto") == "https") {
		return "https"
	}
	return "http"
}

// secureCookies reports whether browsers reach the service by HTTPS.
func (s *Server) secureCookies(r *http.Request) bool {
	return s.scheme(r) == "https" || strings.HasPrefix(s.config.URL, "https:")
}
