package policy

//go:generate go run ./internal/refdoc ../api/v1alpha1 ../docs/reference/policy.md
