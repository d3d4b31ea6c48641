package policy

import "net/netip"

// metadata is where clouds hand out credentials to whoever asks.
func metadata() []netip.Prefix {
	return prefixes("169.254.169.254/32", "fd00:ec2::254/128")
}

// internet is the public address space: everything but what is reserved for
// hosts, private networks, links, groups and future use. The documentation
// ranges stay in: nobody routes them, and in examples they stand for the
// Internet. NAT64's prefix is in, because it leads there.
func internet() []netip.Prefix {
	v4 := prefixes("0.0.0.0/0")
	for _, p := range prefixes("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16",
		"172.16.0.0/12", "192.168.0.0/16", "198.18.0.0/15", "224.0.0.0/3") {
		v4 = subtractAll(v4, p)
	}
	return append(v4, prefixes("2000::/3", "64:ff9b::/96")...)
}

func prefixes(list ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(list))
	for i, s := range list {
		out[i] = netip.MustParsePrefix(s)
	}
	return out
}

// everywhere is the whole address space of both families.
func everywhere() []netip.Prefix { return prefixes("0.0.0.0/0", "::/0") }

// covers reports whether every address of b is in a.
func prefixCovers(a, b netip.Prefix) bool {
	return a.Addr().Is4() == b.Addr().Is4() && a.Bits() <= b.Bits() && a.Contains(b.Addr())
}

// subtractAll takes q out of every prefix of list.
func subtractAll(list []netip.Prefix, q netip.Prefix) []netip.Prefix {
	var out []netip.Prefix
	for _, p := range list {
		out = append(out, subtract(p, q)...)
	}
	return out
}

// subtract gives the addresses of p that are not in q, as few prefixes as possible.
func subtract(p, q netip.Prefix) []netip.Prefix {
	switch {
	case prefixCovers(q, p):
		return nil
	case !prefixCovers(p, q):
		return []netip.Prefix{p}
	}
	var out []netip.Prefix
	for p.Bits() < q.Bits() {
		low, high := halves(p)
		if low.Contains(q.Addr()) {
			out, p = append(out, high), low
		} else {
			out, p = append(out, low), high
		}
	}
	return out
}

// halves cuts p, which must not be a single address, in two.
func halves(p netip.Prefix) (low, high netip.Prefix) {
	bits := p.Bits() + 1
	low = netip.PrefixFrom(p.Addr(), bits)
	b := p.Addr().AsSlice()
	b[(bits-1)/8] |= 0x80 >> ((bits - 1) % 8)
	a, _ := netip.AddrFromSlice(b)
	return low, netip.PrefixFrom(a, bits)
}

// intersectPrefixes gives the addresses that are in both lists.
func intersectPrefixes(a, b []netip.Prefix) []netip.Prefix {
	var out []netip.Prefix
	for _, p := range a {
		for _, q := range b {
			switch {
			case prefixCovers(p, q):
				out = append(out, q)
			case prefixCovers(q, p):
				out = append(out, p)
			}
		}
	}
	return out
}
