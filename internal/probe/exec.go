package probe

// Exec holds the settings of checks of the kind exec.
type Exec struct{}

var execKind = kind{section: func(c *Check) bool { return c.Exec != nil }}
