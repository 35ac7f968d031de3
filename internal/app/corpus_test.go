package app

import (
	"go/ast"
	"go/parser"
	"go/token"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/vedette-sre/vedette/internal/ingest"
	"github.com/vedette-sre/vedette/internal/web"
)

// moduleDir finds a module as the build does.
func moduleDir(t *testing.T, path string) string {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", path).Output()
	if err != nil {
		t.Fatalf("find module %s: %v", path, err)
	}
	return strings.TrimSpace(string(out))
}

// loadAs loads a foreign file the way `vedette run` does: named by a key of
// vedette.yml.
func loadAs(t *testing.T, key, path string) (*plan, error) {
	t.Helper()
	main := filepath.Join(t.TempDir(), "vedette.yml")
	if err := os.WriteFile(main, []byte(key+": "+strconv.Quote(path)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := LoadConfig(main)
	if err != nil {
		t.Fatal(err)
	}
	return makePlan(c, slog.New(slog.DiscardHandler))
}

// expectedErrors reads the table of bad configurations out of Prometheus's own
// test: file name to a part of the error.
func expectedErrors(t *testing.T, file string) map[string]string {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	ast.Inspect(f, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || spec.Names[0].Name != "expectedErrors" {
			return true
		}
		for _, e := range spec.Values[0].(*ast.CompositeLit).Elts {
			row := map[string]string{}
			for _, kv := range e.(*ast.CompositeLit).Elts {
				kv := kv.(*ast.KeyValueExpr)
				row[kv.Key.(*ast.Ident).Name] = literal(t, kv.Value)
			}
			out[row["filename"]] = row["errMsg"]
		}
		return false
	})
	if len(out) < 100 {
		t.Fatalf("got %d rows of upstream's table, want over 100: has its test changed?", len(out))
	}
	return out
}

// literal is the value of a string literal, or of several added up.
func literal(t *testing.T, e ast.Expr) string {
	t.Helper()
	switch e := e.(type) {
	case *ast.BasicLit:
		s, err := strconv.Unquote(e.Value)
		if err != nil {
			t.Fatal(err)
		}
		return s
	case *ast.BinaryExpr:
		return literal(t, e.X) + literal(t, e.Y)
	}
	t.Fatalf("upstream's table holds a %T", e)
	return ""
}

// acceptedUnserved are the bad configurations whose only fault lies in the
// section of a discovery which this build does not hold (see
// ingest.UnservedDiscoveries): it takes the section, says that it is not served,
// and cannot know what the real discovery would refuse. Built with -tags allsd
// they are refused.
var acceptedUnserved = map[string][]string{
	"azure":      {"azure_bearertoken_basicauth", "azure_client_id_missing", "azure_client_secret_missing", "azure_subscription_id_missing", "azure_tenant_id_missing"},
	"ec2":        {"ec2_filters_empty_values", "ec2_token_file"},
	"eureka":     {"eureka_invalid_server", "eureka_no_server"},
	"kubernetes": {"kubernetes_api_server_with_own_namespace", "kubernetes_authorization_basicauth", "kubernetes_bearertoken", "kubernetes_bearertoken_basicauth", "kubernetes_http_config_without_api_server", "kubernetes_kubeconfig_with_apiserver", "kubernetes_kubeconfig_with_http_config", "kubernetes_kubeconfig_with_own_namespace", "kubernetes_selectors_duplicated_role", "kubernetes_selectors_endpoints", "kubernetes_selectors_incorrect_selector", "kubernetes_selectors_ingress", "kubernetes_selectors_node", "kubernetes_selectors_pod", "kubernetes_selectors_service"},
	"lightsail":  {"lightsail_token_file"},
	"marathon":   {"marathon_authtoken_authorization", "marathon_authtoken_authtokenfile", "marathon_authtoken_basicauth", "marathon_authtoken_bearertoken", "marathon_no_servers"},
	"outscale":   {"outscale_no_region", "outscale_no_secret", "outscale_two_secrets"},
	"puppetdb":   {"puppetdb_token_file"},
	"stackit":    {"stackit_endpoint"},
	"uyuni":      {"uyuni_no_server", "uyuni_token_file"},
}

// refusedElsewhere are refused by Prometheus too, though neither their name nor
// its table says so: other tests of it do.
var refusedElsewhere = map[string]string{
	"config_with_deprecated_am_api_config.yml": "expected Alertmanager api version to be one of [v2] but got v1",
	"otlp_allow_utf8.incompatible.yml":         "not allowed when UTF8 is disabled",
	"otlp_no_translation.incompatible.yml":     "not allowed when UTF8 is disabled",
}

func TestPrometheusConfigCorpus(t *testing.T) {
	dir := moduleDir(t, "github.com/prometheus/prometheus")
	table := expectedErrors(t, filepath.Join(dir, "config/config_test.go"))
	files, err := filepath.Glob(filepath.Join(dir, "config/testdata/*.yml"))
	if err != nil || len(files) < 150 {
		t.Fatalf("got %d files (%v), want over 150", len(files), err)
	}
	unserved := ingest.UnservedDiscoveries()
	exempt := map[string]string{}
	for kind, names := range acceptedUnserved {
		if slices.Contains(unserved, kind) {
			for _, n := range names {
				exempt[n+".bad.yml"] = kind
			}
		}
	}
	loaded, refused, accepted := 0, 0, 0
	for _, f := range files {
		name := filepath.Base(f)
		want, bad := table[name]
		if !bad {
			want, bad = refusedElsewhere[name]
		}
		bad = bad || strings.Contains(name, ".bad.")
		p, err := loadAs(t, "prometheus", f)
		kind, isExempt := exempt[name]
		switch {
		case isExempt && err != nil:
			t.Errorf("%s: refused now (%v); take it off the list of acceptedUnserved", name, err)
		case isExempt:
			accepted++
			if !slices.ContainsFunc(p.notServed, func(n web.NotServed) bool { return strings.Contains(n.Section, kind+"_sd_configs") }) {
				t.Errorf("%s: accepted, and %s_sd_configs is not named as not served", name, kind)
			}
		case bad && err == nil:
			t.Errorf("%s: accepted; upstream refuses it: %s", name, want)
		case bad:
			refused++
			// Upstream's own words, before they are made plain for a person. Where a
			// discovery is not in this build, the next fault of the file is told.
			_, _, raw := ingest.LoadPrometheus(f, slog.New(slog.DiscardHandler))
			of, _, _ := strings.Cut(name, "_")
			want = strings.ReplaceAll(want, "file testdata/", "file "+filepath.Join(dir, "config/testdata")+"/")
			switch {
			case raw != nil && strings.Contains(raw.Error(), want):
			case raw != nil && slices.Contains(unserved, of) && strings.Contains(raw.Error(), "job_name is empty"):
			default:
				t.Errorf("%s: refused with %v, want %q", name, raw, want)
			}
		case err != nil:
			t.Errorf("%s: refused; upstream loads it: %v", name, err)
		default:
			loaded++
		}
	}
	for name := range table {
		if _, err := os.Stat(filepath.Join(dir, "config/testdata", name)); err != nil {
			t.Errorf("upstream's table names %s: %v", name, err)
		}
	}
	t.Logf("%d load, %d are refused, %d are accepted because a discovery is not in this build", loaded, refused, accepted)
}

func TestPrometheusExamples(t *testing.T) {
	dir := moduleDir(t, "github.com/prometheus/prometheus")
	files, err := filepath.Glob(filepath.Join(dir, "documentation/examples/*.yml"))
	if err != nil || len(files) < 20 {
		t.Fatalf("got %d examples (%v), want over 20", len(files), err)
	}
	// These lie beside the examples and are not configurations of Prometheus.
	foreign := map[string]bool{"promtool-http-config-file.yml": true, "rbac-setup.yml": true, "web-config.yml": true}
	files = append(files, filepath.Join(dir, "cmd/promtool/testdata/prometheus-config.good.yml"), filepath.Join(dir, "documentation/examples/kubernetes-rabbitmq/rc.yml"))
	foreign["rc.yml"] = true
	for _, f := range files {
		if _, err := os.Stat(f); err != nil {
			continue
		}
		_, err := loadAs(t, "prometheus", f)
		if foreign[filepath.Base(f)] != (err != nil) {
			t.Errorf("%s: got %v", f, err)
		}
	}
}

// TestRulesCorpus gives every rule file of Prometheus's module to a
// prometheus.yml.
func TestRulesCorpus(t *testing.T) {
	dir := moduleDir(t, "github.com/prometheus/prometheus")
	// What the name does not say.
	refused := map[string]bool{
		"rules/fixtures/invalid_rules.yaml":           true, // an unknown field
		"cmd/promtool/testdata/rules-bad.yml":         true,
		"cmd/promtool/testdata/rules_extrafields.yml": true, // promtool takes it with --ignore-unknown-fields
		// Bad under the legacy validation scheme only, which its test sets.
		"model/rulefmt/testdata/legacy_validation_annotation.bad.yaml": false,
	}
	n := 0
	for _, glob := range []string{"rules/fixtures/*.yaml", "model/rulefmt/testdata/*.yaml", "cmd/promtool/testdata/rules*.yml", "config/testdata/first.rules"} {
		files, err := filepath.Glob(filepath.Join(dir, glob))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %d files (%v)", glob, len(files), err)
		}
		for _, f := range files {
			rel, _ := filepath.Rel(dir, f)
			if strings.Contains(rel, "rules_run") {
				continue // a unit test of rules, not rules
			}
			main := filepath.Join(t.TempDir(), "prometheus.yml")
			if err := os.WriteFile(main, []byte("rule_files: ["+strconv.Quote(f)+"]\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := loadAs(t, "prometheus", main)
			want, told := refused[rel]
			if !told {
				want = strings.Contains(rel, ".bad.")
			}
			if want != (err != nil) {
				t.Errorf("%s: refused %v, want %v: %v", rel, err != nil, want, err)
			}
			n++
		}
	}
	t.Logf("%d rule files", n)
}

// TestBlackboxCorpus loads what the blackbox_exporter carries.
func TestBlackboxCorpus(t *testing.T) {
	dir := moduleDir(t, "github.com/prometheus/blackbox_exporter")
	files, err := filepath.Glob(filepath.Join(dir, "config/testdata/*.yml"))
	if err != nil || len(files) < 10 {
		t.Fatalf("got %d files (%v), want over 10", len(files), err)
	}
	for _, f := range append(files, filepath.Join(dir, "blackbox.yml"), filepath.Join(dir, "example.yml")) {
		name := filepath.Base(f)
		_, err := loadAs(t, "blackbox", f)
		if want := strings.Contains(name, "-bad") || strings.HasPrefix(name, "invalid-"); want != (err != nil) {
			t.Errorf("%s: refused %v, want %v: %v", name, err != nil, want, err)
		}
	}
}
