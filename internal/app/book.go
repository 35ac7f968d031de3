package app

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/vedette-sre/vedette/internal/fleet"
	"github.com/vedette-sre/vedette/internal/judge"
	"github.com/vedette-sre/vedette/internal/probe"
	"github.com/vedette-sre/vedette/internal/record"
	"github.com/vedette-sre/vedette/internal/store/state"
	"github.com/vedette-sre/vedette/internal/web"
)

// book is the checks of a tenant, those of the configuration and those that
// people made through the API, and the maintenance windows of both. It hands
// them to the places that run them and to the judge. Safe for concurrent use.
type book struct {
	objects *state.Objects
	prober  *probe.Prober
	hub     *fleet.Hub
	judge   *judge.Checks
	board   *state.Board
	log     *slog.Logger

	mu      sync.Mutex
	plan    *tenantPlan
	checks  []probe.Check
	index   map[string]int
	source  map[string]string
	text    map[string][]byte // as it was written
	windows []judge.Window
}

// Where a check or a window comes from.
const (
	fromConfig  = "config"
	fromAPI     = "api"
	fromBuiltin = "builtin"
)

// apply puts a plan in force, with what people made.
func (b *book) apply(ctx context.Context, plan *tenantPlan) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.plan = plan
	return b.refresh(ctx)
}

// refresh gathers everything anew and hands it on; b.mu is held.
func (b *book) refresh(ctx context.Context) error {
	checks := slices.Clone(b.plan.checks)
	index, source, text := map[string]int{}, map[string]string{}, map[string][]byte{}
	for i, c := range checks {
		index[c.ID], source[c.ID] = i, fromConfig
		if b.plan.builtIn[c.ID] {
			source[c.ID] = fromBuiltin
		}
		if i < len(b.plan.conf.written) {
			if js, err := encodeObject(b.plan.conf.written[i]); err == nil {
				text[c.ID] = js
			}
		}
	}
	made, err := b.objects.List(ctx, state.KindCheck)
	if err != nil {
		return err
	}
	for _, o := range made {
		c, err := decodeCheck([]byte(o.Body))
		if _, taken := index[o.ID]; err == nil && taken {
			err = errors.New("vedette.yml has a check of this id")
		}
		if err != nil {
			b.log.Error("a check made through the API is left out", "check", o.ID, "err", err)
			continue
		}
		c.ID = o.ID
		index[c.ID], source[c.ID], text[c.ID] = len(checks), fromAPI, []byte(o.Body)
		checks = append(checks, *c)
	}
	windows := slices.Clone(b.plan.conf.Maintenance)
	if made, err = b.objects.List(ctx, state.KindMaintenance); err != nil {
		return err
	}
	for _, o := range made {
		w, err := decodeWindow([]byte(o.Body))
		if err != nil {
			b.log.Error("a maintenance window made through the API is left out", "window", o.ID, "err", err)
			continue
		}
		w.ID = o.ID
		windows = append(windows, *w)
	}
	hub := b.hubPlace()
	var here []probe.Check
	var subjects []judge.Subject
	keep := map[state.Place]bool{}
	for _, c := range checks {
		if c.RunsAt(hub) {
			here = append(here, c)
		}
		s := b.subject(c)
		for _, l := range s.Places {
			keep[state.Place{Check: c.ID, Location: l}] = true
		}
		subjects = append(subjects, s)
	}
	if err := b.prober.Apply(here); err != nil {
		return err
	}
	b.checks, b.index, b.source, b.text, b.windows = checks, index, source, text, windows
	b.judge.Apply(subjects, windows)
	b.board.Keep(keep)
	return b.hub.Apply(b.plan.conf.Locations)
}

// hubPlace is this process as a place; b.mu is held.
func (b *book) hubPlace() probe.Place {
	p := probe.Place{Name: fleet.HubLocation}
	for _, l := range b.plan.conf.Locations {
		if l.Name == fleet.HubLocation {
			p.Labels, p.Private = l.Labels, l.Private
		}
	}
	return p
}

// places lists the locations that run a check; b.mu is held.
func (b *book) places(c probe.Check) (out []string) {
	if c.RunsAt(b.hubPlace()) {
		out = append(out, fleet.HubLocation)
	}
	for _, l := range b.plan.conf.Locations {
		if l.Name != fleet.HubLocation && c.RunsAt(probe.Place{Name: l.Name, Labels: l.Labels, Private: l.Private}) {
			out = append(out, l.Name)
		}
	}
	return out
}

