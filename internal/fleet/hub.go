package fleet

import (
	"compress/gzip"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/vedette-sre/vedette/internal/record"
)

// Location is a place as the configuration names it.
type Location struct {
	Name string `yaml:"name"`
	// Token is what its agent shows; TokenFile holds it instead, TokenSHA256 is
	// its hash in hex.
	Token       string `yaml:"token,omitempty"`
	TokenFile   string `yaml:"token_file,omitempty"`
	TokenSHA256 string `yaml:"token_sha256,omitempty"`
	// Labels are what checks choose places by, and show.
	Labels map[string]string `yaml:"labels,omitempty"`
	// Private keeps checks away that do not name the location.
	Private bool `yaml:"private,omitempty"`
}

var (
	locationForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)
	sha256Form   = regexp.MustCompile(`^[0-9a-fA-F]{64}$`)
)

// HubLocation is the place of the hub itself.
const HubLocation = "hub"

// Validate refuses what cannot be. The error begins with the key.
func (l Location) Validate() error {
	n := 0
	for _, s := range []string{l.Token, l.TokenFile, l.TokenSHA256} {
		if s != "" {
			n++
		}
	}
	switch {
	case !locationForm.MatchString(l.Name):
		return fmt.Errorf("name: %q: want 1 to 63 letters, digits, '-', '_' and '.'", l.Name)
	case l.Name == HubLocation && n > 0:
		return errors.New("token: the location hub is this process and needs no token")
	case l.Name == HubLocation:
		return nil
	case n == 0:
		return errors.New("token_file: is missing; an agent of the location shows a token: set token_file, token or token_sha256")
	case n > 1:
		return errors.New("token: is set beside token_file or token_sha256; keep one")
	case l.Token != "" && len(l.Token) < 16:
		return errors.New("token: is shorter than 16 bytes; want a long random text, such as of openssl rand -hex 24")
	case l.TokenSHA256 != "" && !sha256Form.MatchString(l.TokenSHA256):
		return errors.New("token_sha256: want 64 hexadecimal digits")
	}
	_, err := l.hash()
	return err
}

// hash is of the token.
func (l Location) hash() ([sha256.Size]byte, error) {
	var sum [sha256.Size]byte
	if l.TokenSHA256 != "" {
		raw, err := hex.DecodeString(l.TokenSHA256)
		copy(sum[:], raw)
		return sum, err
	}
	token := l.Token
	if l.TokenFile != "" {
		b, err := os.ReadFile(l.TokenFile)
		if err != nil {
			return sum, fmt.Errorf("token_file: want a readable file: %w", err)
		}
		if token = strings.TrimSpace(string(b)); len(token) < 16 {
			return sum, fmt.Errorf("token_file: %s holds less than 16 bytes; want a long random text", l.TokenFile)
		}
	}
	return sha256.Sum256([]byte(token)), nil
}

// Status is how a location stands.
type Status struct {
	Name        string            `json:"name"`
	State       string            `json:"state"` // "up", "silent" or "never"
	Labels      map[string]string `json:"labels"`
	Private     bool              `json:"private"`
	LastSeen    *time.Time        `json:"last_seen"`
	Since       *time.Time        `json:"since"`
	Version     string            `json:"version"`
	Spooled     int               `json:"spooled"` // results that wait there
	Dropped     int64             `json:"dropped"` // results that had no room there
	SkewSeconds float64           `json:"clock_skew_seconds"`
	Checks      int               `json:"checks"`
	Address     string            `json:"address"`
}

// HubOptions are what the hub needs of others.
type HubOptions struct {
	// Checks are those of a place, as they are to be sent there.
	Checks func(l Location) []Assignment
	// Accept makes results durable and hands them on; they come in the order of
	// their making. A result that is known already is no error.
	Accept func(ctx context.Context, location string, rs []record.CheckResult) error
	// Seen returns the number of the last result of a spool that was accepted,
	// and Saw notes it durably.
	Seen func(ctx context.Context, location, spool string) (uint64, error)
	Saw  func(ctx context.Context, location, spool string, seq uint64) error
	// Silent is told when a location falls silent or is heard again.
	Silent  func(location string, silent bool)
	Version string
	Log     *slog.Logger
}

// Hub is the home of the other places: agents dial it. Safe for concurrent use.
type Hub struct {
	o HubOptions

	mu     sync.Mutex
	places map[string]*place
	order  []string
	calls  map[string]chan record.CheckResult
	closed bool
}

