package judge

import (
	"context"
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/vedette-sre/vedette/internal/record"
)

// ChecksOptions are what Checks needs of others.
type ChecksOptions struct {
	// Ask has a check run at a location now, outside its schedule; its result
	// comes through Observe. It may block as long as the run takes.
	Ask func(ctx context.Context, check, location string)
	// Notify takes the alerts in force, durably.
	Notify func(ctx context.Context, alerts ...record.Alert) error
	// Changed is told of each change of a state, in order.
	Changed func(record.Change)
	// URL is where people reach the server; links begin with it.
	URL string
	// Budget is how many false alarms of slowness a day are accepted over all
	// checks, places and phases; default 0.1.
	Budget float64
	Log    *slog.Logger
}

// Checks judges the runs of checks: which is down by the vote of its places,
// flapping, slow, explained by another, in maintenance; it asks for runs that
// confirm, and tells the alerts. Safe for concurrent use.
type Checks struct {
	o    ChecksOptions
	wake chan struct{}
	asks chan Ask

	mu      sync.Mutex
	v       *verdicts
	pending []record.Change // to be told, in order
	alerts  bool            // to be sent again
	dropped int64           // asks for which there was no room
	ctx     context.Context
}

const (
	askWorkers = 32
	askRoom    = 4096
	// alertLife is how long an alert stands without being told again.
	alertLife   = 5 * time.Minute
	alertRepeat = time.Minute
	checkTick   = 2 * time.Second
)

// NewChecks makes the station; nothing is asked or told before Run.
func NewChecks(o ChecksOptions) *Checks {
	if o.Budget == 0 {
		o.Budget = 0.1
	}
	return &Checks{o: o, wake: make(chan struct{}, 1), asks: make(chan Ask, askRoom), v: newVerdicts(o.Budget)}
}

// Apply makes subjects the checks that are judged. Windows must be validated.
func (c *Checks) Apply(subjects []Subject, windows []Window) {
	c.mu.Lock()
	c.take(c.v.apply(subjects, windows, time.Now()))
	c.mu.Unlock()
}

// Restore takes what was known before a restart: the last change of each check
// and then its last runs, oldest first. Nothing is told of it.
func (c *Checks) Restore(changes []record.Change, runs []record.CheckResult) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, ch := range changes {
		c.v.restore(ch)
	}
	for _, r := range runs {
		c.v.replay(r)
	}
}

// Observe takes a run.
func (c *Checks) Observe(r record.CheckResult) {
	c.mu.Lock()
	c.take(c.v.observe(r, time.Now()))
	c.mu.Unlock()
}

// Location says whether a place is heard.
func (c *Checks) Location(name string, silent bool) {
	c.mu.Lock()
	c.take(c.v.location(name, silent, time.Now()))
	c.mu.Unlock()
}

// Verdict tells how a check stands.
func (c *Checks) Verdict(id string) (record.Verdict, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.v.get(id, time.Now())
}

// InMaintenance reports whether a check is in a maintenance window.
func (c *Checks) InMaintenance(id string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	st := c.v.checks[id]
	if st == nil {
		return false
	}
	_, ok := c.v.window(st)
	return ok
}

// Alerts lists the alerts in force.
func (c *Checks) Alerts() []record.Alert {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.v.alerts(c.o.URL, time.Now())
}

// take notes what is to be done; c.mu is held.
func (c *Checks) take(o outcome) {
	c.pending = append(c.pending, o.changes...)
	c.alerts = c.alerts || o.alerts
	for _, a := range o.asks {
		if c.ctx == nil {
			continue
		}
		send := func() {
			select {
			case c.asks <- a:
			default:
				c.mu.Lock()
				c.dropped++
				c.mu.Unlock()
			}
		}
		if a.After <= 0 {
			go send() // not under c.mu
			continue
		}
		time.AfterFunc(a.After, send)
	}
	if len(c.pending) > 0 || c.alerts {
		select {
		case c.wake <- struct{}{}:
		default:
		}
	}
}

