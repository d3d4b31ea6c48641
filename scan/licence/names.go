package licence

import (
	"slices"
	"strings"
	"sync"

	"github.com/gabion-dev/gabion/content"
)

// names knows what licences are called.
type names struct {
	ids        map[string]string // folded -> as SPDX writes it, or an alias's expression
	exact      map[string]string // lower case ids
	exceptions map[string]string // lower case
	categories map[string]content.Category
}

// load prepares the names a single time: they cannot change while the process
// lives.
var load = sync.OnceValues(prepare)

func prepare() (*names, error) {
	c, err := content.LoadLicences()
	if err != nil {
		return nil, err
	}
	n := &names{ids: map[string]string{}, exact: map[string]string{}, exceptions: map[string]string{}, categories: c.Categories}
	for _, id := range c.IDs {
		n.exact[strings.ToLower(id)] = id
		if f := fold(id); n.ids[f] == "" {
			n.ids[f] = id
		}
	}
	for folded, expr := range c.Aliases {
		n.ids[folded] = expr
	}
	for _, e := range c.Exceptions {
		n.exceptions[strings.ToLower(e)] = e
	}
	return n, nil
}

// fold brings the many ways to write a name together: lower case, without
// "licence", "version" and "the", a number apart from the "v" before it.
func fold(s string) string {
	var b strings.Builder
	s = strings.ToLower(s)
	for i := range len(s) {
		c := s[i]
		letter := c >= 'a' && c <= 'z'
		digit := c >= '0' && c <= '9'
		switch {
		case c == 'v' && i+1 < len(s) && s[i+1] >= '0' && s[i+1] <= '9' && (i == 0 || s[i-1] < '0' || s[i-1] > '9'):
			b.WriteByte(' ')
		case letter || digit || c == '.' || c == '+' || c == '_':
			b.WriteByte(c)
		default:
			b.WriteByte(' ')
		}
	}
	words := strings.Fields(b.String())
	words = slices.DeleteFunc(words, func(w string) bool {
		switch w {
		case "the", "license", "licence", "licensed", "licences", "version", "v", "under", "ver.", ".":
			return true
		}
		return false
	})
	return strings.Join(words, " ")
}

// category reports whether a leaf is of a kind of licence.
func (n *names) category(kind content.Category, l *expr) bool {
	id := family(l.id)
	if !l.known {
		id = strings.ReplaceAll(fold(l.id), " ", "-")
	}
	for _, want := range kind.IDs {
		if prefix, star := strings.CutSuffix(want, "*"); star && strings.HasPrefix(id, prefix) && l.known || id == want {
			return true
		}
	}
	return false
}

// family is an id without what it says of later versions.
func family(id string) string {
	return strings.TrimSuffix(strings.TrimSuffix(id, "-only"), "-or-later")
}
