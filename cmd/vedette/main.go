// Command vedette keeps watch over microservices.
package main

import (
	"os"

	"github.com/vedette-sre/vedette/internal/app"
)

func main() { os.Exit(app.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }
