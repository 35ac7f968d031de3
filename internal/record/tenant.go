package record

import (
	"context"
	"fmt"
	"regexp"
)

// Tenant names one customer of the installation. A tenant is a directory: all
// that it owns lies under data/<tenant>/.
type Tenant string

// DefaultTenant owns everything while no tenant is configured.
const DefaultTenant Tenant = "default"

var tenantName = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,62}$`)

// Validate reports whether t may name a directory. The error says what a name
// may hold.
func (t Tenant) Validate() error {
	if !tenantName.MatchString(string(t)) {
		return Errorf(Invalid, "tenant %q: want 1 to 63 of a-z, 0-9, '-' and '_', starting with a letter or digit", string(t))
	}
	return nil
}

// Role is what a caller may do. A higher role includes the lower ones.
type Role int

// The roles, from none to all.
const (
	NoRole Role = iota
	Read
	Write
	Admin
)

var roleNames = [...]string{"none", "read", "write", "admin"}

// String gives the name that config and API use.
func (r Role) String() string { return roleNames[r] }

// ParseRole reads "read", "write" or "admin".
func ParseRole(s string) (Role, error) {
	for i, n := range roleNames {
		if i > 0 && n == s {
			return Role(i), nil
		}
	}
	return NoRole, fmt.Errorf("role %q: want read, write or admin", s)
}

// Caller is who asks: the outcome of authentication.
type Caller struct {
	Name   string
	Role   Role
	Tenant Tenant
	// AllTenants lets an administrator of the installation choose the tenant
	// by the X-Vedette-Tenant header; without it the header is refused.
	AllTenants bool
}

type callerKey struct{}

// WithCaller attaches the caller to ctx.
func WithCaller(ctx context.Context, c Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, c)
}

// CallerFrom returns the caller attached to ctx; ok is false when there is none.
func CallerFrom(ctx context.Context) (c Caller, ok bool) {
	c, ok = ctx.Value(callerKey{}).(Caller)
	return c, ok
}
