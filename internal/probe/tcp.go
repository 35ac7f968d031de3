package probe

// TCP holds the settings of checks of the kind tcp.
type TCP struct{}

var tcpKind = kind{section: func(c *Check) bool { return c.TCP != nil }}
