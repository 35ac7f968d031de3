package probe

// SSH holds the settings of checks of the kind ssh.
type SSH struct{}

var sshKind = kind{section: func(c *Check) bool { return c.SSH != nil }}
