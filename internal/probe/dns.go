package probe

// DNS holds the settings of checks of the kind dns.
type DNS struct{}

var dnsKind = kind{section: func(c *Check) bool { return c.DNS != nil }}
