package content

import (
	"crypto/sha256"
	"fmt"
	"strings"
)

// SecretsDigest is of everything that LoadSecrets reads, comments too: it
// changes whenever detectors or places do, and costs no reading of YAML.
func SecretsDigest() ([sha256.Size]byte, error) {
	h := sha256.New()
	err := eachSecretFile(func(name string, data []byte) {
		fmt.Fprintf(h, "%s %d\n", name, len(data))
		h.Write(data)
	})
	if err == nil {
		data, readErr := supply.ReadFile("secretplaces.yaml")
		err = readErr
		h.Write(data)
	}
	return [sha256.Size]byte(h.Sum(nil)), err
}

// SecretKeywords gives the keywords of all detectors, without reading the rest
// of them: for who wants to know whether a text can hold anything at all. It
// reads lists on one line only, which is how they are written; of any other it
// says false, and then nothing is known.
func SecretKeywords() ([]string, bool) {
	var all []string
	ok := true
	err := eachSecretFile(func(_ string, data []byte) {
		for line := range strings.Lines(string(data)) {
			list, is := strings.CutPrefix(strings.TrimSpace(line), "keywords:")
			if !is {
				continue
			}
			words, read := flowList(strings.TrimSpace(list))
			all, ok = append(all, words...), ok && read
		}
	})
	return all, ok && err == nil
}

// flowList reads a list of YAML in brackets, of plain and of single-quoted
// texts. Whatever else YAML knows, it refuses.
func flowList(s string) (words []string, ok bool) {
	s, opened := strings.CutPrefix(s, "[")
	if !opened {
		return nil, false
	}
	for {
		s = strings.TrimLeft(s, " ")
		word := ""
		if rest, quoted := strings.CutPrefix(s, "'"); quoted {
			for {
				part, after, closed := strings.Cut(rest, "'")
				if !closed {
					return nil, false
				}
				word += part
				if rest, closed = strings.CutPrefix(after, "'"); !closed {
					s = strings.TrimLeft(after, " ")
					break
				}
				word += "'"
			}
		} else {
			end := strings.IndexAny(s, ",]")
			if end < 0 {
				return nil, false
			}
			word = strings.TrimRight(s[:end], " ")
			if word == "" || strings.ContainsAny(word, "\"'#&*!|>%@`{}[\\") || strings.Contains(word, ": ") {
				return nil, false
			}
			s = s[end:]
		}
		words = append(words, word)
		switch {
		case s == "]":
			return words, true
		case strings.HasPrefix(s, ","):
			s = s[1:]
		default:
			return nil, false
		}
	}
}

func eachSecretFile(do func(name string, data []byte)) error {
	entries, err := supply.ReadDir("secrets")
	if err != nil {
		return fmt.Errorf("read secrets: %w", err)
	}
	for _, e := range entries {
		data, err := supply.ReadFile("secrets/" + e.Name())
		if err != nil {
			return fmt.Errorf("read secrets/%s: %w", e.Name(), err)
		}
		do(e.Name(), data)
	}
	return nil
}
