package check

import (
	"strconv"
	"strings"

	"github.com/gabion-dev/gabion/scan"
)

// step is one step of the build, as its tool wrote it, taken apart.
type step struct {
	number int    // from 1, as in the history
	verb   string // "RUN", "ADD", ...
	args   string
	empty  bool
}

func (s step) String() string {
	return "history " + strconv.Itoa(s.number) + ": " + s.verb + " " + s.args
}

// verbs are the instructions of a Dockerfile that appear in a history.
var verbs = []string{"ADD", "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "HEALTHCHECK", "LABEL", "ONBUILD", "RUN", "SHELL", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR"}

// steps reads what builders write: "/bin/sh -c #(nop) ADD file:.. in /" (Docker
// without BuildKit, buildah), "RUN /bin/sh -c ... # buildkit", "RUN |1 A=b
// /bin/sh -c ...", "/bin/sh -c ...", and plain instructions.
func steps(history []scan.History) []step {
	var out []step
	for i, h := range history {
		text := strings.TrimSpace(h.Command)
		if text == "" {
			continue
		}
		text = strings.TrimSpace(strings.TrimSuffix(text, "# buildkit"))
		st := step{number: i + 1, empty: h.Empty}
		if rest, ok := cutShell(text); ok {
			if nop, ok := strings.CutPrefix(rest, "#(nop)"); ok {
				st.verb, st.args = verb(strings.TrimSpace(nop))
			} else {
				st.verb, st.args = "RUN", rest
			}
		} else if st.verb, st.args = verb(text); st.verb == "RUN" {
			st.args = shellText(st.args)
		}
		out = append(out, st)
	}
	return out
}

// cutShell takes "/bin/sh -c " and build arguments in front of it away.
func cutShell(text string) (string, bool) {
	if strings.HasPrefix(text, "|") {
		if i := strings.Index(text, "/bin/sh -c "); i >= 0 {
			text = text[i:]
		}
	}
	for _, shell := range []string{"/bin/sh -c ", "/bin/bash -c ", "/bin/ash -c "} {
		if rest, ok := strings.CutPrefix(text, shell); ok {
			return strings.TrimSpace(rest), true
		}
	}
	return text, false
}

func shellText(args string) string {
	rest, _ := cutShell(args)
	return rest
}

func verb(text string) (string, string) {
	first, rest, _ := strings.Cut(text, " ")
	for _, v := range verbs {
		if strings.EqualFold(first, v) {
			return v, strings.TrimSpace(rest)
		}
	}
	return "RUN", text
}

// commands cuts the text of a RUN into simple commands, at separators of the
// shell that are not in quotation marks. Pipes stay: see pipes.
func commands(script string) []string {
	var out []string
	start, quote := 0, byte(0)
	cut := func(end, next int) {
		if c := strings.TrimSpace(script[start:end]); c != "" {
			out = append(out, c)
		}
		start = next
	}
	for i := 0; i < len(script); i++ {
		switch c := script[i]; {
		case c == '\\':
			i++
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '\'' || c == '"':
			quote = c
		case c == ';' || c == '\n' || c == '(' || c == ')' || c == '{' || c == '}':
			cut(i, i+1)
		case c == '&' && i+1 < len(script) && script[i+1] == '&', c == '|' && i+1 < len(script) && script[i+1] == '|':
			cut(i, i+2)
			i++
		}
	}
	if start < len(script) {
		cut(len(script), len(script))
	}
	return out
}