// subject is a check as it is judged; b.mu is held.
func (b *book) subject(c probe.Check) judge.Subject {
	group := ""
	if c.Chain != nil {
		group = c.Chain.Group
	}
	return judge.Subject{
		Role: c.Role, StartupFor: time.Duration(c.StartupSeconds) * time.Second, Group: group,
		ID: c.ID, Name: c.Name, Kind: c.Kind, Target: c.Target(), Labels: c.Labels, Interval: c.Interval, Timeout: c.Timeout,
		Policy: c.Alert, DependsOn: c.DependsOn, Paused: c.Paused, Places: b.places(c),
	}
}

// statePlaces lists every check at each of its places.
func (b *book) statePlaces() (out []state.Place) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range b.checks {
		for _, l := range b.places(c) {
			out = append(out, state.Place{Check: c.ID, Location: l})
		}
	}
	return out
}

// assignments are the checks of a location, as its agent gets them.
func (b *book) assignments(l fleet.Location) []fleet.Assignment {
	b.mu.Lock()
	checks := b.checks
	b.mu.Unlock()
	out := []fleet.Assignment{}
	for _, c := range checks {
		if !c.RunsAt(probe.Place{Name: l.Name, Labels: l.Labels, Private: l.Private}) {
			continue
		}
		a, err := assignment(c)
		if err != nil {
			b.log.Error("a check cannot be sent to a location", "check", c.Name, "location", l.Name, "err", err)
			continue
		}
		out = append(out, a)
	}
	return out
}

// assignment packs a check with the files that it names.
func assignment(c probe.Check) (fleet.Assignment, error) {
	a := fleet.Assignment{ID: c.ID}
	for _, p := range c.Files() {
		content, err := os.ReadFile(*p)
		if err != nil {
			return a, err
		}
		if a.Files == nil {
			a.Files = map[string][]byte{}
		}
		a.Files[*p] = content
	}
	js, err := encodeObject(c)
	a.Object = js
	return a, err
}

// decodeCheck reads a check as the API takes it and validates it.
func decodeCheck(body []byte) (*probe.Check, error) {
	var c probe.Check
	if err := decodeObject(body, &c); err != nil {
		return nil, err
	}
	if err := c.Validate(); err != nil {
		return nil, record.Errorf(record.Invalid, "%w", err)
	}
	return &c, nil
}

// decodeWindow reads a maintenance window as the API takes it.
func decodeWindow(body []byte) (*judge.Window, error) {
	var w judge.Window
	if err := decodeObject(body, &w); err != nil {
		return nil, err
	}
	if err := w.Validate(); err != nil {
		return nil, record.Errorf(record.Invalid, "%w", err)
	}
	return &w, nil
}

// onlyConfig refuses what reaches into this machine and so may stand in
// vedette.yml only: whoever may write checks may not read its files.
func onlyConfig(c *probe.Check) error {
	if c.RunsCommands() {
		return record.Errorf(record.Forbidden, "the check runs a program of this machine; such checks belong into vedette.yml, where the administrator of this machine writes")
	}
	if fs := c.Files(); len(fs) > 0 {
		return record.Errorf(record.Forbidden, "the check names the file %s; checks with files belong into vedette.yml, where the administrator of this machine writes", *fs[0])
	}
	if env := c.Environment(); len(env) > 0 {
		return record.Errorf(record.Forbidden, "the check reads the environment variable %s; give the secret as value, or write the check into vedette.yml, where the administrator of this machine writes", env[0])
	}
	return nil
}

// Checks implements web.CheckBook.
func (b *book) Checks() []probe.Check {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.checks
}

// Check implements web.CheckBook.
func (b *book) Check(id string) (probe.Check, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	i, ok := b.index[id]
	if !ok {
		return probe.Check{}, false
	}
	return b.checks[i], true
}

// Source implements web.CheckBook.
func (b *book) Source(id string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.source[id]
}

// Places implements web.CheckBook.
func (b *book) Places(id string) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	i, ok := b.index[id]
	if !ok {
		return nil
	}
	return b.places(b.checks[i])
}