type place struct {
	Location
	token   [sha256.Size]byte
	started time.Time // when the hub began to expect it
	seen    time.Time
	since   time.Time // of the present state
	silent  bool
	version string
	spooled int
	dropped int64
	skew    time.Duration
	// offsets are of the newest reports, arrival less SentAt: the difference of
	// the clocks and the way. The way only adds, so the smallest is nearest.
	offsets []time.Duration
	address string
	checks  int
	link    *link
	accept  sync.Mutex // one report at a time
}

// link is the stream of one agent.
type link struct {
	orders chan order
	stale  chan struct{} // closed when the checks are to be sent again
	end    chan struct{} // closed when another agent takes the place
}

// NewHub makes a hub without locations.
func NewHub(o HubOptions) *Hub {
	return &Hub{o: o, places: map[string]*place{}, calls: map[string]chan record.CheckResult{}}
}

// Apply makes locations those that agents may take, and sends agents their
// checks anew. The locations must be validated.
func (h *Hub) Apply(locations []Location) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	keep := make(map[string]*place, len(locations))
	h.order = h.order[:0:0]
	for _, l := range locations {
		if l.Name == HubLocation {
			continue
		}
		sum, err := l.hash()
		if err != nil {
			return fmt.Errorf("location %s: %w", l.Name, err)
		}
		p := h.places[l.Name]
		if p == nil {
			p = &place{started: time.Now(), since: time.Now()}
		}
		if p.token != sum && p.link != nil {
			close(p.link.end)
			p.link = nil
		}
		p.Location, p.token = l, sum
		keep[l.Name] = p
		h.order = append(h.order, l.Name)
		if p.link != nil {
			close(p.link.stale)
			p.link.stale = make(chan struct{})
		}
	}
	for name, p := range h.places {
		if keep[name] == nil && p.link != nil {
			close(p.link.end)
			p.link = nil
		}
	}
	h.places = keep
	return nil
}

// Locations tells how the places stand, in the order of the configuration.
func (h *Hub) Locations() []Status {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := make([]Status, 0, len(h.order))
	for _, name := range h.order {
		p := h.places[name]
		st := Status{Name: name, State: "up", Labels: p.Labels, Private: p.Private, Version: p.version, Spooled: p.spooled, Dropped: p.dropped,
			SkewSeconds: p.skew.Seconds(), Checks: p.checks, Address: p.address}
		if st.Labels == nil {
			st.Labels = map[string]string{}
		}
		since := p.since.UTC()
		st.Since = &since
		switch {
		case p.seen.IsZero():
			st.State = "never"
		case p.silent:
			st.State = "silent"
		}
		if !p.seen.IsZero() {
			seen := p.seen.UTC()
			st.LastSeen = &seen
		}
		out = append(out, st)
	}
	return out
}

// Run notices silence until ctx ends; then every link is closed.
func (h *Hub) Run(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			h.mu.Lock()
			h.closed = true
			for _, p := range h.places {
				if p.link != nil {
					close(p.link.end)
					p.link = nil
				}
			}
			h.mu.Unlock()
			return nil
		case now := <-tick.C:
			h.listenFor(now)
		}
	}
}

// listenFor marks the places that have not been heard for two heartbeats.
func (h *Hub) listenFor(now time.Time) {
	h.mu.Lock()
	var fell []string
	for name, p := range h.places {
		last := maxTime(p.seen, p.started)
		if !p.silent && now.Sub(last) > 2*Heartbeat {
			p.silent, p.since = true, now
			fell = append(fell, name)
		}
	}
	h.mu.Unlock()
	for _, name := range fell {
		h.o.Log.Warn("nothing is heard from a location", "location", name)
		h.o.Silent(name, true)
	}
}