// Run lets time pass, asks and tells until ctx ends.
func (c *Checks) Run(ctx context.Context) error {
	var asking sync.WaitGroup
	defer asking.Wait()
	for range askWorkers {
		asking.Go(func() {
			for {
				select {
				case <-ctx.Done():
					return
				case a := <-c.asks:
					c.o.Ask(ctx, a.Check, a.Location)
				}
			}
		})
	}
	c.mu.Lock()
	c.ctx = ctx
	c.mu.Unlock()
	tick := time.NewTicker(checkTick)
	defer tick.Stop()
	told := map[string]record.Alert{}
	var last time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-c.wake:
		case now := <-tick.C:
			c.mu.Lock()
			c.take(c.v.tick(now))
			c.mu.Unlock()
		}
		c.mu.Lock()
		changes, due := c.pending, c.alerts
		c.pending, c.alerts = nil, false
		c.mu.Unlock()
		for _, ch := range changes {
			c.o.Changed(ch)
		}
		now := time.Now()
		due = due || now.Sub(last) >= alertRepeat
		sent, err := c.tell(ctx, told, now, due)
		if err != nil {
			if ctx.Err() == nil {
				c.o.Log.Error("alerts of checks wait: they were not taken", "err", err)
			}
			c.mu.Lock()
			c.alerts = true // at the next tick
			c.mu.Unlock()
			continue
		}
		if sent {
			last = now
		}
	}
}

// tell sends the alerts in force and the end of those that were told before, if
// it is due or others are in force than before.
func (c *Checks) tell(ctx context.Context, told map[string]record.Alert, now time.Time, due bool) (sent bool, err error) {
	c.mu.Lock()
	alerts := c.v.alerts(c.o.URL, now)
	c.mu.Unlock()
	fresh := make(map[string]record.Alert, len(alerts))
	same := len(alerts) == len(told)
	for i := range alerts {
		alerts[i].EndsAt = now.Add(alertLife)
		k := alertKey(alerts[i].Labels)
		fresh[k] = alerts[i]
		_, known := told[k]
		same = same && known
	}
	if same && !due {
		return false, nil
	}
	send := alerts
	for k, a := range told {
		if _, still := fresh[k]; !still {
			a.EndsAt = now
			send = append(send, a)
		}
	}
	if len(send) > 0 {
		if err := c.o.Notify(ctx, send...); err != nil {
			return false, err
		}
	}
	clear(told)
	maps.Copy(told, fresh)
	return true, nil
}

func alertKey(labels map[string]string) string {
	return labels["alertname"] + "\x00" + labels["check"] + "\x00" + labels["instance"] + "\x00" + labels["location"] + "\x00" + labels["group"] + "\x00" + labels["severity"]
}

var (
	checkStateDesc   = prometheus.NewDesc("vedette_check_state", "How a check stands as a whole: 1 for the state that it is in.", []string{"check", "check_id", "state"}, nil)
	checkFailingDesc = prometheus.NewDesc("vedette_check_failing_locations", "Places that see a check fail now.", []string{"check", "check_id"}, nil)
	droppedAsksDesc  = prometheus.NewDesc("vedette_check_confirmations_dropped_total", "Confirming runs that were wanted and for which there was no room.", nil, nil)
)

// Describe implements prometheus.Collector.
func (c *Checks) Describe(ch chan<- *prometheus.Desc) {
	ch <- checkStateDesc
	ch <- checkFailingDesc
	ch <- droppedAsksDesc
}

// Collect implements prometheus.Collector.
func (c *Checks) Collect(ch chan<- prometheus.Metric) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, id := range c.v.order {
		st := c.v.checks[id]
		ch <- prometheus.MustNewConstMetric(checkStateDesc, prometheus.GaugeValue, 1, st.Name, id, string(st.verdict.State))
		ch <- prometheus.MustNewConstMetric(checkFailingDesc, prometheus.GaugeValue, float64(len(st.verdict.Failing)), st.Name, id)
	}
	ch <- prometheus.MustNewConstMetric(droppedAsksDesc, prometheus.CounterValue, float64(c.dropped))
}
