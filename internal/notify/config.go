package notify

import (
	"fmt"
	"log/slog"
	"net/url"
	"path/filepath"
	"reflect"
	"sync"

	"github.com/prometheus/alertmanager/config"
	"github.com/prometheus/alertmanager/config/receiver"
	"github.com/prometheus/alertmanager/featurecontrol"
	"github.com/prometheus/alertmanager/matcher/compat"
	"github.com/prometheus/alertmanager/template"
	"github.com/prometheus/common/promslog"
	"github.com/prometheus/common/version"

	"github.com/vedette-sre/vedette/internal/record"
)

// Config is a parsed alertmanager.yml. It is not changed after Parse.
type Config struct {
	conf *config.Config
}

// prepareLibrary sets, once in the process, what the library keeps in package
// variables: the mode in which the alertmanager binary runs by default (matchers
// and label names in UTF-8 with a fall back to the classic syntax), and the
// version whose API is served, which amtool compares with its own.
var prepareLibrary = sync.OnceFunc(func() {
	compat.InitFromFlags(promslog.NewNopLogger(), featurecontrol.NoopFlags{})
	version.Version = "0.34.2"
})

// Parse reads an alertmanager.yml. It accepts and refuses what Alertmanager
// does. Relative names of template, certificate and credential files are taken
// from baseDir. An error has the kind Invalid.
func Parse(content []byte, baseDir string) (c *Config, err error) {
	prepareLibrary()
	defer func() {
		// The library dereferences nil for some combinations of settings
		// that exclude each other.
		if r := recover(); r != nil {
			c, err = nil, record.Errorf(record.Invalid, "alertmanager config: %v", r)
		}
	}()
	conf, err := config.Load(string(content))
	if err != nil {
		return nil, record.Errorf(record.Invalid, "alertmanager config: %w", err)
	}
	dir, err := filepath.Abs(baseDir)
	if err != nil {
		return nil, fmt.Errorf("find the directory %s: %w", baseDir, err)
	}
	for i, glob := range conf.Templates {
		if glob != "" && !filepath.IsAbs(glob) {
			conf.Templates[i] = filepath.Join(dir, glob)
		}
	}
	setDirectory(reflect.ValueOf(conf), dir, make(map[any]bool))
	return &Config{conf: conf}, nil
}

// setDirectory visits every HTTP and TLS setting below v, wherever the library
// put it, and makes its file names absolute.
func setDirectory(v reflect.Value, dir string, seen map[any]bool) {
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() || seen[v.Interface()] {
			return
		}
		seen[v.Interface()] = true
		if d, ok := v.Interface().(interface{ SetDirectory(string) }); ok {
			d.SetDirectory(dir)
			return
		}
		setDirectory(v.Elem(), dir, seen)
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				setDirectory(v.Field(i), dir, seen)
			}
		}
	case reflect.Slice:
		for i := range v.Len() {
			setDirectory(v.Index(i), dir, seen)
		}
	}
}

// DefaultConfig has one receiver without integrations: alerts are grouped and
// shown, and nobody is told.
func DefaultConfig() *Config {
	c, err := Parse([]byte("route: {receiver: nobody, group_by: [alertname]}\nreceivers: [{name: nobody}]\n"), ".")
	if err != nil {
		panic("BUG: the default alertmanager config: " + err.Error())
	}
	return c
}

// Text is the configuration with all defaults, as YAML, secrets hidden: by the
// library where it knows of them, and credentials in plain URLs.
func (c *Config) Text() string { return (&secrets{}).clean(c.conf.String()) }

// Receiver is one receiver of a configuration.
type Receiver struct {
	Name         string   `json:"name"`
	Integrations []string `json:"integrations"` // "webhook[0]"
	Routed       bool     `json:"routed"`       // some route leads to it
}

// Receivers lists the receivers in the order of the file.
func (c *Config) Receivers() []Receiver {
	routed := routedReceivers(c.conf.Route)
	var out []Receiver
	for _, r := range c.conf.Receivers {
		rc := Receiver{Name: r.Name, Routed: routed[r.Name], Integrations: []string{}}
		v := reflect.ValueOf(r)
		for i := range v.NumField() {
			if f := v.Field(i); f.Kind() == reflect.Slice && f.Len() > 0 {
				for j := range f.Len() {
					rc.Integrations = append(rc.Integrations, fmt.Sprintf("%s[%d]", integrationName(v.Type().Field(i)), j))
				}
			}
		}
		out = append(out, rc)
	}
	return out
}

