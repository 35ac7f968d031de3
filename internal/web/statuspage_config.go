package web

import (
	"fmt"
	"maps"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
)

// StatusPageConfig is one public page that tells how chosen checks stand.
type StatusPageConfig struct {
	// Path is the page's last element: /status/PATH. Default "status".
	Path        string `yaml:"path"`
	Title       string `yaml:"title"` // default "Status"
	Description string `yaml:"description"`
	LogoURL     string `yaml:"logo_url"`
	// URL is the address under which the public reads the page, for the feeds.
	// Default: external_url and /status/PATH; with Listen it must be given.
	URL string `yaml:"url"`
	// Listen is the address of a listener of the page's own, such as ":8080",
	// which serves nothing else. Default none.
	Listen string              `yaml:"listen"`
	Groups []StatusGroupConfig `yaml:"groups"`
	// Names gives checks, by id, the names that the public reads. Default: the
	// check's own name.
	Names         map[string]string `yaml:"names"`
	ShowLocations bool              `yaml:"show_locations"` // default false
	HistoryDays   int               `yaml:"history_days"`   // default 90
	Zone          string            `yaml:"zone"`           // of days and times; default UTC
}

// StatusGroupConfig chooses checks: those named and those with all the labels.
type StatusGroupConfig struct {
	Name   string            `yaml:"name"`
	Checks []string          `yaml:"checks"` // ids
	Labels map[string]string `yaml:"labels"`
}

var statusPath = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)

// Validate fills in the defaults and refuses what cannot be. The error begins
// with the key.
func (c *StatusPageConfig) Validate() error {
	if c.Path == "" {
		c.Path = "status"
	}
	if c.Title == "" {
		c.Title = "Status"
	}
	if c.HistoryDays == 0 {
		c.HistoryDays = 90
	}
	if !statusPath.MatchString(c.Path) {
		return fmt.Errorf("path: %q: want lower-case letters, digits and dashes, such as status", c.Path)
	}
	if c.HistoryDays < 1 || c.HistoryDays > 366 {
		return fmt.Errorf("history_days: %d: want from 1 to 366", c.HistoryDays)
	}
	if c.Zone == "Local" {
		return fmt.Errorf("zone: %q: want a name such as Europe/Paris or UTC", c.Zone)
	}
	if _, err := time.LoadLocation(c.Zone); err != nil {
		return fmt.Errorf("zone: %q: want a name such as Europe/Paris or UTC", c.Zone)
	}
	for _, u := range []struct{ key, v string }{{"logo_url", c.LogoURL}, {"url", c.URL}} {
		// Nothing that could end a directive of the content security policy.
		if p, err := url.Parse(u.v); u.v != "" && (err != nil || p.Scheme != "https" && p.Scheme != "http" || p.Host == "" || p.User != nil || strings.ContainsAny(u.v, " ;,'\"<>")) {
			return fmt.Errorf("%s: %q: want an address that begins with https:// or http://", u.key, u.v)
		}
	}
	if c.Listen != "" {
		if _, _, err := net.SplitHostPort(c.Listen); err != nil {
			return fmt.Errorf("listen: %q: want host:port or :port", c.Listen)
		}
		if c.URL == "" {
			return fmt.Errorf(`url: "": want the address under which the public reads the page, because it has a listener of its own`)
		}
	}
	if len(c.Groups) == 0 {
		return fmt.Errorf("groups: none: want at least one group of checks")
	}
	seen := map[string]bool{}
	for i, g := range c.Groups {
		switch {
		case strings.TrimSpace(g.Name) == "":
			return fmt.Errorf("groups[%d].name: %q: want a name that the public reads", i, g.Name)
		case seen[g.Name]:
			return fmt.Errorf("groups[%d].name: %q: is there already; want another name", i, g.Name)
		case len(g.Checks) == 0 && len(g.Labels) == 0:
			return fmt.Errorf("groups[%d].checks: none: want ids of checks, or labels", i)
		}
		seen[g.Name] = true
	}
	for _, id := range slices.Sorted(maps.Keys(c.Names)) {
		if strings.TrimSpace(c.Names[id]) == "" {
			return fmt.Errorf("names.%s: %q: want the name that the public reads", id, c.Names[id])
		}
	}
	return nil
}

// ValidateStatusPages validates the pages and refuses two at one path or
// listener.
func ValidateStatusPages(pages []StatusPageConfig) error {
	paths, listeners := map[string]int{}, map[string]int{}
	for i := range pages {
		c := &pages[i]
		if err := c.Validate(); err != nil {
			return fmt.Errorf("[%d].%w", i, err)
		}
		if j, ok := paths[c.Path]; ok {
			return fmt.Errorf("[%d].path: %q: is that of page %d; want another", i, c.Path, j)
		}
		paths[c.Path] = i
		if j, ok := listeners[c.Listen]; ok && c.Listen != "" {
			return fmt.Errorf("[%d].listen: %q: is that of page %d; want another", i, c.Listen, j)
		}
		listeners[c.Listen] = i
	}
	return nil
}

// picks tells whether the group shows a check.
func (g StatusGroupConfig) picks(c StatusCheck) bool {
	if slices.Contains(g.Checks, c.ID) {
		return true
	}
	for k, v := range g.Labels {
		if c.Labels[k] != v {
			return false
		}
	}
	return len(g.Labels) > 0
}
