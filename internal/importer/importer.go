// Package importer turns the configurations of other monitors into Vedette's
// YAML and lists what did not convert. It hides their formats; reading a file
// runs nothing and asks nobody.
package importer

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/vedette-sre/vedette/internal/probe"
)

// Options are what an import needs besides the file.
type Options struct {
	// Secrets writes passwords, tokens and the like as the source has them.
	// Without it they become references to files, or are left out and noted.
	Secrets bool
	// MaxChecks bounds the checks that are made; default 20,000.
	MaxChecks int
	// Prometheus is the prometheus.yml that goes with a blackbox.yml.
	Prometheus []byte
}

// Result is what an import made.
type Result struct {
	YAML  []byte // a part of a vedette.yml: checks, maintenance
	Notes []Note // what did not convert, in the order of the source
	Count int    // of checks
	// Unbuilt counts checks whose kind this build does not have; config check
	// refuses them.
	Unbuilt int
}

// Note is one thing that did not convert, or not quite.
type Note struct {
	Where string // in the source, such as endpoints[2] (shop)
	What  string
	Do    string // what the person is to do; "" for nothing
}

// String is the note on one line.
func (n Note) String() string {
	s := n.Where + ": " + n.What
	if n.Do != "" {
		s += "; " + n.Do
	}
	return strings.Join(strings.Fields(strings.ToValidUTF8(s, "\uFFFD")), " ")
}

// MaxSource bounds a file, in bytes.
const MaxSource = 64 << 20

const (
	defaultMaxChecks = 20_000 // as many as a tenant may have
	maxNotes         = 20_000
	maxShown         = 200 // bytes of a text of the source within a note
)

var readers = map[string]func(*importing, []byte) error{
	"gatus":       (*importing).gatus,
	"uptime-kuma": (*importing).kuma,
	"blackbox":    (*importing).blackbox,
	"cloudprober": (*importing).cloudprober,
	"har":         (*importing).har,
}

// Kinds lists what can be imported.
func Kinds() []string { return []string{"blackbox", "cloudprober", "gatus", "har", "uptime-kuma"} }

// Import reads a file of the given kind. The error begins with the kind; it is
// about the file as a whole, and what is wrong with a part of it is a note.
func Import(kind string, source []byte, o Options) (*Result, error) {
	read := readers[kind]
	if read == nil {
		return nil, fmt.Errorf("%q: want one of %s", kind, strings.Join(Kinds(), ", "))
	}
	if len(source) > MaxSource || len(o.Prometheus) > MaxSource {
		return nil, fmt.Errorf("%s: the file has more than %d MiB; want a smaller one", kind, MaxSource>>20)
	}
	if len(o.Prometheus) > 0 && kind != "blackbox" {
		return nil, fmt.Errorf("%s: a prometheus.yml goes with the kind blackbox only", kind)
	}
	if o.MaxChecks <= 0 {
		o.MaxChecks = defaultMaxChecks
	}
	im := &importing{o: o, ids: map[string]bool{}, said: map[string]bool{}}
	if err := read(im, bytes.TrimPrefix(source, []byte("\uFEFF"))); err != nil {
		return nil, fmt.Errorf("%s: %w", kind, err)
	}
	if len(im.checks) == 0 {
		why := ""
		if len(im.notes) > 0 {
			why = ": " + im.notes[len(im.notes)-1].String()
		}
		return nil, fmt.Errorf("%s: nothing in the file became a check%s", kind, why)
	}
	text, err := im.render(kind)
	if err != nil {
		return nil, fmt.Errorf("%s: write the result: %w", kind, err)
	}
	return &Result{YAML: text, Notes: im.notes, Count: len(im.checks), Unbuilt: im.unbuilt}, nil
}

// importing is one import under way.
type importing struct {
	o       Options
	notes   []Note
	said    map[string]bool // what is said once
	ids     map[string]bool
	checks  []string // as they are written, each an element of the list
	windows []window
	files   map[string]bool // of secrets that are referred to
	unbuilt int
}

// window is a maintenance window in Vedette's keys.
type window struct {
	Name     string            `yaml:"name"`
	Checks   []string          `yaml:"checks,omitempty"`
	Labels   map[string]string `yaml:"labels,omitempty"`
	Cron     string            `yaml:"cron,omitempty"`
	Duration string            `yaml:"duration,omitempty"`
	Zone     string            `yaml:"zone,omitempty"`
}

