package console

import (
	"net/http"

	"github.com/gabion-dev/gabion/console/access"
)

// permission says which role a route needs. ID is the operation's in the API
// description.
type permission struct {
	ID     string
	Method string
	Path   string
	Role   access.Role
}

// permissions is the one table of who may do what. A route that is not in it
// cannot be registered, and an entry without a route is refused by New.
func permissions() []permission {
	const get, post, patch, del = http.MethodGet, http.MethodPost, http.MethodPatch, http.MethodDelete
	return []permission{
		{"sign-in-link", post, "/api/v1/signin/link", access.Public},
		{"sign-in-password", post, "/api/v1/signin/password", access.Public},

		{"get-session", get, "/api/v1/session", access.Viewer},
		{"sign-out", post, "/api/v1/signout", access.Viewer},
		{"get-overview", get, "/api/v1/overview", access.Viewer},
		{"list-workloads", get, "/api/v1/workloads", access.Viewer},
		{"get-workload", get, "/api/v1/workloads/{namespace}/{name}", access.Viewer},
		{"learn-policy", get, "/api/v1/workloads/{namespace}/{name}/policy", access.Viewer},
		{"list-events", get, "/api/v1/events", access.Viewer},
		{"count-events", get, "/api/v1/events/counts", access.Viewer},
		{"stream-events", get, "/api/v1/events/stream", access.Viewer},
		{"export-events", get, "/api/v1/events/export", access.Viewer},
		{"get-event", get, "/api/v1/events/{id}", access.Viewer},
		{"list-policies", get, "/api/v1/policies", access.Viewer},
		{"get-policy", get, "/api/v1/policies/{id}", access.Viewer},
		{"forecast-policy", get, "/api/v1/policies/{id}/forecast", access.Viewer},
		{"lint-policy", post, "/api/v1/policies/lint", access.Viewer},
		{"diff-policy", post, "/api/v1/policies/diff", access.Viewer},
		{"list-images", get, "/api/v1/images", access.Viewer},
		{"list-image-scans", get, "/api/v1/images/scans", access.Viewer},
		{"get-image", get, "/api/v1/images/{digest}", access.Viewer},
		{"list-image-findings", get, "/api/v1/images/{digest}/findings", access.Viewer},
		{"list-image-packages", get, "/api/v1/images/{digest}/packages", access.Viewer},
		{"get-image-sbom", get, "/api/v1/images/{digest}/sbom", access.Viewer},
		{"get-image-report", get, "/api/v1/images/{digest}/report", access.Viewer},
		{"get-description", get, "/api/v1/openapi.json", access.Viewer},

		{"act-on-container", post, "/api/v1/containers/{id}/actions", access.Operator},
		{"scan-image", post, "/api/v1/images/scan", access.Operator},
		{"undo-action", post, "/api/v1/events/{id}/undo", access.Operator},
		{"apply-policy", post, "/api/v1/policies", access.Operator},
		{"promote-policy", post, "/api/v1/policies/{id}/promote", access.Operator},

		{"delete-policy", del, "/api/v1/policies/{id}", access.Admin},
		{"list-users", get, "/api/v1/users", access.Admin},
		{"create-user", post, "/api/v1/users", access.Admin},
		{"change-user", patch, "/api/v1/users/{name}", access.Admin},
		{"delete-user", del, "/api/v1/users/{name}", access.Admin},
		{"create-link", post, "/api/v1/links", access.Admin},
	}
}
