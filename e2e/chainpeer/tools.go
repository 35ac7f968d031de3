//go:build tools

// Package chainpeer pins the Ethereum node that the checks of chain nodes are
// tried against. It is a module of its own, so that the product's go.mod does not
// see it.
package chainpeer

import _ "github.com/ethereum/go-ethereum/cmd/geth"
