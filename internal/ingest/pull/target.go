package pull

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// The kinds of targets.
const (
	Postgres = "postgres"
	MySQL    = "mysql" // and MariaDB
	Redis    = "redis" // and Valkey
	Kafka    = "kafka"
)

// Secret is a text that is shown nowhere: it prints and marshals as "<secret>".
type Secret string

const hidden = "<secret>"

func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return hidden
}

// GoString hides the secret from %#v.
func (s Secret) GoString() string { return `"` + s.String() + `"` }

// MarshalText hides the secret from JSON, YAML and logs.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Target is one server to ask. Zero values mean the default.
type Target struct {
	// Kind is postgres, mysql, redis or kafka.
	Kind string `yaml:"kind"`
	// Name is for people: the log and the status. Default: kind and address.
	Name string `yaml:"name,omitempty"`
	// DSN says where the server is, in the words of its own world:
	//
	//	postgres  postgres://user@host:5432/database?sslmode=verify-full, or host=… user=…
	//	mysql     mysql://user@host:3306/, or user@tcp(host:3306)/
	//	redis     redis://user@host:6379/0, rediss:// for TLS, or host:6379
	//	kafka     host:9092,host:9092
	DSN Secret `yaml:"dsn"`
	// Username and the password take the place of those in the DSN. The file is
	// read at each connect, so that a changed password needs no reload.
	Username     string `yaml:"username,omitempty"`
	Password     Secret `yaml:"password,omitempty"`
	PasswordFile string `yaml:"password_file,omitempty"`
	// TLS, when it is there, makes the connection a TLS one or none.
	TLS *TLS `yaml:"tls,omitempty"`
	// SASL is Kafka's way to sign in: plain, scram-sha-256 or scram-sha-512.
	// Default: scram-sha-512 when there is a username, else none.
	SASL string `yaml:"sasl,omitempty"`

	Interval time.Duration `yaml:"interval,omitempty"` // default 15 s, at least 1 s
	Timeout  time.Duration `yaml:"timeout,omitempty"`  // of a whole round; default 5 s, at most the interval
	// Labels are put on every series. They go before job and instance.
	Labels map[string]string `yaml:"labels,omitempty"`

	// SlowQuery is from when on a running query counts as slow; default 10 s.
	SlowQuery time.Duration `yaml:"slow_query,omitempty"`
	// TopQueries is how many statements by total time, and how many tables by dead
	// rows, are told; default 50, -1 none.
	TopQueries int `yaml:"top_queries,omitempty"`
	// Topics and Groups say which are told: regular expressions that must match the
	// whole name; default all.
	Topics string `yaml:"topics,omitempty"`
	Groups string `yaml:"groups,omitempty"`
	// MaxSeries is how many series a round may have; default 10,000. What is over
	// it is left out and counted in vedette_pull_dropped_samples.
	MaxSeries int `yaml:"max_series,omitempty"`
}

// TLS says how to know the server, and how to be known by it. Empty means the
// system's authorities and no certificate of our own.
type TLS struct {
	CAFile             string `yaml:"ca_file,omitempty"`
	CertFile           string `yaml:"cert_file,omitempty"`
	KeyFile            string `yaml:"key_file,omitempty"`
	ServerName         string `yaml:"server_name,omitempty"` // default the host of the DSN
	InsecureSkipVerify bool   `yaml:"insecure_skip_verify,omitempty"`
}

// withDefaults fills in what was left out. It does not check.
func (t Target) withDefaults() Target {
	t.Interval = cmp.Or(t.Interval, 15*time.Second)
	t.Timeout = cmp.Or(t.Timeout, min(5*time.Second, t.Interval))
	t.SlowQuery = cmp.Or(t.SlowQuery, 10*time.Second)
	t.TopQueries = cmp.Or(t.TopQueries, 50)
	t.MaxSeries = cmp.Or(t.MaxSeries, 10_000)
	t.Topics = cmp.Or(t.Topics, ".*")
	t.Groups = cmp.Or(t.Groups, ".*")
	if t.Name == "" {
		t.Name = t.Kind + " " + t.instance()
	}
	if t.Kind == Kafka && t.kafkaUser() != "" {
		t.SASL = cmp.Or(t.SASL, "scram-sha-512")
	}
	return t
}

