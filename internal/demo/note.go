package demo

import (
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/url"
	"slices"
	"strings"
)

// noteAlert is one alert inside a notification, as far as the form tells it.
type noteAlert struct {
	Name   string            `json:"name"`
	Status string            `json:"status"` // firing or resolved
	Labels map[string]string `json:"labels,omitempty"`
}

// note is what a notification says, whatever its form.
type note struct {
	Status  string      `json:"status"` // firing, resolved, or another word of the form
	Alerts  []noteAlert `json:"alerts"`
	Summary string      `json:"summary"`
	Text    string      `json:"text,omitempty"` // the whole message, where it is one text
	// DedupKey is the form's own key of the incident: PagerDuty's dedup_key,
	// Opsgenie's alias, Alertmanager's group key. It stays the same over the
	// life of the incident, unlike an idempotency key.
	DedupKey string `json:"dedup_key,omitempty"`
}

// decodeWebhook reads Alertmanager's webhook message.
func decodeWebhook(body []byte) (note, error) {
	var m struct {
		Status            string            `json:"status"`
		GroupKey          string            `json:"groupKey"`
		CommonAnnotations map[string]string `json:"commonAnnotations"`
		Alerts            []struct {
			Status      string            `json:"status"`
			Labels      map[string]string `json:"labels"`
			Annotations map[string]string `json:"annotations"`
		} `json:"alerts"`
	}
	if err := json.Unmarshal(body, &m); err != nil {
		return note{}, err
	}
	if len(m.Alerts) == 0 {
		return note{}, errors.New("a webhook message without alerts")
	}
	n := note{Status: m.Status, DedupKey: m.GroupKey, Summary: m.CommonAnnotations["summary"]}
	var summaries []string
	for _, a := range m.Alerts {
		n.Alerts = append(n.Alerts, noteAlert{Name: a.Labels["alertname"], Status: a.Status, Labels: a.Labels})
		if s := a.Annotations["summary"]; s != "" && !slices.Contains(summaries, s) {
			summaries = append(summaries, s)
		}
	}
	if n.Summary == "" {
		n.Summary = strings.Join(summaries, " · ")
	}
	return n, nil
}

// decodeTelegram reads a sendMessage call, as JSON or as a form.
func decodeTelegram(contentType string, body []byte) (note, error) {
	var m struct {
		ChatID json.RawMessage `json:"chat_id"`
		Text   string          `json:"text"`
	}
	if kind, _, _ := mime.ParseMediaType(contentType); kind == "application/x-www-form-urlencoded" {
		form, err := url.ParseQuery(string(body))
		if err != nil {
			return note{}, err
		}
		m.Text = form.Get("text")
		m.ChatID = json.RawMessage(form.Get("chat_id"))
	} else if err := json.Unmarshal(body, &m); err != nil {
		return note{}, err
	}
	if m.Text == "" {
		return note{}, errors.New("message text is empty")
	}
	if len(m.ChatID) == 0 {
		return note{}, errors.New("chat_id is empty")
	}
	return noteOfText(m.Text), nil
}

// noteOfText finds alerts in a text in the shape of Alertmanager's default
// templates. A text of another shape is a note with a summary only.
func noteOfText(text string) note {
	n := note{Status: "message"}
	status := "firing"
	var current *noteAlert
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		switch {
		case strings.EqualFold(line, "Alerts Firing:"):
			status, current = "firing", nil
		case strings.EqualFold(line, "Alerts Resolved:"):
			status, current = "resolved", nil
		case line == "Labels:":
			n.Alerts = append(n.Alerts, noteAlert{Status: status, Labels: map[string]string{}})
			current = &n.Alerts[len(n.Alerts)-1]
		case line == "Annotations:":
			current = nil
		case strings.HasPrefix(line, "- "):
			k, v, ok := strings.Cut(strings.TrimPrefix(line, "- "), " = ")
			if !ok {
				continue
			}
			switch {
			case current != nil:
				current.Labels[k] = v
				if k == "alertname" {
					current.Name = v
				}
			case k == "summary" && n.Summary == "":
				n.Summary = v
			}
		}
	}
	for i, a := range n.Alerts {
		if i == 0 || a.Status == "firing" {
			n.Status = a.Status
		}
	}
	if n.Summary == "" {
		n.Text = strings.TrimSpace(text)
		n.Summary, _, _ = strings.Cut(n.Text, "\n")
	}
	return n
}