// draft is a check in the making.
type draft struct {
	where string // in the source
	kind  string // of the check
	group string // tells names apart that are the same
	c     probe.Check
	// settings are those of the kind's own section, under the key section.
	section  string
	settings yaml.MapSlice
	cel      []string // expressions that must all be true
	// said is sent after connecting, heard the expression that the answer must
	// match: of kinds that are no requests.
	said, heard string
}

func (d *draft) set(key string, v any) {
	d.settings = append(d.settings, yaml.MapItem{Key: key, Value: v})
}

// label sets a label under a name that is allowed.
func (im *importing) label(d *draft, name, value string) {
	value = hideURL(strings.ToValidUTF8(value, "\uFFFD"))
	if value == "" {
		return
	}
	n := notLabel.ReplaceAllString(name, "_")
	if n == "" || n[0] >= '0' && n[0] <= '9' {
		n = "_" + n
	}
	if strings.HasPrefix(n, "__") {
		n = "x" + n
	}
	if ownLabels[n] {
		n = "exported_" + n // as Prometheus names a label that is taken
	}
	if n != name {
		im.note(d.where, fmt.Sprintf("the label %s is written as %s", quote(name), n), "")
	}
	if d.c.Labels == nil {
		d.c.Labels = map[string]string{}
	}
	d.c.Labels[n] = value
}

var (
	notLabel = regexp.MustCompile(`[^a-zA-Z0-9_]`)
	notID    = regexp.MustCompile(`[^\p{L}\p{N}]+`)
	// ownLabels are set by a check itself.
	ownLabels = map[string]bool{
		"check": true, "instance": true, "location": true, "phase": true, "stage": true, "reason": true, "version": true,
	}
)

func (im *importing) note(where, what, do string) {
	if len(im.notes) < maxNotes {
		im.notes = append(im.notes, Note{where, what, do})
	} else if len(im.notes) == maxNotes {
		im.notes = append(im.notes, Note{where, "there is more that did not convert", "import the file in parts to see it"})
	}
}

// once notes what is true of many places at the first of them.
func (im *importing) once(where, what, do string) {
	if !im.said[what] {
		im.said[what] = true
		im.note(where, what, do)
	}
}

// fold drops the notes of a further target, those after from, that an earlier
// one of the same part of the source has had. What is left out is always named.
func (im *importing) fold(from int, where string) {
	if from > len(im.notes) {
		return
	}
	kept := im.notes[:from]
	for _, n := range im.notes[from:] {
		if key := where + "\x00" + n.What; !im.said[key] || strings.HasPrefix(n.What, "left out") {
			im.said[key] = true
			kept = append(kept, n)
		}
	}
	im.notes = kept
}

// unread notes the keys of an object that nobody asked for.
func (im *importing) unread(where string, o *obj, ignore ...string) {
	for _, k := range o.rest() {
		if !slices.Contains(ignore, k) {
			im.note(where, "the key "+quote(k)+" did not convert", "see whether it is needed")
		}
	}
}

// quote shows a text of the source, shortened.
func quote(s string) string {
	s = hideURL(s)
	if len(s) > maxShown {
		s = strings.ToValidUTF8(s[:maxShown], "") + "..."
	}
	return strconv.Quote(s)
}

// times sets interval and timeout within their bounds; 0 leaves the default of
// the source, which the caller gives.
func (im *importing) times(d *draft, interval, timeout time.Duration) {
	if interval < time.Second {
		im.note(d.where, fmt.Sprintf("the interval %s is too short; 1s is written", interval), "")
		interval = time.Second
	}
	if timeout > interval {
		if timeout != 10*time.Second { // nobody wrote the default
			im.note(d.where, fmt.Sprintf("the timeout %s is longer than the interval; %s is written", timeout, interval), "")
		}
		timeout = interval
	}
	if timeout < time.Millisecond {
		timeout = time.Millisecond
	}
	d.c.Interval, d.c.Timeout = interval, timeout
}

// thresholds sets after how many failures and successes a check changes, where the
// numbers are not Vedette's own defaults.
func (im *importing) thresholds(d *draft, failures, recoveries int) {
	bound := func(what string, n, common int) int {
		if n > 100 {
			im.note(d.where, fmt.Sprintf("%d %s in a row are over the limit; 100 is written", n, what), "")
			n = 100
		}
		if n <= 0 || n == common {
			return 0
		}
		return n
	}
	d.c.Alert.Failures = bound("failures", failures, 3)
	d.c.Alert.Recoveries = bound("recoveries", recoveries, 2)
}

