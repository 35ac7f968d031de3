package probe

// UDP holds the settings of checks of the kind udp.
type UDP struct{}

var udpKind = kind{section: func(c *Check) bool { return c.UDP != nil }}
