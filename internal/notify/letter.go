package notify

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/prometheus/alertmanager/alert"
	"github.com/prometheus/alertmanager/notify"
	"github.com/prometheus/common/model"
)

// letter is what an outbox row keeps of a decision: enough to call the
// integration later as the pipeline would have called it. It holds nothing of
// the receiver's configuration, so no secrets.
type letter struct {
	GroupLabels     map[string]string `json:"group_labels"`
	RouteLabels     map[string]string `json:"route_labels,omitempty"`
	RouteID         string            `json:"route_id,omitempty"`
	RepeatInterval  time.Duration     `json:"repeat_interval"`
	Now             time.Time         `json:"now"`
	MuteIntervals   []string          `json:"mute_intervals,omitempty"`
	ActiveIntervals []string          `json:"active_intervals,omitempty"`
	Reason          string            `json:"reason,omitempty"`
	Firing          []uint64          `json:"firing,omitempty"`
	Resolved        []uint64          `json:"resolved,omitempty"`
	AggrGroupID     string            `json:"aggr_group_id,omitempty"`
	FlushID         uint64            `json:"flush_id,omitempty"`
	Alerts          []storedAlert     `json:"alerts"`
}

// storedAlert is an alert on disk, in a letter or in the book.
type storedAlert struct {
	Labels       map[string]string `json:"labels"`
	Annotations  map[string]string `json:"annotations,omitempty"`
	StartsAt     time.Time         `json:"starts_at"`
	EndsAt       time.Time         `json:"ends_at"` // zero: firing with no end
	UpdatedAt    time.Time         `json:"updated_at"`
	GeneratorURL string            `json:"generator_url,omitempty"`
	Timeout      bool              `json:"timeout,omitempty"`
}

func storeAlert(a *alert.Alert) storedAlert {
	return storedAlert{
		Labels:       fromLabelSet(a.Labels),
		Annotations:  fromLabelSet(a.Annotations),
		StartsAt:     a.StartsAt,
		EndsAt:       a.EndsAt,
		UpdatedAt:    a.UpdatedAt,
		GeneratorURL: a.GeneratorURL,
		Timeout:      a.Timeout,
	}
}

func (s storedAlert) alert() *alert.Alert {
	return &alert.Alert{
		Alert: model.Alert{
			Labels:       toLabelSet(s.Labels),
			Annotations:  toLabelSet(s.Annotations),
			StartsAt:     s.StartsAt,
			EndsAt:       s.EndsAt,
			GeneratorURL: s.GeneratorURL,
		},
		UpdatedAt: s.UpdatedAt,
		Timeout:   s.Timeout,
	}
}

// resolvedAt tells whether the alert had ended at t.
func (s storedAlert) resolvedAt(t time.Time) bool {
	return !s.EndsAt.IsZero() && !s.EndsAt.After(t)
}

func decodeStoredAlert(b []byte) (storedAlert, error) {
	var s storedAlert
	if err := json.Unmarshal(b, &s); err != nil {
		return s, err
	}
	return s, s.alert().Validate()
}

func fromLabelSet(ls model.LabelSet) map[string]string {
	m := make(map[string]string, len(ls))
	for k, v := range ls {
		m[string(k)] = string(v)
	}
	return m
}

func toLabelSet(m map[string]string) model.LabelSet {
	ls := make(model.LabelSet, len(m))
	for k, v := range m {
		ls[model.LabelName(k)] = model.LabelValue(v)
	}
	return ls
}

// writeLetter takes a letter from the pipeline's context.
func writeLetter(ctx context.Context, alerts []*alert.Alert) letter {
	var l letter
	groupLabels, _ := notify.GroupLabels(ctx)
	routeLabels, _ := notify.RouteLabels(ctx)
	l.GroupLabels, l.RouteLabels = fromLabelSet(groupLabels), fromLabelSet(routeLabels)
	l.RouteID, _ = notify.RouteID(ctx)
	l.RepeatInterval, _ = notify.RepeatInterval(ctx)
	l.Now, _ = notify.Now(ctx)
	l.MuteIntervals, _ = notify.MuteTimeIntervalNames(ctx)
	l.ActiveIntervals, _ = notify.ActiveTimeIntervalNames(ctx)
	if reason, ok := notify.NotificationReason(ctx); ok {
		l.Reason = reason.String()
	}
	l.Firing, _ = notify.FiringAlerts(ctx)
	l.Resolved, _ = notify.ResolvedAlerts(ctx)
	l.Firing, l.Resolved = sorted(l.Firing), sorted(l.Resolved)
	l.AggrGroupID, _ = notify.AggrGroupID(ctx)
	l.FlushID, _ = notify.FlushID(ctx)
	for _, a := range alerts {
		l.Alerts = append(l.Alerts, storeAlert(a))
	}
	return l
}

func sorted(v []uint64) []uint64 {
	v = slices.Clone(v)
	slices.Sort(v)
	return v
}

// open rebuilds the context that the pipeline had and the alerts. The
// receiver's data (the log's store) is added by the caller.
func (l letter) open(ctx context.Context, receiver, groupKey string) (context.Context, []*alert.Alert) {
	ctx = notify.WithReceiverName(ctx, receiver)
	ctx = notify.WithGroupKey(ctx, groupKey)
	ctx = notify.WithGroupLabels(ctx, toLabelSet(l.GroupLabels))
	ctx = notify.WithRouteLabels(ctx, toLabelSet(l.RouteLabels))
	ctx = notify.WithRouteID(ctx, l.RouteID)
	ctx = notify.WithRepeatInterval(ctx, l.RepeatInterval)
	ctx = notify.WithNow(ctx, l.Now)
	ctx = notify.WithMuteTimeIntervals(ctx, l.MuteIntervals)
	ctx = notify.WithActiveTimeIntervals(ctx, l.ActiveIntervals)
	ctx = notify.WithNotificationReason(ctx, l.reason())
	ctx = notify.WithFiringAlerts(ctx, l.Firing)
	ctx = notify.WithResolvedAlerts(ctx, l.Resolved)
	ctx = notify.WithAggrGroupID(ctx, l.AggrGroupID)
	ctx = notify.WithFlushID(ctx, l.FlushID)
	alerts := make([]*alert.Alert, len(l.Alerts))
	for i, s := range l.Alerts {
		alerts[i] = s.alert()
	}
	return ctx, alerts
}

// reason is stored by its word because the library's numbers may shift.
func (l letter) reason() notify.NotifyReason {
	for r := notify.ReasonDoNotNotify; r < notify.ReasonUnknown; r++ {
		if r.String() == l.Reason {
			return r
		}
	}
	return notify.ReasonUnknown
}

func (l letter) encode() ([]byte, error) { return json.Marshal(l) }

// decodeLetter reads a row's body. A letter without alerts, or with an alert
// that has no labels, is refused: no integration can be called with it.
func decodeLetter(b []byte) (letter, error) {
	var l letter
	if err := json.Unmarshal(b, &l); err != nil {
		return letter{}, fmt.Errorf("read the outbox row: %w", err)
	}
	if len(l.Alerts) == 0 {
		return letter{}, fmt.Errorf("read the outbox row: it holds no alerts")
	}
	for i, a := range l.Alerts {
		if len(a.Labels) == 0 {
			return letter{}, fmt.Errorf("read the outbox row: alert %d has no labels", i)
		}
	}
	return l, nil
}
