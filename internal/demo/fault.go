package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"text/tabwriter"
	"time"
)

// The names of the faults.
const (
	SlowDependency       = "slow-dependency"
	FailingService       = "failing-service"
	TLSExpiring          = "tls-expiring"
	DNSSlow              = "dns-slow"
	QueueStuck           = "queue-stuck"
	SmallCustomerFailing = "small-customer-failing"
	BadRelease           = "bad-release"
	NeedlessPolling      = "needless-polling"
)

// FaultInfo describes one fault of the shop.
type FaultInfo struct {
	Name string `json:"name"`
	// What happens inside the shop.
	What string `json:"what"`
	// Notice is what a person would see who knows nothing of the inside.
	Notice string `json:"notice"`
	// Room is where Vedette sees it.
	Room string `json:"room"`
	// Alert is the name of the alert that must arrive, and Labels are those of
	// its labels that tell it from others of the name.
	Alert  string            `json:"alert"`
	Labels map[string]string `json:"labels"`
}

// Faults lists what can go wrong in the shop.
func Faults() []FaultInfo {
	return []FaultInfo{
		{
			Name:   SlowDependency,
			What:   "pricing answers in 250 ms at the median and 800 ms at p99",
			Notice: "product pages take most of a second",
			Room:   "Now: p99 of pricing, and of gateway which waits for it",
			Alert:  "ServiceSlow", Labels: map[string]string{"service": "pricing"},
		},
		{
			Name:   FailingService,
			What:   "catalogue answers 503 to every second call and to its health check",
			Notice: "every second product page is an error",
			Room:   "Checks: catalogue fails at the status stage",
			Alert:  "CheckDown", Labels: map[string]string{"check": "catalogue"},
		},
		{
			Name:   TLSExpiring,
			What:   "gateway presents a certificate that ends in 3 days",
			Notice: "nothing yet; in 3 days every browser refuses the shop",
			Room:   "Checks: shop-front-tls, the certificate's end",
			Alert:  "CertificateExpiresSoon", Labels: map[string]string{"check": "shop-front-tls"},
		},
		{
			Name:   DNSSlow,
			What:   "the name server answers after 1.5 s",
			Notice: "the first page of each visit hangs for a moment",
			Room:   "Checks: the resolve phase of every check",
			Alert:  "NameResolutionSlow", Labels: map[string]string{"service": "dns"},
		},
		{
			Name:   QueueStuck,
			What:   "the workers take nothing from the queue",
			Notice: "orders are accepted, and no confirmation comes",
			Room:   "Explore: queue_depth and queue_oldest_message_age_seconds",
			Alert:  "QueueStuck", Labels: map[string]string{"queue": "orders"},
		},
		{
			Name:   SmallCustomerFailing,
			What:   "every request of " + failingCustomer + ", who sends 1 request in 250, ends in a 500",
			Notice: "one small customer cannot use the shop; no total shows it",
			Room:   "Explore: errors by customer",
			Alert:  "CustomerFailing", Labels: map[string]string{"customer": failingCustomer},
		},
		{
			Name:   BadRelease,
			What:   "orders changes to version " + badVersion + ": 5 % of its answers are errors, and its p99 doubles",
			Notice: "some orders fail, the rest are slow to be accepted",
			Room:   "Explore: error ratio of orders beside build_info",
			Alert:  "ReleaseFailing", Labels: map[string]string{"service": "orders", "version": badVersion},
		},
		{
			Name:   NeedlessPolling,
			What:   "gateway asks pricing 30 times for one price list on each product page",
			Notice: "nothing; the shop works for nothing",
			Room:   "Explore: calls per request, from gateway to pricing",
			Alert:  "NeedlessCalls", Labels: map[string]string{"service": "gateway", "peer": "pricing"},
		},
	}
}

// FaultState is a fault and whether it is on.
type FaultState struct {
	FaultInfo
	On bool `json:"on"`
	// OnAt and OffAt are the last times it was switched, zero when never.
	OnAt  time.Time `json:"on_at,omitzero"`
	OffAt time.Time `json:"off_at,omitzero"`
}

// faultList is what the control endpoint answers. Version grows with each
// switch.
type faultList struct {
	Version int64        `json:"version"`
	Faults  []FaultState `json:"faults"`
}

// demoHeader must be on each request that switches something: a page in a
// browser cannot set it on a foreign address without being asked first.
const demoHeader = "X-Vedette-Demo"

// Fault lists the faults of the running shop whose ports start at basePort (0
// means the default), or switches one on or off ("all" switches every one), and
// returns what to print. The action is list, on or off.
func Fault(ctx context.Context, basePort int, action, name string) (string, error) {
	p := portsFrom(basePort)
	switch action {
	case "list":
		l, err := fetchFaults(ctx, p, 0)
		if err != nil {
			return "", err
		}
		return renderFaults(l.Faults), nil
	case "on", "off":
	default:
		return "", fmt.Errorf("fault %q: want list, on or off", action)
	}
	if name != "all" && !knownFault(name) {
		return "", fmt.Errorf("no fault %q: want all or one of %s", name, strings.Join(faultNames(), ", "))
	}
	states, err := switchFault(ctx, p, action, name)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for _, s := range states {
		if action == "on" {
			fmt.Fprintf(&b, "%s is on: %s. Expect %s%s within a minute at %s.\n", s.Name, s.What, s.Alert, braces(s.Labels), p.url(p.Receiver))
			continue
		}
		fmt.Fprintf(&b, "%s is off.\n", s.Name)
	}
	return b.String(), nil
}

func renderFaults(states []FaultState) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "FAULT\tSTATE\tALERT\tA PERSON NOTICES\tVEDETTE SEES IT IN")
	for _, s := range states {
		state := "off"
		if s.On {
			state = "on since " + s.OnAt.Local().Format("15:04:05")
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", s.Name, state, s.Alert, s.Notice, s.Room)
	}
	w.Flush()
	return b.String()
}

func braces(labels map[string]string) string {
	var pairs []string
	for _, k := range sortedKeys(labels) {
		pairs = append(pairs, fmt.Sprintf("%s=%q", k, labels[k]))
	}
	return "{" + strings.Join(pairs, ", ") + "}"
}

func knownFault(name string) bool {
	for _, f := range Faults() {
		if f.Name == name {
			return true
		}
	}
	return false
}

func faultNames() []string {
	var names []string
	for _, f := range Faults() {
		names = append(names, f.Name)
	}
	return names
}

// fetchFaults asks the control endpoint; with after > 0 the answer waits until
// the version is above it, or for some seconds.
func fetchFaults(ctx context.Context, p ports, after int64) (faultList, error) {
	var l faultList
	url := fmt.Sprintf("%s/faults?after=%d", p.url(p.Control), after)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return l, err
	}
	err = doJSON(req, &l)
	return l, err
}

func switchFault(ctx context.Context, p ports, action, name string) ([]FaultState, error) {
	url := fmt.Sprintf("%s/faults/%s/%s", p.url(p.Control), name, action)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set(demoHeader, "1")
	var l faultList
	if err := doJSON(req, &l); err != nil {
		return nil, err
	}
	return l.Faults, nil
}

func doJSON(req *http.Request, into any) error {
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("ask the shop's control endpoint (is `vedette demo` running?): %w", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return fmt.Errorf("read %s: %w", req.URL, err)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %s: %s: %s", req.Method, req.URL, resp.Status, bytes.TrimSpace(body))
	}
	if err := json.Unmarshal(body, into); err != nil {
		return fmt.Errorf("decode %s: %w", req.URL, err)
	}
	return nil
}