// integrationName makes "webhook" of the key webhook_configs.
func integrationName(f reflect.StructField) string {
	key := f.Tag.Get("yaml")
	for i := range key {
		if key[i] == '_' {
			return key[:i]
		}
	}
	return key
}

func routedReceivers(r *config.Route) map[string]bool {
	out := make(map[string]bool)
	var walk func(*config.Route, string)
	walk = func(r *config.Route, inherited string) {
		if r.Receiver != "" {
			inherited = r.Receiver
		}
		out[inherited] = true
		for _, child := range r.Routes {
			walk(child, inherited)
		}
	}
	walk(r, "")
	return out
}

// NotServed names a section of the file that is read and has no effect here.
type NotServed struct {
	Section string `json:"section"`
	Reason  string `json:"reason"`
}

// NotServed lists the sections of the file that have no effect.
func (c *Config) NotServed() []NotServed {
	var out []NotServed
	if t := c.conf.TracingConfig; !reflect.ValueOf(t).IsZero() {
		out = append(out, NotServed{"tracing", "Vedette sends no traces of its own notifications"})
	}
	if e := c.conf.EventRecorder; len(e.FileOutputs)+len(e.WebhookOutputs)+len(e.KafkaOutputs) > 0 {
		out = append(out, NotServed{"event_recorder", "the outbox keeps the history of notifications; Alertmanager's event recorder is an experiment behind a flag"})
	}
	return out
}

// Validate does what Apply does before it touches anything: reads the
// templates and builds every integration. An error has the kind Invalid.
func (c *Config) Validate() error {
	_, err := c.build(&url.URL{}, slog.New(slog.DiscardHandler))
	return err
}

// channels are the built integrations of a configuration.
type channels struct {
	tmpl *template.Template
	// real holds what reaches the network, by lane.
	real map[lane]*integration
	// order lists the lanes of each receiver in the order of the file. A
	// receiver without integrations has an empty entry.
	order map[string][]lane
}

// build makes the integrations. Those of a receiver that no route uses are made
// too, for rows that were written when it was; if one cannot be made that is no
// error, because Alertmanager would not have tried.
func (c *Config) build(externalURL *url.URL, log *slog.Logger) (*channels, error) {
	tmpl, err := templates(c.conf.Templates)
	if err != nil {
		return nil, record.Errorf(record.Invalid, "read the notification templates: %w", err)
	}
	tmpl.ExternalURL = externalURL
	ch := &channels{tmpl: tmpl, real: make(map[lane]*integration), order: make(map[string][]lane)}
	routed := routedReceivers(c.conf.Route)
	for _, rc := range c.conf.Receivers {
		err := ch.add(rc, log)
		if err != nil && routed[rc.Name] {
			return nil, record.Errorf(record.Invalid, "set up receiver %q: %w", rc.Name, err)
		}
		if err != nil {
			log.Warn("receiver that no route uses cannot be set up", "receiver", rc.Name, "error", err)
		}
	}
	return ch, nil
}

func (ch *channels) add(rc config.Receiver, log *slog.Logger) error {
	ch.order[rc.Name] = nil
	for i, wc := range rc.WebhookConfigs {
		w, err := newWebhook(wc, ch.tmpl, log)
		if err != nil {
			return fmt.Errorf("webhook_configs[%d]: %w", i, err)
		}
		ch.put(rc.Name, "webhook", i, &integration{notify: w.Notify, sendResolved: wc.SendResolved()})
	}
	rc.WebhookConfigs = nil
	built, err := receiver.BuildReceiverIntegrations(rc, ch.tmpl, log)
	if err != nil {
		return err
	}
	for i := range built {
		b := &built[i]
		ch.put(rc.Name, b.Name(), b.Index(), &integration{notify: b.Notify, sendResolved: b.SendResolved()})
	}
	return nil
}

func (ch *channels) put(receiver, name string, index int, in *integration) {
	in.name, in.index = name, index
	l := lane{receiver, fmt.Sprintf("%s[%d]", name, index)}
	ch.real[l] = in
	ch.order[receiver] = append(ch.order[receiver], l)
}
