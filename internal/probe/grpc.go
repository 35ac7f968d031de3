package probe

// GRPC holds the settings of checks of the kind grpc.
type GRPC struct{}

var grpcKind = kind{section: func(c *Check) bool { return c.GRPC != nil }}