// decodeOpsgenie reads a call of the alert API: action is "" for a new alert,
// or close, acknowledge, message, description, notes.
func decodeOpsgenie(action, alias string, body []byte) (note, error) {
	var m struct {
		Alias       string            `json:"alias"`
		Message     string            `json:"message"`
		Description string            `json:"description"`
		Details     map[string]string `json:"details"`
	}
	if err := json.Unmarshal(body, &m); err != nil {
		return note{}, err
	}
	n := note{Status: "firing", DedupKey: m.Alias, Summary: m.Message}
	switch action {
	case "":
		if m.Message == "" {
			return note{}, errors.New("message is empty")
		}
	case "close":
		n.Status, n.DedupKey = "resolved", alias
	default:
		n.Status, n.DedupKey = action, alias
	}
	n.Alerts = noteOfText(m.Description).Alerts
	if len(n.Alerts) == 0 && m.Details["alertname"] != "" {
		n.Alerts = []noteAlert{{Name: m.Details["alertname"], Status: n.Status, Labels: m.Details}}
	}
	return n, nil
}

// decodePagerDuty reads an event of the Events API, version 2.
func decodePagerDuty(body []byte) (note, error) {
	var m struct {
		RoutingKey string `json:"routing_key"`
		Action     string `json:"event_action"`
		DedupKey   string `json:"dedup_key"`
		Payload    *struct {
			Summary string         `json:"summary"`
			Details map[string]any `json:"custom_details"`
		} `json:"payload"`
	}
	if err := json.Unmarshal(body, &m); err != nil {
		return note{}, err
	}
	if m.RoutingKey == "" {
		return note{}, errors.New("routing_key is empty")
	}
	n := note{DedupKey: m.DedupKey}
	switch m.Action {
	case "trigger":
		if m.Payload == nil || m.Payload.Summary == "" {
			return note{}, errors.New("payload.summary is empty")
		}
		n.Status = "firing"
	case "resolve":
		n.Status = "resolved"
	case "acknowledge":
		n.Status = "acknowledged"
	default:
		return note{}, fmt.Errorf("event_action %q: want trigger, resolve or acknowledge", m.Action)
	}
	if m.Payload == nil {
		return n, nil
	}
	n.Summary = m.Payload.Summary
	for _, status := range []string{"firing", "resolved"} {
		n.Alerts = append(n.Alerts, detailAlerts(m.Payload.Details[status], status)...)
	}
	return n, nil
}

// detailAlerts reads the alerts that the default custom_details of PagerDuty
// hold: a text in older versions, a list of alerts in newer ones.
func detailAlerts(v any, status string) []noteAlert {
	switch v := v.(type) {
	case string:
		alerts := noteOfText(v).Alerts
		for i := range alerts {
			alerts[i].Status = status
		}
		return alerts
	case []any:
		var alerts []noteAlert
		for _, one := range v {
			m, _ := one.(map[string]any)
			labels, _ := m["labels"].(map[string]any)
			a := noteAlert{Status: status, Labels: map[string]string{}}
			for k, l := range labels {
				a.Labels[k], _ = l.(string)
			}
			a.Name = a.Labels["alertname"]
			alerts = append(alerts, a)
		}
		return alerts
	}
	return nil
}

// decodeSlack reads an incoming webhook or a chat.postMessage call.
func decodeSlack(body []byte) (note, error) {
	var m struct {
		Text        string `json:"text"`
		Attachments []struct {
			Title string `json:"title"`
			Text  string `json:"text"`
		} `json:"attachments"`
	}
	if err := json.Unmarshal(body, &m); err != nil {
		return note{}, err
	}
	title, text := m.Text, m.Text
	for _, a := range m.Attachments {
		if title == "" {
			title = a.Title
		}
		text += "\n" + a.Title + "\n" + a.Text
	}
	if strings.TrimSpace(text) == "" {
		return note{}, errors.New("no_text")
	}
	n := noteOfText(text)
	if title != "" {
		n.Summary = title
	}
	if len(n.Alerts) > 0 {
		return n, nil
	}
	// The default title: [FIRING:2] NAME and the values of the other labels.
	if status, rest, ok := strings.Cut(strings.TrimPrefix(title, "["), "]"); ok && strings.HasPrefix(title, "[") {
		n.Status = "firing"
		if strings.HasPrefix(status, "RESOLVED") {
			n.Status = "resolved"
		}
		if name, _, _ := strings.Cut(strings.TrimSpace(rest), " "); name != "" {
			n.Alerts = []noteAlert{{Name: name, Status: n.Status}}
		}
	}
	return n, nil
}
