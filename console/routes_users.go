package console

import (
	"context"
	"net/http"
	"time"

	"github.com/gabion-dev/gabion/console/access"
)

func (s *Server) userRoutes(r *registrar) {
	type userList struct {
		Items []access.User `json:"items"`
	}
	route(r, r.op("list-users", "Users", "People who sign in with a password"), "list users",
		func(ctx context.Context, _ *struct{}) (*body[userList], error) {
			users, err := s.users.List(ctx)
			return &body[userList]{userList{users}}, err
		})

	type newUserInput struct {
		Body struct {
			Name     string      `json:"name" maxLength:"64"`
			Role     access.Role `json:"role" enum:"viewer,operator,admin"`
			Password string      `json:"password" maxLength:"256" doc:"At least 12 bytes"`
		}
	}
	route(r, r.op("create-user", "Users", "Add a user", 409, 422), "add the user",
		func(ctx context.Context, in *newUserInput) (*body[access.User], error) {
			u, err := s.users.Create(ctx, in.Body.Name, in.Body.Password, in.Body.Role)
			if err != nil {
				return nil, err
			}
			who := identity(ctx).Name
			s.change(ctx, who, "user-added", who+" added the user "+u.Name+" as "+string(u.Role), nil)
			return &body[access.User]{u}, nil
		})

	type changeUserInput struct {
		Name string `path:"name" maxLength:"64"`
		Body struct {
			Role     access.Role `json:"role,omitempty" enum:"viewer,operator,admin"`
			Password string      `json:"password,omitempty" maxLength:"256"`
		}
	}
	route(r, r.op("change-user", "Users", "Change a user's role or password; both end the user's sessions", 404, 422), "change the user",
		func(ctx context.Context, in *changeUserInput) (*body[access.User], error) {
			if in.Body.Role == "" && in.Body.Password == "" {
				return nil, problem(http.StatusUnprocessableEntity, "refused", "Give a role, a password, or both.")
			}
			u, err := s.users.Change(ctx, in.Name, in.Body.Password, in.Body.Role)
			if err != nil {
				return nil, err
			}
			who := identity(ctx).Name
			s.change(ctx, who, "user-changed", who+" changed the user "+u.Name+" ("+string(u.Role)+")", nil)
			return &body[access.User]{u}, s.sessions.CloseUser(ctx, u.Name)
		})

	type nameInput struct {
		Name string `path:"name" maxLength:"64"`
	}
	route(r, r.op("delete-user", "Users", "Remove a user and end their sessions", 404), "remove the user",
		func(ctx context.Context, in *nameInput) (*none, error) {
			if err := s.users.Delete(ctx, in.Name); err != nil {
				return nil, err
			}
			who := identity(ctx).Name
			s.change(ctx, who, "user-removed", who+" removed the user "+in.Name, nil)
			return nil, s.sessions.CloseUser(ctx, in.Name)
		})

	type newLinkInput struct {
		Body struct {
			Role access.Role `json:"role" enum:"viewer,operator,admin"`
		}
	}
	type newLink struct {
		URL     string    `json:"url"`
		Expires time.Time `json:"expires"`
	}
	route(r, r.op("create-link", "Users", "Make a one-time sign-in link", 422), "make a sign-in link",
		func(ctx context.Context, in *newLinkInput) (*body[newLink], error) {
			url, expires, err := s.mintLink(in.Body.Role)
			if err != nil {
				return nil, err
			}
			who := identity(ctx).Name
			s.change(ctx, who, "link-made", who+" made a sign-in link for the role "+string(in.Body.Role), nil)
			return &body[newLink]{newLink{url, expires}}, nil
		})
}