// add finishes a draft and keeps it unless it cannot work; it returns the
// check's id, "" when it is left out.
func (im *importing) add(d *draft) string {
	if len(im.checks) >= im.o.MaxChecks {
		im.once(d.where, fmt.Sprintf("there are more than %d checks; this one and those after it are left out", im.o.MaxChecks), "import the file in parts")
		return ""
	}
	if len(d.cel) > 0 {
		d.c.Expect.CEL = strings.Join(d.cel, " && ")
	}
	if d.c.URL == "" && d.c.Flow == nil {
		d.c.Kind = d.kind
	}
	im.converse(d)
	if d.section != "" {
		im.section(d)
	}
	id := im.identify(d)
	tree, why := im.encode(d)
	if why == "" && !slices.Contains(probe.Kinds(), d.kind) {
		im.unbuilt++
		im.note(d.where, "this build has no checks of the kind "+d.kind+"; the check is written all the same", "take it out until config check accepts it")
	} else if why == "" {
		var settled bool
		if why, settled = im.refusal(tree); why != "" && settled && d.section != "" && len(d.settings) > 0 {
			// A section with keys of another build.
			bare := *d
			bare.settings = nil
			if t, w := im.encode(&bare); w == "" {
				if w, _ := im.refusal(t); w == "" {
					im.note(d.where, fmt.Sprintf("the settings of %s did not convert: %s", d.section, why), "add them by hand")
					tree, why = t, ""
				}
			}
		}
	}
	text := ""
	if why == "" {
		text, why = element(tree)
	}
	if why != "" {
		im.note(d.where, "left out: "+shorten(hideURL(why)), "write it by hand")
		return ""
	}
	im.ids[id] = true
	im.checks = append(im.checks, text)
	return id
}

func shorten(s string) string {
	if len(s) > 3*maxShown {
		return strings.ToValidUTF8(s[:3*maxShown], "") + "..."
	}
	return s
}

// identify gives a draft a name and id of its own.
func (im *importing) identify(d *draft) string {
	name := hideURL(strings.TrimSpace(strings.ToValidUTF8(d.c.Name, "\uFFFD")))
	if name == "" {
		name = hideURL(d.c.URL)
	}
	if name == "" {
		name = d.where
	}
	cut := func(s string, n int) string {
		if len(s) > n {
			s = strings.ToValidUTF8(s[:n], "")
		}
		return s
	}
	idOf := func(name string) string { return strings.Trim(notID.ReplaceAllString(strings.ToLower(name), "-"), "-") }
	name = cut(name, 180)
	if idOf(name) == "" || len(idOf(name)) > 180 {
		d.c.ID = fmt.Sprintf("%s-%d", d.kind, len(im.checks)+1)
		for n := 2; im.ids[d.c.ID]; n++ {
			d.c.ID = fmt.Sprintf("%s-%d-%d", d.kind, len(im.checks)+1, n)
		}
		d.c.Name = name
		return d.c.ID
	}
	given := name
	if im.ids[idOf(name)] && d.group != "" {
		name = cut(d.group+" "+name, 180)
	}
	if base := name; im.ids[idOf(name)] {
		for n := im.next(idOf(base)); im.ids[idOf(name)]; n++ {
			name = fmt.Sprintf("%s %d", base, n)
		}
	}
	if name != given {
		im.note(d.where, fmt.Sprintf("another check has the name %s; this one is named %s", quote(given), quote(name)), "")
	}
	d.c.Name = name
	return idOf(name)
}

// next is the number at which to look for a free id; thousands of the same name
// are not counted from 2 each time.
func (im *importing) next(id string) int {
	n := 2
	for step := 1 << 14; step > 0; step /= 2 {
		for im.ids[fmt.Sprintf("%s-%d", id, n+step-1)] {
			n += step
		}
	}
	return n
}

// encode renders a draft as the tree that is written; why says what is wrong
// with it.
func (im *importing) encode(d *draft) (tree yaml.MapSlice, why string) {
	text, err := yaml.Marshal(d.c)
	if err == nil {
		err = yaml.UnmarshalWithOptions(text, &tree, yaml.UseOrderedMap())
	}
	if err != nil {
		return nil, "it cannot be written as YAML"
	}
	var back probe.Check
	if err := yaml.UnmarshalWithOptions(text, &back, yaml.Strict()); err != nil || !reflect.DeepEqual(back, d.c) {
		// Some texts survive only as JSON has them.
		var js []byte
		if js, err = yaml.MarshalWithOptions(d.c, yaml.JSON()); err == nil {
			back, tree = probe.Check{}, nil
			if err = yaml.UnmarshalWithOptions(js, &back, yaml.Strict()); err == nil {
				err = yaml.UnmarshalWithOptions(js, &tree, yaml.UseOrderedMap())
			}
		}
		if err != nil {
			return nil, "it holds characters that cannot be written as YAML"
		}
	}
	tidy(tree)
	if d.section != "" && len(d.settings) > 0 {
		tree = append(tree, yaml.MapItem{Key: d.section, Value: d.settings})
	}
	return tree, ""
}

