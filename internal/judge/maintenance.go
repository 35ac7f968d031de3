package judge

import (
	"errors"
	"fmt"
	"time"

	"github.com/robfig/cron/v3"
)

// Window is a time in which what fails is expected: once, from Start to End, or
// again and again, from each time that Cron names for Duration.
type Window struct {
	ID   string `yaml:"id,omitempty"`
	Name string `yaml:"name"`
	// Checks are ids, Labels must all be on the check. Both empty: every check.
	Checks []string          `yaml:"checks,omitempty"`
	Labels map[string]string `yaml:"labels,omitempty"`
	Start  time.Time         `yaml:"start,omitempty"`
	End    time.Time         `yaml:"end,omitempty"`
	// Cron has five fields: minute, hour, day of month, month, day of week.
	Cron     string        `yaml:"cron,omitempty"`
	Duration time.Duration `yaml:"duration,omitempty"`
	Zone     string        `yaml:"zone,omitempty"` // of Cron, such as Europe/Paris; default UTC
	// ExcludeFromSLO leaves the window out of uptime figures. Default true.
	ExcludeFromSLO *bool `yaml:"exclude_from_slo,omitempty"`

	schedule cron.Schedule
}

// Validate refuses what cannot be and prepares the window. The error begins with
// the key.
func (w *Window) Validate() error {
	once := !w.Start.IsZero() || !w.End.IsZero()
	switch {
	case w.Name == "":
		return errors.New("name: is missing; it says what is done")
	case len(w.Name) > 200:
		return fmt.Errorf("name: has %d bytes; want at most 200", len(w.Name))
	case once && (w.Cron != "" || w.Duration != 0):
		return errors.New("cron: is set beside start and end; a window is either once or recurring, keep one")
	case once && w.Start.IsZero():
		return errors.New("start: is missing; want a time such as 2026-11-01T02:00:00Z")
	case once && w.End.IsZero():
		return errors.New("end: is missing; want a time such as 2026-11-01T04:00:00Z")
	case once && !w.End.After(w.Start):
		return fmt.Errorf("end: %s: want a time after start, %s", w.End.Format(time.RFC3339), w.Start.Format(time.RFC3339))
	case once:
		return nil
	case w.Cron == "":
		return errors.New("start: is missing; want start and end, or cron and duration")
	case w.Duration < time.Minute || w.Duration > 31*24*time.Hour:
		return fmt.Errorf("duration: %s: want from 1m to 31 days", w.Duration)
	}
	zone, err := time.LoadLocation(w.Zone)
	if err != nil {
		return fmt.Errorf("zone: %q: want a time zone such as Europe/Paris", w.Zone)
	}
	s, err := cron.NewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow).Parse(w.Cron)
	if err != nil {
		return fmt.Errorf("cron: %q: want five fields such as 0 3 * * 0 (Sundays at 3): %w", w.Cron, err)
	}
	w.schedule = inZone{s, zone}
	if w.schedule.Next(time.Now()).IsZero() {
		return fmt.Errorf("cron: %q names no time in the next five years", w.Cron)
	}
	return nil
}

// inZone reads a schedule on the clocks of a place. A time that a change of the
// clocks leaves out does not happen that day.
type inZone struct {
	s    cron.Schedule
	zone *time.Location
}

func (z inZone) Next(t time.Time) time.Time { return z.s.Next(t.In(z.zone)) }

// Covers reports whether the window concerns a check.
func (w *Window) Covers(id string, labels map[string]string) bool {
	if len(w.Checks) == 0 && len(w.Labels) == 0 {
		return true
	}
	for _, c := range w.Checks {
		if c == id {
			return true
		}
	}
	if len(w.Labels) == 0 {
		return false
	}
	for n, v := range w.Labels {
		if labels[n] != v {
			return false
		}
	}
	return true
}

// At returns the occurrence that holds t, or the next one when none does. ok is
// false when there is neither.
func (w *Window) At(t time.Time) (start, end time.Time, active, ok bool) {
	if w.schedule == nil {
		if w.Start.IsZero() || !t.Before(w.End) {
			return time.Time{}, time.Time{}, false, false
		}
		return w.Start, w.End, !t.Before(w.Start), true
	}
	start = w.schedule.Next(t.Add(-w.Duration))
	if start.IsZero() {
		return time.Time{}, time.Time{}, false, false
	}
	return start, start.Add(w.Duration), !start.After(t), true
}

// Excluded reports whether uptime figures leave the window out.
func (w *Window) Excluded() bool { return w.ExcludeFromSLO == nil || *w.ExcludeFromSLO }
