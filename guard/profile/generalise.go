package profile

import "strings"

// Generalise gives the pattern that stands for a path whose names were made up
// for one run: "/tmp/build-8f3a91c2/run" becomes "/tmp/**", and
// "/tmp/tmp.Xy12Ab9Q" becomes "/tmp/*". Only directories where programs put
// such files are looked at; other paths are given back as they are.
func Generalise(path string) string {
	if name, ok := strings.CutPrefix(path, "memfd:"); ok {
		if madeUp(name) {
			return "memfd:*"
		}
		return path
	}
	for _, dir := range []string{"/tmp", "/var/tmp", "/dev/shm", "/run", "/var/run", "/root/.cache", "/var/cache"} {
		rest, ok := strings.CutPrefix(path, dir+"/")
		if !ok {
			continue
		}
		base := dir
		for rest != "" {
			name, deeper, more := strings.Cut(rest, "/")
			if madeUp(name) {
				if more {
					return base + "/**"
				}
				return base + "/*"
			}
			base, rest = base+"/"+name, deeper
		}
	}
	return path
}

// madeUp reports that a name looks like the work of a random generator or a
// counter: a long run of hexadecimal digits, four decimal digits in a row, or
// letters of both cases mixed with digits.
func madeUp(name string) bool {
	hex, digits, longestHex, longestDigits := 0, 0, 0, 0
	lower, upper, number := false, false, false
	hexNumber := false
	for _, r := range name {
		isDigit := r >= '0' && r <= '9'
		isHex := isDigit || r >= 'a' && r <= 'f' || r >= 'A' && r <= 'F'
		if isHex {
			hex++
		} else {
			hex = 0
		}
		if isDigit {
			digits++
			hexNumber = hexNumber || hex > 1
		} else {
			digits = 0
		}
		longestHex, longestDigits = max(longestHex, hex), max(longestDigits, digits)
		lower = lower || r >= 'a' && r <= 'z'
		upper = upper || r >= 'A' && r <= 'Z'
		number = number || isDigit
	}
	return longestDigits >= 4 || longestHex >= 8 && hexNumber || lower && upper && number && len(name) >= 6
}
