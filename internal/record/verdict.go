package record

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Policy says when a check as a whole counts as down. The zero value is
// completed by Validate.
type Policy struct {
	// Quorum is how many locations must see the check down: "2 of 3" or "2" for
	// a number, "50%" for a share of those that are heard. Default: more than
	// half of them.
	Quorum string `yaml:"quorum,omitempty"`
	// Failures is how many runs in a row must fail before a location counts the
	// check as down; confirmations count. Default 3.
	Failures int `yaml:"failures,omitempty"`
	// FailedOf is the other way to be down: "4 of 10" failed among the last ten
	// runs of a location. Default none.
	FailedOf string `yaml:"failed_of,omitempty"`
	// Recoveries is how many runs in a row must succeed before a location that
	// saw the check down sees it up. Default 2.
	Recoveries int `yaml:"recoveries,omitempty"`
	// Confirm says whether a failure is looked at again at once, from every
	// place of the check. Default true.
	Confirm *bool `yaml:"confirm,omitempty"`
	// Severity is the label of the alert: "page" (default), "warning" or any
	// other word that the routes know; "none" sends no alert.
	Severity string `yaml:"severity,omitempty"`
	// Slow judges each phase against its own history. Default true; false turns
	// it off.
	Slow    *bool  `yaml:"slow,omitempty"`
	Runbook string `yaml:"runbook,omitempty"` // a link for the person who is called
}

var ofForm = regexp.MustCompile(`^\s*(\d+)\s+of\s+(\d+)\s*$`)

// Validate fills in the defaults and refuses what cannot be. The error begins
// with the key.
func (p *Policy) Validate() error {
	if p.Failures == 0 {
		p.Failures = 3
	}
	if p.Recoveries == 0 {
		p.Recoveries = 2
	}
	if p.Severity == "" {
		p.Severity = "page"
	}
	if p.Failures < 1 || p.Failures > 100 {
		return fmt.Errorf("alert.failures: %d: want from 1 to 100", p.Failures)
	}
	if p.Recoveries < 1 || p.Recoveries > 100 {
		return fmt.Errorf("alert.recoveries: %d: want from 1 to 100", p.Recoveries)
	}
	if _, err := p.quorum(1); err != nil {
		return err
	}
	if _, _, err := p.FailedShare(); err != nil {
		return err
	}
	if p.Runbook != "" && !strings.HasPrefix(p.Runbook, "http://") && !strings.HasPrefix(p.Runbook, "https://") {
		return fmt.Errorf("alert.runbook: %q: want a link that begins with http:// or https://", p.Runbook)
	}
	return nil
}

// NeedOf is how many of n locations must see the check down.
func (p Policy) NeedOf(n int) int {
	need, err := p.quorum(n)
	if err != nil {
		panic("BUG: the policy was not validated: " + err.Error())
	}
	return need
}

func (p Policy) quorum(n int) (int, error) {
	q := strings.TrimSpace(p.Quorum)
	bad := fmt.Errorf("alert.quorum: %q: want such as 2 of 3, 2 or 50%%", p.Quorum)
	if q == "" {
		return n/2 + 1, nil
	}
	if s, ok := strings.CutSuffix(q, "%"); ok {
		f, err := strconv.ParseFloat(strings.TrimSpace(s), 64)
		if err != nil || !(f > 0 && f <= 100) {
			return 0, bad
		}
		return max(1, int(math.Ceil(f/100*float64(n)-1e-9))), nil
	}
	if m := ofForm.FindStringSubmatch(q); m != nil {
		k, _ := strconv.Atoi(m[1])
		of, _ := strconv.Atoi(m[2])
		if k < 1 || k > of {
			return 0, fmt.Errorf("alert.quorum: %q: want the first number from 1 to the second", p.Quorum)
		}
		return k, nil
	}
	k, err := strconv.Atoi(q)
	if err != nil || k < 1 {
		return 0, bad
	}
	return k, nil
}

// QuorumOf returns the second number of "2 of 3", 0 for other forms.
func (p Policy) QuorumOf() int {
	if m := ofForm.FindStringSubmatch(p.Quorum); m != nil {
		n, _ := strconv.Atoi(m[2])
		return n
	}
	return 0
}

// FailedShare reads FailedOf; 0, 0 when it is not set.
func (p Policy) FailedShare() (failed, of int, err error) {
	if p.FailedOf == "" {
		return 0, 0, nil
	}
	m := ofForm.FindStringSubmatch(p.FailedOf)
	if m == nil {
		return 0, 0, fmt.Errorf("alert.failed_of: %q: want such as 4 of 10", p.FailedOf)
	}
	failed, _ = strconv.Atoi(m[1])
	of, _ = strconv.Atoi(m[2])
	if failed < 1 || failed > of || of > 60 {
		return 0, 0, fmt.Errorf("alert.failed_of: %q: want the first number from 1 to the second, and that at most 60", p.FailedOf)
	}
	return failed, of, nil
}

// State is how a check stands as a whole.
type State string

// The states.
const (
	StateUnknown     State = "unknown"     // too few places have been heard
	StateUp          State = "up"          // every place that was heard sees it up
	StateDegraded    State = "degraded"    // fails from too few places for the quorum, or is not confirmed yet
	StateDown        State = "down"        // a quorum sees it down
	StateFlapping    State = "flapping"    // changes so often that neither up nor down is true
	StateUnreachable State = "unreachable" // fails, and what it depends on is down
	StateMaintenance State = "maintenance" // within a window; what it would be is not told
	StatePaused      State = "paused"
)

// Change is one change of a check's state.
type Change struct {
	Check string    `json:"check"` // id
	At    time.Time `json:"at"`
	From  State     `json:"from"`
	To    State     `json:"to"`
	// Stage, Reason and Locations tell of the failure; empty when it ended.
	Stage     string   `json:"stage,omitempty"`
	Reason    string   `json:"reason,omitempty"`
	Locations []string `json:"locations,omitempty"`
	Text      string   `json:"text"`
}

// Slow is one phase that takes longer than it is used to at one location.
type Slow struct {
	Location string    `json:"location"`
	Phase    string    `json:"phase"` // or "total"
	Now      Seconds   `json:"now_seconds"`
	Usual    Seconds   `json:"usual_seconds"`
	Since    time.Time `json:"since"`
}

// Verdict is how a check stands and why.
type Verdict struct {
	Check string    `json:"check"`
	State State     `json:"state"`
	Since time.Time `json:"since"`
	// Text says it in a sentence: from where, since when, at which stage.
	Text   string `json:"text"`
	Stage  string `json:"stage,omitempty"`
	Reason string `json:"reason,omitempty"`
	// Failing and Heard name locations, Silent those that should vote and are
	// not heard.
	Failing []string `json:"failing,omitempty"`
	Heard   []string `json:"heard,omitempty"`
	Silent  []string `json:"silent,omitempty"`
	Need    int      `json:"need"` // locations that must see it down
	Slow    []Slow   `json:"slow,omitempty"`
	// Parents names the checks that are down and explain this one.
	Parents []string `json:"parents,omitempty"`
	// Children names the checks that this one explains.
	Children []string `json:"children,omitempty"`
	// Window is the id of the maintenance window in force.
	Window string `json:"window,omitempty"`
	// FlapShare is the weighted share of state changes, 0 to 1.
	FlapShare float64 `json:"flap_share"`
}