// Object implements web.CheckBook.
func (b *book) Object(id string) (json.RawMessage, string, error) {
	b.mu.Lock()
	i, ok := b.index[id]
	text := b.text[id]
	var c probe.Check
	if ok {
		c = b.checks[i]
	}
	b.mu.Unlock()
	if !ok {
		return nil, "", unknownCheck(id)
	}
	if text == nil {
		var err error
		if text, err = encodeObject(c); err != nil {
			return nil, "", err
		}
	}
	return shownObject(text)
}

func unknownCheck(id string) error {
	return record.Errorf(record.NotFound, "there is no check %q; GET /api/v1/checks lists them", id)
}

// Create implements web.CheckBook.
func (b *book) Create(ctx context.Context, body []byte, who string) (string, error) {
	c, err := decodeCheck(body)
	if err != nil {
		return "", err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, taken := b.index[c.ID]; taken {
		return "", record.Errorf(record.Conflict, "id: %q: there is a check of this id already; choose another name or id", c.ID)
	}
	limit := b.plan.conf.Limits.MaxChecks
	if limit == 0 {
		limit = defaultMaxChecks
	}
	if len(b.checks) >= limit {
		return "", record.Errorf(record.Limited, "there are %d checks, which is the limit; remove some or raise limits.max_checks", len(b.checks))
	}
	if err := b.fits(c, ""); err != nil {
		return "", err
	}
	if _, err := b.objects.Create(ctx, state.Object{Kind: state.KindCheck, ID: c.ID, Body: string(body), Updated: time.Now(), Who: who}); err != nil {
		return "", err
	}
	return c.ID, b.refresh(ctx)
}

// fits refuses a check that does not go with the others; b.mu is held.
func (b *book) fits(c *probe.Check, replaces string) error {
	if err := onlyConfig(c); err != nil {
		return err
	}
	all := []probe.Check{*c}
	for _, o := range b.checks {
		if o.ID != replaces {
			all = append(all, o)
		}
	}
	if _, err := probe.CheckGraph(all); err != nil {
		return record.Errorf(record.Invalid, "%w", err)
	}
	if err := knownPlaces(c.Locations, b.plan.conf.Locations); err != nil {
		return record.Errorf(record.Invalid, "%w", err)
	}
	return nil
}

// knownPlaces refuses locations that are not configured.
func knownPlaces(named []string, locations []fleet.Location) error {
	for _, n := range named {
		if strings.Contains(n, "=") || n == fleet.HubLocation || slices.ContainsFunc(locations, func(l fleet.Location) bool { return l.Name == n }) {
			continue
		}
		known := []string{fleet.HubLocation}
		for _, l := range locations {
			if l.Name != fleet.HubLocation {
				known = append(known, l.Name)
			}
		}
		return fmt.Errorf("locations: there is no location %q; locations: in vedette.yml names %s", n, strings.Join(known, ", "))
	}
	return nil
}

// writable refuses to change a check that the API did not make; b.mu is held.
func (b *book) writable(id string) error {
	switch b.source[id] {
	case "":
		return unknownCheck(id)
	case fromAPI:
		return nil
	case fromBuiltin:
		return record.Errorf(record.Conflict, "the check %q comes with Vedette; watch: false in vedette.yml leaves it out", id)
	}
	return record.Errorf(record.Conflict, "the check %q comes from vedette.yml; change it there", id)
}

// Update implements web.CheckBook.
func (b *book) Update(ctx context.Context, id string, body []byte, who string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.writable(id); err != nil {
		return err
	}
	body, err := mergeSecrets(body, b.text[id])
	if err != nil {
		return err
	}
	if bytes.Contains(body, []byte(hiddenValue)) {
		return record.Errorf(record.Invalid, "the object holds %q where no secret was kept; write the value", hiddenValue)
	}
	c, err := decodeCheck(body)
	if err != nil {
		return err
	}
	c.ID = id
	if err := b.fits(c, id); err != nil {
		return err
	}
	if _, err := b.objects.Put(ctx, state.Object{Kind: state.KindCheck, ID: id, Body: string(body), Updated: time.Now(), Who: who}); err != nil {
		return err
	}
	return b.refresh(ctx)
}

// Delete implements web.CheckBook.
func (b *book) Delete(ctx context.Context, id string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.writable(id); err != nil {
		return err
	}
	for _, c := range b.checks {
		if slices.Contains(c.DependsOn, id) {
			return record.Errorf(record.Conflict, "the check %q depends on it; change that one first", c.ID)
		}
	}
	if err := b.objects.Delete(ctx, state.KindCheck, id); err != nil {
		return err
	}
	return b.refresh(ctx)
}

// Run implements web.CheckBook.
func (b *book) Run(ctx context.Context, id, location string) (record.CheckResult, error) {
	if !slices.Contains(b.Places(id), location) {
		if _, ok := b.Check(id); !ok {
			return record.CheckResult{}, unknownCheck(id)
		}
		return record.CheckResult{}, record.Errorf(record.NotFound, "the check %q does not run at %q; it runs at %s", id, location, strings.Join(b.Places(id), ", "))
	}
	if location == fleet.HubLocation {
		return b.prober.RunNow(ctx, id)
	}
	return b.hub.RunNow(ctx, location, id)
}

// ask is Run for confirmations: nobody waits for the result.
func (b *book) ask(ctx context.Context, id, location string) {
	var err error
	if location == fleet.HubLocation {
		_, err = b.prober.RunNow(ctx, id)
	} else {
		err = b.hub.Ask(location, id)
	}
	if err != nil && ctx.Err() == nil {
		b.log.Debug("a confirming run did not happen", "check", id, "location", location, "err", err)
	}
}

// Try implements web.CheckBook.
func (b *book) Try(ctx context.Context, body []byte, id string) ([]record.CheckResult, error) {
	b.mu.Lock()
	old := b.text[id]
	b.mu.Unlock()
	body, err := mergeSecrets(body, old)
	if err != nil {
		return nil, err
	}
	c, err := decodeCheck(body)
	if err != nil {
		return nil, err
	}
	if err := onlyConfig(c); err != nil {
		return nil, err
	}
	c.ID = newID("try-") // of no check: its results are kept nowhere
	b.mu.Lock()
	places := b.places(*c)
	b.mu.Unlock()
	a, err := assignment(*c)
	if err != nil {
		return nil, err
	}
	results := make([]record.CheckResult, len(places))
	var wg sync.WaitGroup
	for i, l := range places {
		wg.Go(func() {
			if l == fleet.HubLocation {
				results[i] = probe.Once(ctx, *c)
				return
			}
			r, err := b.hub.Try(ctx, l, a)
			if err != nil {
				r = record.CheckResult{Kind: c.Kind, Target: c.Target(), Location: l, Start: time.Now(), Stage: "resolve", Reason: "own_fault", Message: err.Error(), Extra: true}
			}
			results[i] = r
		})
	}
	wg.Wait()
	return results, nil
}

// Windows implements web.CheckBook.
func (b *book) Windows() []web.Window {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := make([]web.Window, len(b.windows))
	for i, w := range b.windows {
		out[i] = web.Window{Window: w, Source: fromAPI}
		if i < len(b.plan.conf.Maintenance) {
			out[i].Source = fromConfig
		}
	}
	return out
}

// PutWindow implements web.CheckBook.
func (b *book) PutWindow(ctx context.Context, id string, body []byte, who string) (string, error) {
	w, err := decodeWindow(body)
	if err != nil {
		return "", err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	o := state.Object{Kind: state.KindMaintenance, ID: id, Body: string(body), Updated: time.Now(), Who: who}
	if id == "" {
		if w.ID != "" {
			o.ID = w.ID
		} else {
			o.ID = newID("w")
		}
		_, err = b.objects.Create(ctx, o)
	} else {
		if err := b.writableWindow(id); err != nil {
			return "", err
		}
		_, err = b.objects.Put(ctx, o)
	}
	if err != nil {
		return "", err
	}
	return o.ID, b.refresh(ctx)
}

// DeleteWindow implements web.CheckBook.
func (b *book) DeleteWindow(ctx context.Context, id string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.writableWindow(id); err != nil {
		return err
	}
	if err := b.objects.Delete(ctx, state.KindMaintenance, id); err != nil {
		return err
	}
	return b.refresh(ctx)
}

// writableWindow refuses windows that the API did not make; b.mu is held.
func (b *book) writableWindow(id string) error {
	for i, w := range b.windows {
		if w.ID != id {
			continue
		}
		if i < len(b.plan.conf.Maintenance) {
			return record.Errorf(record.Conflict, "the window %q comes from vedette.yml; change it there", id)
		}
		return nil
	}
	return record.Errorf(record.NotFound, "there is no maintenance window %q; GET /api/v1/maintenance lists them", id)
}