// topQueries is the number of statements to tell, 0 for none.
func (t Target) topQueries() int { return max(0, t.TopQueries) }

var labelName = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]*$`)

// Validate says what is wrong with the target and what to write instead. No
// message holds the DSN or a password.
func (t Target) Validate() error {
	who := "pull"
	if t.Name != "" {
		who = fmt.Sprintf("pull target %q", t.Name)
	}
	switch t.Kind {
	case Postgres, MySQL, Redis, Kafka:
	case "":
		return fmt.Errorf("%s: kind is missing; write postgres, mysql, redis or kafka", who)
	default:
		return fmt.Errorf("%s: kind %q is not known; write postgres, mysql, redis or kafka", who, t.Kind)
	}
	if t.DSN == "" {
		return fmt.Errorf("%s: dsn of the %s target is missing; write where the server is, such as %s", who, t.Kind, dsnExample[t.Kind])
	}
	if _, _, err := t.endpoint(); err != nil {
		return fmt.Errorf("%s: %w", who, err)
	}
	d := t.withDefaults()
	who = fmt.Sprintf("pull target %q", d.Name)
	switch {
	case t.Password != "" && t.PasswordFile != "":
		return fmt.Errorf("%s: password is set beside password_file; keep one", who)
	case t.SASL != "" && t.Kind != Kafka:
		return fmt.Errorf("%s: sasl is for kafka; leave it out", who)
	case t.SASL != "" && t.SASL != "plain" && t.SASL != "scram-sha-256" && t.SASL != "scram-sha-512":
		return fmt.Errorf("%s: sasl %q is not known; write plain, scram-sha-256 or scram-sha-512", who, t.SASL)
	case t.SASL != "" && t.kafkaUser() == "":
		return fmt.Errorf("%s: sasl is set without a username; set username", who)
	case d.Interval < time.Second:
		return fmt.Errorf("%s: interval %v is below 1s; a database should not be asked more often", who, d.Interval)
	case d.Timeout <= 0 || d.Timeout > d.Interval:
		return fmt.Errorf("%s: timeout %v must be above 0 and at most the interval, %v", who, d.Timeout, d.Interval)
	case d.SlowQuery < 0:
		return fmt.Errorf("%s: slow_query is negative; leave it out for 10s", who)
	case d.TopQueries < -1 || d.TopQueries > 1000:
		return fmt.Errorf("%s: top_queries %d must be between 1 and 1000, or -1 for none", who, d.TopQueries)
	case d.MaxSeries < 0:
		return fmt.Errorf("%s: max_series is negative; leave it out for 10000", who)
	}
	for _, name := range slices.Sorted(maps.Keys(t.Labels)) {
		if !labelName.MatchString(name) || strings.HasPrefix(name, "__") {
			return fmt.Errorf("%s: %q cannot name a label; use letters, digits and _, and no __ at the start", who, name)
		}
		if !utf8.ValidString(t.Labels[name]) {
			return fmt.Errorf("%s: the value of label %s is not UTF-8", who, name)
		}
	}
	for what, expr := range map[string]string{"topics": d.Topics, "groups": d.Groups} {
		if _, err := wholeName(expr); err != nil {
			return fmt.Errorf("%s: %s is not a regular expression: %w", who, what, err)
		}
	}
	if t.TLS != nil {
		if (t.TLS.CertFile == "") != (t.TLS.KeyFile == "") {
			return fmt.Errorf("%s: tls.cert_file and tls.key_file go together; set both or none", who)
		}
	}
	return nil
}

// dsnExample is shown to whoever wrote a DSN that cannot be read.
var dsnExample = map[string]string{
	Postgres: "postgres://vedette@127.0.0.1:5432/shop",
	MySQL:    "mysql://vedette@127.0.0.1:3306/",
	Redis:    "redis://127.0.0.1:6379",
	Kafka:    "127.0.0.1:9092,127.0.0.1:9093",
}

// badDSN is the error for a DSN that a client cannot read. What the client says
// is not repeated: it quotes parts of the DSN, which may be parts of a password.
func badDSN(kind string) error {
	return fmt.Errorf("dsn of the %s target cannot be read; write it like %s, and the password in password_file", kind, dsnExample[kind])
}

// endpoint is the address and the password that the DSN holds.
func (t Target) endpoint() (addr, password string, err error) {
	if cutPassword(string(t.DSN)) {
		return "", "", badDSN(t.Kind)
	}
	switch t.Kind {
	case Postgres:
		return t.postgresEndpoint()
	case MySQL:
		return t.mysqlEndpoint()
	case Redis:
		return t.redisEndpoint()
	case Kafka:
		return t.kafkaEndpoint()
	}
	panic("BUG: endpoint of a target that was not validated")
}

// cutPassword is true for a URL whose password holds a /, ? or # that is not
// escaped: the beginning of the password would be taken for the port, and shown.
func cutPassword(dsn string) bool {
	_, rest, isURL := strings.Cut(dsn, "://")
	end := strings.IndexAny(rest, "/?#")
	return isURL && end >= 0 && strings.Contains(rest[end:], "@")
}

func (t Target) instance() string {
	addr, _, err := t.endpoint()
	if err != nil {
		panic("BUG: instance of a target that was not validated")
	}
	return addr
}

// labelPairs are the labels of every series of the target, sorted by name.
func (t Target) labelPairs() []string {
	ls := map[string]string{"job": t.Kind, "instance": t.instance()}
	maps.Copy(ls, t.Labels)
	var pairs []string
	for _, name := range slices.Sorted(maps.Keys(ls)) {
		pairs = append(pairs, name, ls[name])
	}
	return pairs
}

// ID names a valid target by the labels of its series: two with the same would
// write the same series. It is what a sink should group the samples by.
func (t Target) ID() string { return strings.Join(t.labelPairs(), "\xff") }

// phase is the target's place in its interval, so that many are not asked at one
// time, and each keeps its place over a restart.
func (t Target) phase() time.Duration {
	h := fnv.New64a()
	_, _ = h.Write([]byte(t.ID())) // never fails
	return time.Duration(h.Sum64() % uint64(t.Interval))
}

// password is what the target signs in with, "" for what the DSN has.
func (t Target) password() (string, error) {
	if t.PasswordFile == "" {
		return string(t.Password), nil
	}
	b, err := os.ReadFile(t.PasswordFile)
	if err != nil {
		return "", fmt.Errorf("password_file: %w", err)
	}
	p := strings.TrimRight(string(b), "\r\n")
	if p == "" {
		return "", fmt.Errorf("password_file: %s is empty", t.PasswordFile)
	}
	return p, nil
}

// secrets are all texts that must not be shown.
func (t Target) secrets() []string {
	_, fromDSN, _ := t.endpoint()
	now, _ := t.password() // what cannot be read cannot be shown
	return []string{now, string(t.Password), fromDSN}
}

// tlsConfig is nil when the target asks for none.
func (t Target) tlsConfig(host string) (*tls.Config, error) {
	if t.TLS == nil {
		return nil, nil
	}
	cfg := &tls.Config{
		ServerName:         cmp.Or(t.TLS.ServerName, host),
		InsecureSkipVerify: t.TLS.InsecureSkipVerify, //nolint:gosec // the user's own word
		MinVersion:         tls.VersionTLS12,
	}
	if t.TLS.CAFile != "" {
		pem, err := os.ReadFile(t.TLS.CAFile)
		if err != nil {
			return nil, fmt.Errorf("tls.ca_file: %w", err)
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("tls.ca_file: %s holds no certificate in PEM", t.TLS.CAFile)
		}
	}
	if t.TLS.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(t.TLS.CertFile, t.TLS.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("tls.cert_file: %w", err)
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	return cfg, nil
}

func wholeName(expr string) (*regexp.Regexp, error) { return regexp.Compile("^(?:" + expr + ")$") }

// validateAll checks each target, and that no two write the same series.
func validateAll(ts []Target) error {
	seen := map[string]string{}
	var errs []error
	for _, t := range ts {
		if err := t.Validate(); err != nil {
			errs = append(errs, err)
			continue
		}
		d := t.withDefaults()
		if other, ok := seen[d.ID()]; ok {
			errs = append(errs, fmt.Errorf("pull targets %q and %q would write the same series; give one of them a label of its own under labels", other, d.Name))
		}
		seen[d.ID()] = d.Name
	}
	return errors.Join(errs...)
}
