package probe

// Flow holds the settings of checks of the kind flow.
type Flow struct{}

var flowKind = kind{section: func(c *Check) bool { return c.Flow != nil }}
