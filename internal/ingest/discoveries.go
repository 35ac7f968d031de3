package ingest

import (
	"fmt"
	"reflect"
	"sort"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/discovery"

	// The discoveries whose weight is small: static, file, http, dns, and
	// Consul and Docker at 1.3 MB of program each. All others together cost
	// 100 MB; `go build -tags allsd` links them (see discoveries_all.go).
	_ "github.com/prometheus/prometheus/discovery/consul"
	_ "github.com/prometheus/prometheus/discovery/dns"
	_ "github.com/prometheus/prometheus/discovery/file"
	_ "github.com/prometheus/prometheus/discovery/http"
	_ "github.com/prometheus/prometheus/discovery/moby"
)

// unserved stands for a discovery that this build does not hold: its section is
// accepted, finds no targets, and is named by Unserved.
// K is a struct with one field, whose name is the kind's: each kind needs a type
// of its own, because the registry tells sections apart by type.
type unserved[K any] struct {
	// Given tells a section from none: the registry refuses one that decodes to
	// the zero value.
	Given bool
}

// UnmarshalYAML takes any content: what the real one would refuse is not known
// here.
func (u *unserved[K]) UnmarshalYAML(unmarshal func(any) error) error {
	var ignored any
	u.Given = true
	return unmarshal(&ignored)
}

func (u *unserved[K]) Name() string { return reflect.TypeFor[K]().Field(0).Name }

func (u *unserved[K]) NewDiscoverer(discovery.DiscovererOptions) (discovery.Discoverer, error) {
	return nil, fmt.Errorf("%s_sd_configs is not in this build; build with -tags allsd", u.Name())
}

func (u *unserved[K]) NewDiscovererMetrics(prometheus.Registerer, discovery.RefreshMetricsInstantiator) discovery.DiscovererMetrics {
	return &discovery.NoopDiscovererMetrics{}
}

// stand registers the stand-in for one kind.
func stand[K any]() {
	u := &unserved[K]{}
	discovery.RegisterConfig(u)
	unservedKinds[u.Name()] = true
}

var (
	unservedKinds = map[string]bool{}
	standOnce     sync.Once
)

// UnservedDiscoveries names the kinds of service discovery that are accepted in
// prometheus.yml and not served by this build. The registry behind it belongs to
// the Prometheus library and is one for the process, hence the once.
func UnservedDiscoveries() []string {
	standOnce.Do(standIns)
	out := make([]string, 0, len(unservedKinds))
	for k := range unservedKinds {
		out = append(out, k)
	}
	sort.Strings(out)
	return out
}
