package probe

// Chain holds the settings of checks of blockchain nodes.
type Chain struct{}

var evmKind, xrplKind, antelopeKind kind