// tidy writes what the encoder writes in full as a person would: 1m for 1m0s,
// one status without a list, codes as numbers.
func tidy(tree yaml.MapSlice) {
	for i, it := range tree {
		switch v := it.Value.(type) {
		case yaml.MapSlice:
			tidy(v)
		case string:
			switch it.Key {
			case "interval", "timeout", "wait", "every":
				tree[i].Value = shortDuration(v)
			}
		case []any:
			for j, e := range v {
				if sub, ok := e.(yaml.MapSlice); ok {
					tidy(sub)
				} else if n, err := strconv.Atoi(fmt.Sprint(e)); err == nil && it.Key == "status" {
					v[j] = n
				}
			}
			if len(v) == 1 && it.Key == "status" {
				tree[i].Value = v[0]
			}
		}
	}
}

func shortDuration(s string) string {
	if d, err := time.ParseDuration(s); err != nil || d.String() != s {
		return s
	}
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// refusal is what this build says against a check, "" for nothing. settled says
// that the keys may be to blame.
func (im *importing) refusal(tree yaml.MapSlice) (why string, settled bool) {
	text, err := yaml.MarshalWithOptions(tree, yaml.JSON())
	if err != nil {
		return "it cannot be written as YAML", false
	}
	var c probe.Check
	if err := yaml.UnmarshalWithOptions(text, &c, yaml.Strict()); err != nil {
		why, _, _ := strings.Cut(err.Error(), "\n") // what follows shows the source, which may hold a secret
		return why, true
	}
	// The files are for whoever moves the check here to provide.
	if o := c.OAuth2; o != nil && o.ClientSecretFile != "" {
		o.ClientSecret = "secret"
	}
	for _, f := range c.Files() {
		*f = ""
	}
	if err := c.Validate(); err != nil {
		return err.Error(), true
	}
	return "", false
}

// element writes one check as an element of the list checks, in block style
// where that says the same, else as JSON has it.
func element(tree yaml.MapSlice) (text, why string) {
	want, err := yaml.MarshalWithOptions(tree, yaml.JSON())
	if err != nil {
		return "", "it cannot be written as YAML"
	}
	same := func(text string) bool {
		var back struct {
			Checks []yaml.MapSlice `yaml:"checks"`
		}
		if err := yaml.UnmarshalWithOptions([]byte("checks:\n"+text), &back, yaml.UseOrderedMap()); err != nil || len(back.Checks) != 1 {
			return false
		}
		got, err := yaml.MarshalWithOptions(back.Checks[0], yaml.JSON())
		return err == nil && bytes.Equal(got, want)
	}
	block, err := yaml.MarshalWithOptions(yaml.MapSlice{{Key: "checks", Value: []yaml.MapSlice{tree}}}, yaml.IndentSequence(true))
	if text, ok := strings.CutPrefix(string(block), "checks:\n"); err == nil && ok && same(text) {
		return text, ""
	}
	if text = "  - " + string(bytes.TrimSpace(want)) + "\n"; same(text) {
		return text, ""
	}
	return "", "it holds characters that cannot be written as YAML"
}

// render writes the result.
func (im *importing) render(kind string) ([]byte, error) {
	var b bytes.Buffer
	b.WriteString("# Made by vedette import " + kind + "\nchecks:\n")
	for _, c := range im.checks {
		b.WriteString(c)
	}
	if len(im.windows) > 0 {
		text, err := yaml.MarshalWithOptions(yaml.MapSlice{{Key: "maintenance", Value: im.windows}}, yaml.IndentSequence(true))
		if err != nil {
			return nil, err
		}
		b.Write(text)
	}
	// Each part was tried by itself; this is for what they may do together.
	var back struct {
		Checks []yaml.MapSlice `yaml:"checks"`
	}
	if err := yaml.UnmarshalWithOptions(b.Bytes(), &back, yaml.UseOrderedMap()); err != nil || len(back.Checks) != len(im.checks) {
		return nil, errors.New("the file holds characters that cannot be written as YAML")
	}
	return b.Bytes(), nil
}
