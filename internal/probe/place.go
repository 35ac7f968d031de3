package probe

import (
	"fmt"
	"slices"
	"strings"
)

// validatePlaces refuses locations and dependencies that cannot be.
func (c *Check) validatePlaces() error {
	for i, l := range c.Locations {
		name, value, selector := strings.Cut(l, "=")
		switch {
		case selector && (!labelName.MatchString(name) || value == ""):
			return fmt.Errorf("locations: %q: want the name of a location, or label=value for all that carry it", l)
		case !selector && !locationName.MatchString(l):
			return fmt.Errorf("locations: %q: want a name of letters, digits, '-', '_' and '.'", l)
		case slices.Contains(c.Locations[:i], l):
			return fmt.Errorf("locations: %q is named twice", l)
		}
	}
	for i, d := range c.DependsOn {
		switch {
		case d == c.ID:
			return fmt.Errorf("depends_on: %q is the check itself", d)
		case !idForm.MatchString(d):
			return fmt.Errorf("depends_on: %q: want the id of a check", d)
		case slices.Contains(c.DependsOn[:i], d):
			return fmt.Errorf("depends_on: %q is named twice", d)
		}
	}
	return nil
}

// Place is a location as checks are placed on it.
type Place struct {
	Name    string
	Labels  map[string]string
	Private bool // only checks that name it, or a label of it, run there
}

// RunsAt reports whether the check runs at a location.
func (c *Check) RunsAt(p Place) bool {
	if len(c.Locations) == 0 {
		// A program of this machine is most likely nowhere else.
		return !p.Private && (!c.RunsCommands() || p.Name == defaultLocation)
	}
	for _, l := range c.Locations {
		if name, value, selector := strings.Cut(l, "="); selector && p.Labels[name] == value || l == p.Name {
			return true
		}
	}
	return false
}

// CheckGraph refuses dependencies on checks that do not exist and circles.
func CheckGraph(checks []Check) (id string, err error) {
	on := make(map[string][]string, len(checks))
	for _, c := range checks {
		on[c.ID] = c.DependsOn
	}
	state := map[string]int{} // 1: on the path, 2: done
	var visit func(id string, path []string) error
	visit = func(id string, path []string) error {
		state[id] = 1
		for _, d := range on[id] {
			if _, ok := on[d]; !ok {
				return fmt.Errorf("depends_on: there is no check with the id %q", d)
			}
			switch state[d] {
			case 1:
				return fmt.Errorf("depends_on: the dependencies go round in a circle: %s", strings.Join(append(path, id, d), " -> "))
			case 0:
				if err := visit(d, append(path, id)); err != nil {
					return err
				}
			}
		}
		state[id] = 2
		return nil
	}
	for _, c := range checks {
		if state[c.ID] == 0 {
			if err := visit(c.ID, nil); err != nil {
				return c.ID, err
			}
		}
	}
	return "", nil
}
