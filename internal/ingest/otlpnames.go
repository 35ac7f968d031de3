package ingest

import (
	"reflect"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/prometheus/otlptranslator"
)

// otlpNames builds the names of series under one state of the settings, and
// remembers them. Safe for concurrent use.
type otlpNames struct {
	cfg      OTLPNames
	metrics  otlptranslator.MetricNamer
	labels   otlptranslator.LabelNamer
	promoted map[string]struct{} // or, when all are promoted, those that are not
	flags    byte                // what of the settings is not in the names that it gives

	mu         sync.RWMutex
	metricName map[otlptranslator.Metric]string
	labelName  map[string]string
}

const (
	// keptOTLPNames is how many names of each sort are remembered, and
	// keptOTLPNameBytes how long one may be.
	keptOTLPNames     = 50_000
	keptOTLPNameBytes = 512
)

// settings returns the names for the settings that are in force now.
func (o *OTLP) settings() *otlpNames {
	cfg := o.cfg.Names()
	if n := o.names.Load(); n != nil && reflect.DeepEqual(&n.cfg, &cfg) {
		return n
	}
	n := newOTLPNames(cfg)
	o.names.Store(n)
	return n
}

func newOTLPNames(cfg OTLPNames) *otlpNames {
	strategy := cfg.TranslationStrategy
	if strategy == "" {
		strategy = otlptranslator.UnderscoreEscapingWithSuffixes
	}
	n := &otlpNames{
		cfg:     cfg,
		metrics: otlptranslator.NewMetricNamer("", strategy),
		labels: otlptranslator.LabelNamer{
			UTF8Allowed:                 !strategy.ShouldEscape(),
			UnderscoreLabelSanitization: cfg.LabelNameUnderscoreSanitization,
			PreserveMultipleUnderscores: cfg.LabelNamePreserveMultipleUnderscores,
		},
		promoted:   map[string]struct{}{},
		metricName: map[otlptranslator.Metric]string{},
		labelName:  map[string]string{},
	}
	list := cfg.PromoteResourceAttributes
	if cfg.PromoteAllResourceAttributes {
		list = cfg.IgnoreResourceAttributes
	}
	for _, key := range list {
		n.promoted[key] = struct{}{}
	}
	for i, set := range []bool{n.labels.UTF8Allowed, cfg.LabelNameUnderscoreSanitization, cfg.LabelNamePreserveMultipleUnderscores, cfg.KeepIdentifyingResourceAttributes} {
		if set {
			n.flags |= 1 << i
		}
	}
	return n
}

// promotes reports whether a resource attribute becomes a label of each series.
func (n *otlpNames) promotes(key string) bool {
	_, listed := n.promoted[key]
	return listed != n.cfg.PromoteAllResourceAttributes
}

// metric is the name of a metric's series, without the suffix of its parts.
func (n *otlpNames) metric(m otlptranslator.Metric) (string, error) {
	n.mu.RLock()
	name, ok := n.metricName[m]
	n.mu.RUnlock()
	if ok {
		return name, nil
	}
	name, err := n.metrics.Build(m)
	if err != nil {
		return "", err
	}
	// Not a part of m's strings, which lie in the request.
	name = strings.Clone(validUTF8(name))
	if len(m.Name)+len(m.Unit) <= keptOTLPNameBytes {
		m.Name, m.Unit = strings.Clone(m.Name), strings.Clone(m.Unit)
		n.mu.Lock()
		if len(n.metricName) >= keptOTLPNames {
			clear(n.metricName)
		}
		n.metricName[m] = name
		n.mu.Unlock()
	}
	return name, nil
}

// label is the name of an attribute's label.
func (n *otlpNames) label(key string) (string, error) {
	n.mu.RLock()
	name, ok := n.labelName[key]
	n.mu.RUnlock()
	if ok {
		return name, nil
	}
	name, err := n.labels.Build(key)
	if err != nil {
		return "", err
	}
	name = strings.Clone(validUTF8(name))
	if len(key) <= keptOTLPNameBytes {
		n.mu.Lock()
		if len(n.labelName) >= keptOTLPNames {
			clear(n.labelName)
		}
		n.labelName[strings.Clone(key)] = name
		n.mu.Unlock()
	}
	return name, nil
}

// validUTF8 replaces what is not UTF-8. Strings in protobuf are; some senders
// have seen to it that they are not.
func validUTF8(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}
