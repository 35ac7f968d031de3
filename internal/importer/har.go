package importer

import (
	"bytes"
	"errors"
	"strings"

	"github.com/vedette-sre/vedette/internal/probe"
)

// har makes a flow of what a browser recorded. Its secrets become environment
// variables of the flow, with Secrets as without.
func (im *importing) har(text []byte) error {
	c, notes, err := probe.FromHAR(bytes.NewReader(text))
	if err != nil {
		return errors.New(strings.TrimPrefix(err.Error(), "har: "))
	}
	for _, n := range notes {
		im.note("log", n, "")
	}
	im.add(&draft{where: "log", kind: "flow", c: c})
	return nil
}
