package config

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
)

const routes = "/proc/net/route"

// Proxies says whose word about a visitor is believed: that of the peers in Networks. Of what they
// say, Hops counts how many proxies stand in front; 0 follows the header for as long as it names
// peers of Networks.
type Proxies struct {
	Networks []netip.Prefix
	Hops     int
}

// proxies joins who is believed with how many stand in front. A number alone believes this machine
// and its gateways: an edge on the host asks through a published port, and a container sees it as
// the gateway of its network. Another container of the network is neither.
func (c *Config) proxies(named []netip.Prefix) error {
	p := &c.TrustedProxies
	if len(p.Networks) > 0 && len(named) > 0 {
		return errors.New("trusted_proxy_networks: trusted_proxies names networks already; make it a number")
	}
	if p.Hops > 0 {
		p.Networks = named
		if len(named) == 0 {
			p.Networks = append(loopback(), gateways(routes)...)
		}
	}
	return nil
}

func loopback() []netip.Prefix {
	return []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
}

// gateways reads those of the default routes from proc(5): hexadecimal, in the host's byte order.
func gateways(file string) []netip.Prefix {
	text, _ := os.ReadFile(file) // without one, nobody but this machine is believed
	var found []netip.Prefix
	for _, line := range strings.Split(string(text), "\n") {
		fields := strings.Fields(line)
		if len(fields) < 3 || fields[1] != "00000000" || fields[2] == "00000000" {
			continue
		}
		raw, err := hex.DecodeString(fields[2])
		if err != nil || len(raw) != 4 {
			continue
		}
		var address [4]byte
		binary.NativeEndian.PutUint32(address[:], binary.BigEndian.Uint32(raw))
		found = append(found, netip.PrefixFrom(netip.AddrFrom4(address), 32))
	}
	return found
}

func parseProxies(s string) (Proxies, error) {
	if hops, err := strconv.Atoi(s); err == nil {
		if hops < 0 || hops > 9 {
			return Proxies{}, fmt.Errorf("%q is not a number of proxies from 0 to 9", s)
		}
		return Proxies{Hops: hops}, nil
	}
	found, err := parseNetworks(s)
	if err != nil {
		return Proxies{}, fmt.Errorf("%w nor, alone, a number of proxies", err)
	}
	return Proxies{Networks: found}, nil
}

func parseNetworks(s string) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, field := range strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' }) {
		if ip, err := netip.ParseAddr(field); err == nil {
			out = append(out, netip.PrefixFrom(ip, ip.BitLen()))
			continue
		}
		p, err := netip.ParsePrefix(field)
		if err != nil {
			return nil, fmt.Errorf("%q is neither an address nor a network such as 10.0.0.0/8", field)
		}
		out = append(out, p.Masked())
	}
	return out, nil
}
