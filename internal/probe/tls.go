package probe

var tlsKind = kind{}
