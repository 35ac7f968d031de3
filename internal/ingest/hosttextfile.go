package ingest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// textfiles adds the metrics of the *.prom files of the directory, as
// node_exporter's textfile collector does. A file is taken whole or not at all;
// a metric that another file or a part of the host already has is the fault of
// the later file. Files are read in the order of their names.
func (h *Host) textfiles(s *hostSamples, otel []hostSample, ch chan<- prometheus.Metric) {
	// A fault is told when it is new, and again after it was gone.
	faults := map[string]string{}
	fault := func(path string, err error) {
		faults[path] = err.Error()
		if h.textFaults[path] != err.Error() {
			h.onError("textfile", err)
		}
	}
	files, err := os.ReadDir(h.cfg.TextfileDirectory)
	if err != nil {
		fault(h.cfg.TextfileDirectory, fmt.Errorf("read host.textfile_directory: %w", err))
	}
	own := map[string]bool{}
	for _, o := range slices.Concat(s.all, otel) {
		own[o.name] = true
	}
	seen := textfileSeries{kinds: map[string]dto.MetricType{}, help: map[string]string{}, series: map[string]bool{}}
	for _, f := range files {
		if !strings.HasSuffix(f.Name(), ".prom") {
			continue
		}
		path := filepath.Join(h.cfg.TextfileDirectory, f.Name())
		mtime, mfs, err := readTextfile(path, h.cfg.MaxTextfile)
		if err == nil {
			err = seen.add(mfs, own)
		}
		if err != nil {
			fault(path, fmt.Errorf("%s: %w", path, err))
			continue
		}
		s.gauge("node_textfile_mtime_seconds", "When a text file that was read was changed, Unix seconds.", mtime, "file", path)
		for _, mf := range mfs {
			d := prometheus.NewDesc(mf.GetName(), seen.help[mf.GetName()], nil, nil)
			for _, m := range mf.Metric {
				ch <- rawMetric{d, m}
			}
		}
	}
	h.textFaults = faults
	s.gauge("node_textfile_scrape_error", "1 if a text file or the directory could not be read.", truth(len(faults) > 0))
}

// readTextfile reads one file, at most limit bytes of it, and gives its time of
// change in whole Unix seconds and its families by name.
func readTextfile(path string, limit int64) (mtime float64, mfs []*dto.MetricFamily, err error) {
	st, err := os.Stat(path)
	if err != nil {
		return 0, nil, err
	}
	if !st.Mode().IsRegular() { // a pipe would keep us waiting
		return 0, nil, errors.New("is not a regular file")
	}
	f, err := os.Open(path)
	if err != nil {
		return 0, nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return 0, nil, err
	}
	if int64(len(b)) > limit {
		return 0, nil, fmt.Errorf("has more than %d bytes; make it smaller or raise host.max_textfile_bytes", limit)
	}
	p := expfmt.NewTextParser(model.LegacyValidation)
	byName, err := p.TextToMetricFamilies(bytes.NewReader(b))
	if err != nil {
		return 0, nil, err
	}
	for _, mf := range byName {
		for _, m := range mf.Metric {
			if m.TimestampMs != nil {
				return 0, nil, fmt.Errorf("%s has a timestamp; write it without: the time is that of reading", mf.GetName())
			}
			// As a scrape would: job and instance say who collected.
			for _, l := range m.Label {
				if n := l.GetName(); n == "job" || n == "instance" {
					l.Name = new("exported_" + n)
				}
			}
		}
		mfs = append(mfs, mf)
	}
	slices.SortFunc(mfs, func(a, b *dto.MetricFamily) int { return strings.Compare(a.GetName(), b.GetName()) })
	return float64(st.ModTime().Unix()), mfs, nil
}

// textfileSeries are what the files read so far have.
type textfileSeries struct {
	kinds  map[string]dto.MetricType
	help   map[string]string // of the first file that has the name
	series map[string]bool
}

// add takes all families of a file, or none and says why.
func (t *textfileSeries) add(mfs []*dto.MetricFamily, own map[string]bool) error {
	var keys []string
	for _, mf := range mfs {
		name := mf.GetName()
		if own[name] || strings.HasPrefix(name, "node_textfile_") {
			return fmt.Errorf("%s is a metric of the host itself; rename it", name)
		}
		if kind, ok := t.kinds[name]; ok && kind != mf.GetType() {
			return fmt.Errorf("%s has another type in another file", name)
		}
		for _, m := range mf.Metric {
			ls := make([]string, 0, len(m.Label))
			for _, l := range m.Label {
				if l.GetValue() != "" {
					ls = append(ls, l.GetName()+"\xff"+l.GetValue())
				}
			}
			sort.Strings(ls)
			keys = append(keys, name+"\xff"+strings.Join(ls, "\xff"))
		}
	}
	sort.Strings(keys)
	for i, k := range keys {
		if t.series[k] || i > 0 && keys[i-1] == k {
			name, _, _ := strings.Cut(k, "\xff")
			return fmt.Errorf("%s is there twice with the same labels", name)
		}
	}
	for _, k := range keys {
		t.series[k] = true
	}
	for _, mf := range mfs {
		name := mf.GetName()
		if _, ok := t.kinds[name]; !ok {
			t.kinds[name], t.help[name] = mf.GetType(), mf.GetHelp()
			if mf.Help == nil {
				t.help[name] = "From a text file."
			}
		}
	}
	return nil
}
