package main

import "time"

// parseDay reads "2024-10-10".
func parseDay(s string) (time.Time, error) { return time.Parse(time.DateOnly, s) }
