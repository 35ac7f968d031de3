package record

import (
	"errors"
	"fmt"
)

// Kind is the class of an error that a caller acts on. The web room turns kinds
// into HTTP codes, in one place.
type Kind int

// The kinds.
const (
	// Internal is a fault of ours: 500.
	Internal Kind = iota
	// Invalid is a request that will never succeed as it stands: 400.
	Invalid
	// NotFound names something that does not exist: 404.
	NotFound
	// Limited is a request refused by a limit that may pass later: 429.
	Limited
	// Unavailable is a part that cannot answer now: 503.
	Unavailable
	// Unauthenticated is a request without valid credentials: 401.
	Unauthenticated
	// Forbidden is a request above the caller's role: 403.
	Forbidden
	// Conflict is a request that contradicts the present state: 409.
	Conflict
	// TooLarge is a body above its limit: 413.
	TooLarge
)

// Error is an error with a kind.
type Error struct {
	Kind Kind
	Err  error
}

func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Errorf makes an error of the kind; format may use %w.
func Errorf(k Kind, format string, a ...any) error {
	return &Error{Kind: k, Err: fmt.Errorf(format, a...)}
}

// KindOf returns the kind of err, Internal when it has none.
func KindOf(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return Internal
}
