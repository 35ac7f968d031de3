package app

import (
	"reflect"
	"sort"
	"strings"
)

// nearest suggests what an unknown key may have meant: the known key with the
// fewest changed letters, or the list of the top-level keys.
func nearest(name string) string {
	keys := map[string]bool{}
	collectKeys(reflect.TypeFor[Config](), keys, 0)
	best, bestN := "", 1+len(name)/3
	sorted := make([]string, 0, len(keys))
	for k := range keys {
		sorted = append(sorted, k)
	}
	sort.Strings(sorted)
	for _, k := range sorted {
		if n := distance(name, k); n <= bestN && (best == "" || n < distance(name, best)) {
			best = k
		}
	}
	if best != "" {
		return "did you mean " + best + "?"
	}
	return "see docs/config.md for the keys"
}

func collectKeys(t reflect.Type, keys map[string]bool, depth int) {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice || t.Kind() == reflect.Map {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct || depth > 5 {
		return
	}
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		if f.Tag.Get("yaml") == "" || name == "-" {
			continue
		}
		if name != "" {
			keys[name] = true
		}
		collectKeys(f.Type, keys, depth+1)
	}
}

// distance is Levenshtein's.
func distance(a, b string) int {
	prev := make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := range len(a) {
		cur := make([]int, len(b)+1)
		cur[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			cur[j+1] = min(prev[j]+cost, prev[j+1]+1, cur[j]+1)
		}
		prev = cur
	}
	return prev[len(b)]
}
