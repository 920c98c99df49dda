package auth

import (
	"net/netip"
	"sync"
	"time"
)

const (
	burst      = 10
	refill     = 30 * time.Second
	maxTracked = 10_000
)

// Limiter allows each address a burst of attempts and then one every half minute.
type Limiter struct {
	mu      sync.Mutex
	clients map[netip.Prefix]bucket
}

type bucket struct {
	tokens  float64
	updated time.Time
}

// NewLimiter returns a limiter that has seen nobody.
func NewLimiter() *Limiter { return &Limiter{clients: map[netip.Prefix]bucket{}} }

// network groups what one customer usually has: an IPv4 address or an IPv6 /64.
func network(ip netip.Addr) netip.Prefix {
	ip = ip.Unmap().WithZone("")
	bits := 32
	if ip.Is6() {
		bits = 64
	}
	p, err := ip.Prefix(bits)
	if err != nil { // the zero Addr
		return netip.Prefix{}
	}
	return p
}

// Take uses up an attempt; it returns how long to wait when there is none left.
func (l *Limiter) Take(client netip.Addr, now time.Time) time.Duration {
	key := network(client)
	l.mu.Lock()
	defer l.mu.Unlock()
	b, known := l.clients[key]
	if !known {
		b = bucket{burst, now}
		l.makeRoom(now)
	}
	b = b.at(now)
	if b.tokens < 1 {
		l.clients[key] = b
		return time.Duration((1 - b.tokens) * float64(refill))
	}
	b.tokens--
	l.clients[key] = b
	return 0
}

// Refund gives an attempt back that turned out to be right.
func (l *Limiter) Refund(client netip.Addr) {
	key := network(client)
	l.mu.Lock()
	defer l.mu.Unlock()
	if b, ok := l.clients[key]; ok {
		b.tokens = min(burst, b.tokens+1)
		l.clients[key] = b
	}
}

func (b bucket) at(now time.Time) bucket {
	if passed := now.Sub(b.updated); passed > 0 {
		b.tokens = min(burst, b.tokens+float64(passed)/float64(refill))
		b.updated = now
	}
	return b
}

// makeRoom bounds the memory that an attacker with many addresses can take, and by forgetting a
// tenth at once the time too.
func (l *Limiter) makeRoom(now time.Time) {
	if len(l.clients) < maxTracked {
		return
	}
	for key, b := range l.clients {
		if b.at(now).tokens >= burst {
			delete(l.clients, key)
		}
	}
	for key := range l.clients {
		if len(l.clients) <= maxTracked*9/10 {
			return
		}
		delete(l.clients, key)
	}
}
