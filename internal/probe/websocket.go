package probe

// Websocket holds the settings of checks of the kind websocket.
type Websocket struct{}

var websocketKind = kind{section: func(c *Check) bool { return c.Websocket != nil }}
