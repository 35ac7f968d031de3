package web

import (
	"bytes"
	"net/http"
	"os"
	"strconv"

	"github.com/vedette-sre/vedette/internal/record"
)

// residentBytes is the resident memory of this process, 0 where the system does
// not tell it in /proc.
func residentBytes() int64 {
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	f := bytes.Fields(b)
	if len(f) < 2 {
		return 0
	}
	pages, err := strconv.ParseInt(string(f[1]), 10, 64)
	if err != nil {
		return 0
	}
	return pages * int64(os.Getpagesize())
}

// visibleTenants are the tenants that a caller may know of.
func (s *Server) visibleTenants(r *http.Request) []string {
	c, _ := record.CallerFrom(r.Context())
	if c.AllTenants {
		return s.o.Tenants.Names()
	}
	return []string{string(c.Tenant)}
}