func maxTime(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// heard notes a sign of life.
func (h *Hub) heard(p *place) {
	h.mu.Lock()
	now := time.Now()
	back := p.silent
	if back || p.seen.IsZero() {
		p.since = now
	}
	p.seen, p.silent = now, false
	h.mu.Unlock()
	if back {
		h.o.Log.Info("a location is heard again", "location", p.Name)
		h.o.Silent(p.Name, false)
	}
}

// enter authenticates an agent.
func (h *Hub) enter(r *http.Request) (*place, error) {
	name := r.URL.Query().Get("location")
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	sum := sha256.Sum256([]byte(strings.TrimSpace(token)))
	h.mu.Lock()
	p := h.places[name]
	closed := h.closed
	var want [sha256.Size]byte
	if p != nil {
		want = p.token
	}
	h.mu.Unlock()
	switch {
	case closed:
		return nil, record.Errorf(record.Unavailable, "Vedette is stopping")
	case !ok || subtle.ConstantTimeCompare(sum[:], want[:]) != 1 || p == nil:
		// The same words for a wrong name: who guesses learns nothing.
		return nil, record.Errorf(record.Unauthenticated, "the location %q with this token is not known here; locations: in the hub's vedette.yml names it with token_file", name)
	}
	return p, nil
}

// Stream is the handler of StreamPath: it gives orders until the agent leaves.
// Errors before the first order are returned.
func (h *Hub) Stream(w http.ResponseWriter, r *http.Request) error {
	p, err := h.enter(r)
	if err != nil {
		return err
	}
	l := &link{orders: make(chan order, 256), stale: make(chan struct{}), end: make(chan struct{})}
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		return record.Errorf(record.Unavailable, "Vedette is stopping")
	}
	if p.link != nil {
		close(p.link.end) // the newer one is the one that lives
	}
	p.link, p.address = l, r.RemoteAddr
	h.mu.Unlock()
	defer func() {
		h.mu.Lock()
		if p.link == l {
			p.link = nil
		}
		h.mu.Unlock()
	}()
	rc := http.NewResponseController(w)
	_ = rc.SetReadDeadline(time.Time{}) // not every writer has one
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Accel-Buffering", "no")
	enc := json.NewEncoder(w)
	say := func(o order) error {
		o.Now = time.Now()
		_ = rc.SetWriteDeadline(o.Now.Add(30 * time.Second)) // not every writer has one
		if err := enc.Encode(o); err != nil {
			return err
		}
		return rc.Flush()
	}
	if err := say(order{Type: "hello"}); err != nil {
		return nil
	}
	h.heard(p)
	beat := time.NewTicker(Heartbeat)
	defer beat.Stop()
	for first := true; ; first = false {
		h.mu.Lock()
		stale, loc := l.stale, p.Location
		h.mu.Unlock()
		if first {
			if h.sendChecks(p, loc, say) != nil {
				return nil
			}
		}
		select {
		case <-r.Context().Done():
			return nil
		case <-l.end:
			return nil
		case <-stale:
			h.mu.Lock()
			loc = p.Location
			h.mu.Unlock()
			err = h.sendChecks(p, loc, say)
		case o := <-l.orders:
			err = say(o)
		case <-beat.C:
			err = say(order{Type: "ping"})
		}
		if err != nil {
			return nil
		}
	}
}

func (h *Hub) sendChecks(p *place, loc Location, say func(order) error) error {
	as := h.o.Checks(loc)
	h.mu.Lock()
	p.checks = len(as)
	h.mu.Unlock()
	return say(order{Type: "checks", Checks: as})
}

const (
	maxReport = 64 << 20 // bytes of a report, unpacked
	// lateAfter is how old a result may be when it comes and still vote.
	lateAfter = 20 * time.Second
	// minSkew is the difference of clocks that is not corrected.
	minSkew = 2 * time.Second
)

// Results is the handler of ResultsPath.
func (h *Hub) Results(w http.ResponseWriter, r *http.Request) error {
	p, err := h.enter(r)
	if err != nil {
		return err
	}
	body := io.Reader(r.Body)
	if r.Header.Get("Content-Encoding") == "gzip" {
		zr, err := gzip.NewReader(body)
		if err != nil {
			return record.Errorf(record.Invalid, "the report says that it is gzip and is not: %v", err)
		}
		body = zr
	}
	var rep report
	limited := &io.LimitedReader{R: body, N: maxReport}
	if err := json.NewDecoder(limited).Decode(&rep); err != nil {
		if limited.N <= 0 {
			return record.Errorf(record.TooLarge, "a report of more than %d bytes", maxReport)
		}
		return record.Errorf(record.Invalid, "the report cannot be read: %v", err)
	}
	if !sha256Form.MatchString(rep.Spool+rep.Spool) || rep.SentAt.IsZero() {
		return record.Errorf(record.Invalid, "the report has no spool or no time")
	}
	h.mu.Lock()
	skew := p.offset(time.Since(rep.SentAt))
	p.version, p.spooled, p.dropped, p.skew = shorten(rep.Version), max(rep.Waiting, 0), rep.Dropped, skew
	h.mu.Unlock()
	ack, err := h.accept(r.Context(), p, rep, skew)
	if err != nil {
		return err
	}
	h.heard(p)
	w.Header().Set("Content-Type", "application/json")
	return json.NewEncoder(w).Encode(receipt{Ack: ack, Now: time.Now()})
}

