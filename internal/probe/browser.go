package probe

// Browser holds the settings of checks of the kind browser.
type Browser struct{}

var browserKind = kind{section: func(c *Check) bool { return c.Browser != nil }}
