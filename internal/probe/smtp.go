package probe

// SMTP holds the settings of checks of the kind smtp.
type SMTP struct{}

var smtpKind = kind{section: func(c *Check) bool { return c.SMTP != nil }}
