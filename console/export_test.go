package console

// Permissions opens the table of routes and roles to the tests.
func Permissions() []permission { return permissions() }