// offset takes in the offset of one report and returns how far the place's
// clock is behind. A report that a dead link held back for a minute is not
// taken for a clock that is a minute behind.
func (p *place) offset(of time.Duration) time.Duration {
	if len(p.offsets) == 8 {
		p.offsets = p.offsets[1:]
	}
	p.offsets = append(p.offsets, of)
	return slices.Min(p.offsets)
}

func shorten(s string) string { return s[:min(len(s), 100)] }

// accept hands on the results that were not accepted before, in order.
func (h *Hub) accept(ctx context.Context, p *place, rep report, skew time.Duration) (ack uint64, err error) {
	p.accept.Lock()
	defer p.accept.Unlock()
	if len(rep.Results) == 0 {
		return 0, nil
	}
	seen, err := h.o.Seen(ctx, p.Name, rep.Spool)
	if err != nil {
		return 0, err
	}
	rs := make([]record.CheckResult, 0, len(rep.Results))
	answers := map[string]record.CheckResult{}
	for _, d := range rep.Results {
		ack = max(ack, d.Seq)
		if d.Seq <= seen {
			continue
		}
		res := d.Result
		// Whatever it says, it is a result of this place.
		res.Location, res.Screenshot = p.Name, d.Screenshot
		res.HasScreenshot = len(d.Screenshot) > 0
		if skew > minSkew || skew < -minSkew {
			res.Start = res.Start.Add(skew.Round(time.Second))
		}
		res.Late = time.Since(res.Start.Add(res.Duration)) > lateAfter
		if d.Call != "" {
			answers[d.Call] = res
		}
		rs = append(rs, res)
	}
	slices.SortStableFunc(rs, func(a, b record.CheckResult) int { return a.Start.Compare(b.Start) })
	if len(rs) > 0 {
		if err := h.o.Accept(ctx, p.Name, rs); err != nil {
			return 0, err
		}
		if err := h.o.Saw(ctx, p.Name, rep.Spool, ack); err != nil {
			return 0, err
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for call, res := range answers {
		if ch := h.calls[call]; ch != nil {
			delete(h.calls, call)
			ch <- res // has room for one
		}
	}
	return max(ack, seen), nil
}

// RunNow has a check run at a location and waits for the result, which comes
// through Accept as well.
func (h *Hub) RunNow(ctx context.Context, location, check string) (record.CheckResult, error) {
	return h.call(ctx, location, order{Type: "run", Check: check})
}

// Try has an object run once at a location that is no check yet.
func (h *Hub) Try(ctx context.Context, location string, a Assignment) (record.CheckResult, error) {
	return h.call(ctx, location, order{Type: "try", Check: a.ID, Object: &a})
}

// Ask has a check run at a location and does not wait.
func (h *Hub) Ask(location, check string) error {
	return h.give(location, order{Type: "run", Check: check})
}

func (h *Hub) give(location string, o order) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	p := h.places[location]
	switch {
	case p == nil:
		return record.Errorf(record.NotFound, "there is no location %q; GET /api/v1/locations lists them", location)
	case p.link == nil:
		return record.Errorf(record.Unavailable, "the location %s is not linked now", location)
	}
	select {
	case p.link.orders <- o:
		return nil
	default:
		return record.Errorf(record.Unavailable, "the location %s has too many orders waiting", location)
	}
}

func (h *Hub) call(ctx context.Context, location string, o order) (record.CheckResult, error) {
	raw := make([]byte, 12)
	_, _ = rand.Read(raw) // never fails, says its documentation
	o.Call = hex.EncodeToString(raw)
	ch := make(chan record.CheckResult, 1)
	h.mu.Lock()
	h.calls[o.Call] = ch
	h.mu.Unlock()
	defer func() {
		h.mu.Lock()
		delete(h.calls, o.Call)
		h.mu.Unlock()
	}()
	if err := h.give(location, o); err != nil {
		return record.CheckResult{}, err
	}
	select {
	case r := <-ch:
		return r, nil
	case <-ctx.Done():
		return record.CheckResult{}, fmt.Errorf("the location %s has not answered: %w", location, ctx.Err())
	}
}
