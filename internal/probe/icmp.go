package probe

// ICMP holds the settings of checks of the kind icmp.
type ICMP struct{}

var icmpKind = kind{section: func(c *Check) bool { return c.ICMP != nil }}
