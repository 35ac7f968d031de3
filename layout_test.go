package vedette_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"slices"
	"sort"
	"strings"
	"testing"
)

const module = "github.com/vedette-sre/vedette/"

// mayImport is the shape of the house: who may import whom. A station imports
// record and no other station; app joins them; web looks at them; nobody imports
// web but app. To change the shape, change this table in the same commit and say
// why.
var mayImport = map[string][]string{
	// instrument is for other people's programs: few imports, none of ours.
	"instrument":        {},
	"instrument/health": {"instrument"},
	"instrument/export": {"instrument"},
	// golden and goldengrpc are middleware; memo keeps the instruments that several
	// metrics of one request share, so that a request costs one lookup.
	"instrument/golden":        {"instrument", "instrument/internal/memo"},
	"instrument/goldengrpc":    {"instrument", "instrument/internal/memo"},
	"instrument/internal/memo": {},
	"cmd/vedette":              {"internal/app"},
	"e2e":                      {}, // tests beside real peers
	"e2e/bench":                {}, // drives whole processes from outside
	"internal/record":          {},
	"internal/probe":           {"instrument", "internal/record", "internal/probe/browser"},
	// browser hides a Chromium and its protocol.
	"internal/probe/browser": {"internal/record"},
	"internal/fleet":         {"internal/record"},
	// importer makes checks of the files of other monitors, in probe's words.
	"internal/importer": {"internal/probe"},
	"internal/ingest":   {"instrument", "internal/record"},
	// pull hides the clients of databases and queues; app joins it to ingest.
	"internal/ingest/pull":  {"internal/record"},
	"internal/store/metric": {"instrument", "internal/record"},
	"internal/store/state":  {"internal/record"},
	"internal/query":        {"instrument", "internal/record"},
	"internal/judge":        {"internal/record"},
	"internal/notify":       {"instrument", "internal/record"},
	// demo is a system to watch, not a station: it knows nothing of Vedette.
	"internal/demo": {},
	"internal/web": {"instrument", "internal/record", "internal/probe", "internal/fleet", "internal/ingest", "internal/store/metric", "internal/store/state",
		"internal/query", "internal/judge", "internal/notify"},
	"internal/app": {"instrument", "instrument/health", "internal/record", "internal/probe", "internal/fleet", "internal/ingest", "internal/ingest/pull", "internal/store/metric", "internal/store/state",
		"internal/query", "internal/judge", "internal/notify", "internal/web", "internal/demo", "internal/importer"},
}

// home is where a heavy dependency lives, and nowhere else.
var home = map[string][]string{
	"modernc.org/sqlite":                                 {"internal/store/state"},
	"github.com/chromedp":                                {"internal/probe/browser"},
	"github.com/google/cel-go":                           {"internal/probe"},
	"github.com/ohler55/ojg":                             {"internal/probe"},
	"github.com/santhosh-tekuri/jsonschema":              {"internal/probe"},
	"github.com/prometheus/prometheus/tsdb":              {"internal/store/metric", "internal/query"}, // query: iterating chunks for /federate
	"github.com/prometheus/prometheus/scrape":            {"internal/ingest", "internal/query", "internal/web", "internal/app"},
	"github.com/prometheus/prometheus/web/api/v1":        {"internal/query", "internal/app"},
	"github.com/prometheus/alertmanager":                 {"internal/notify"},
	"github.com/prometheus/blackbox_exporter":            {"internal/probe"},
	"github.com/shirou/gopsutil":                         {"internal/ingest"},
	"github.com/prometheus/procfs":                       {"internal/ingest"},
	"github.com/miekg/dns":                               {"internal/demo", "internal/probe"},
	"golang.org/x/crypto":                                {"internal/web", "internal/probe"}, // probe: OCSP
	"github.com/fsnotify/fsnotify":                       {"internal/app"},
	"github.com/goccy/go-yaml":                           {"internal/app", "internal/importer"}, // importer: checks as the app reads them
	"github.com/prometheus/client_golang/exp/api/remote": {"internal/ingest"},
	"github.com/prometheus/prometheus/prompb":            {"internal/ingest", "e2e/bench"},
	"github.com/prometheus/prometheus/storage/remote":    {"internal/app", "internal/ingest"}, // ingest: the translation of OTLP
	"github.com/prometheus/prometheus/discovery":         {"internal/ingest"},
	"github.com/coder/websocket":                         {"internal/probe"},
	"google.golang.org/grpc":                             {"instrument/goldengrpc", "internal/probe", "internal/ingest", "internal/app"},
	"github.com/jackc/pgx":                               {"internal/ingest/pull"},
	"github.com/go-sql-driver/mysql":                     {"internal/ingest/pull"},
	"github.com/redis/go-redis":                          {"internal/ingest/pull"},
	"github.com/twmb/franz-go":                           {"internal/ingest/pull"},
	"github.com/robfig/cron":                             {"internal/judge"},
	"github.com/prometheus/prometheus/rules":             {"internal/judge", "internal/query", "internal/app"},
}

type pkg struct {
	ImportPath string
	Imports    []string
}

func list(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports", "./...")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var ps []pkg
	for dec := json.NewDecoder(strings.NewReader(string(out))); dec.More(); {
		var p pkg
		if err := dec.Decode(&p); err != nil {
			t.Fatal(err)
		}
		ps = append(ps, p)
	}
	return ps
}

func TestLayout(t *testing.T) {
	seen := map[string]bool{}
	for _, p := range list(t) {
		name := strings.TrimPrefix(p.ImportPath, module)
		if name == strings.TrimSuffix(module, "/") {
			continue // this test's own package
		}
		allowed, known := mayImport[name]
		if !known {
			t.Errorf("package %s is not in the table; give it a place", name)
			continue
		}
		seen[name] = true
		for _, imp := range p.Imports {
			if of, ok := strings.CutPrefix(imp, module); ok && !slices.Contains(allowed, of) {
				t.Errorf("%s imports %s, which the table does not allow", name, of)
			}
			for dep, rooms := range home {
				if (imp == dep || strings.HasPrefix(imp, dep+"/")) && !slices.Contains(rooms, name) {
					t.Errorf("%s imports %s, whose home is %s", name, imp, strings.Join(rooms, ", "))
				}
			}
		}
	}
	for name := range mayImport {
		if !seen[name] {
			t.Errorf("the table names %s, which does not exist", name)
		}
	}
}

// TestDependencies makes a new dependency a visible line of a change.
func TestDependencies(t *testing.T) {
	want, err := os.ReadFile("deps.txt")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("scripts/deps")
	cmd.Stderr = os.Stderr
	got, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	if string(got) == string(want) {
		return
	}
	g, w := strings.Split(strings.TrimSpace(string(got)), "\n"), strings.Split(strings.TrimSpace(string(want)), "\n")
	sort.Strings(g)
	for _, l := range g {
		if !slices.Contains(w, l) {
			t.Errorf("new: %s", l)
		}
	}
	for _, l := range w {
		if !slices.Contains(g, l) {
			t.Errorf("gone: %s", l)
		}
	}
	t.Error("deps.txt is not what the program is built from; run make deps, and say in the commit what the new one saves and weighs")
}
