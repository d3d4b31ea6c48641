package console

import "time"

// Permissions opens the table of routes and roles to the tests.
func Permissions() []permission { return permissions() }

// Hurried is cfg with the bounds of requests and pieces of streams at d.
func Hurried(cfg Config, d time.Duration) Config {
	cfg.read, cfg.write, cfg.stream = d, d, d
	return cfg
}

// CheckFilter reads a filter as a request would.
func (s *Server) CheckFilter(kind, since, until, container string) error {
	_, err := s.query(FilterInput{Kind: []string{kind}, Since: since, Until: until, Container: container})
	return err
}
