package notify

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/alertmanager/template"
)

func TestTelegramWords(t *testing.T) {
	tmpl, err := templates(nil)
	if err != nil {
		t.Fatal(err)
	}
	from := time.Date(2026, 11, 2, 3, 4, 5, 0, time.UTC)
	down := template.Alert{Status: "firing", StartsAt: from,
		Labels: template.KV{"alertname": "CheckDown", "check": "shop", "instance": "https://shop.example.org/", "severity": "page"},
		Annotations: template.KV{"summary": "shop is down: no connection", "description": "Down from 2 of 3 places (hub, eu) since 03:04:05: 10.0.0.5:443 <refused>; up from ap",
			"stage": "connect", "reason": "refused", "from": "2 of 3 places (hub, eu)", "link": "http://v/#/checks/shop", "acknowledge": "http://v/#/checks/shop?acknowledge=1",
			"runbook_url": "https://wiki/shop", "explains": "2 that depend on it: a, b"}}
	over := down
	over.Status, over.EndsAt = "resolved", from.Add(3*time.Minute+20*time.Second)
	foreign := template.Alert{Status: "firing", StartsAt: from, Labels: template.KV{"alertname": "DiskFull", "instance": "db1"}, GeneratorURL: "http://prom/graph"}

	f := func(alerts template.Alerts, want string) {
		t.Helper()
		for name, run := range map[string]func(string, any) (string, error){"text": tmpl.ExecuteTextString, "html": tmpl.ExecuteHTMLString} {
			got, err := run(`{{ template "telegram.default.message" . }}`, &template.Data{Alerts: alerts, Status: "firing"})
			if err != nil {
				t.Fatal(err)
			}
			w := strings.TrimSpace(want)
			if name == "html" {
				w = strings.NewReplacer("<", "&lt;", ">", "&gt;").Replace(w)
			}
			if strings.TrimSpace(got) != w {
				t.Errorf("%s: got\n%s\nwant\n%s", name, got, w)
			}
		}
	}
	f(template.Alerts{down}, `
▲ shop is down: no connection

Down from 2 of 3 places (hub, eu) since 03:04:05: 10.0.0.5:443 <refused>; up from ap
What: https://shop.example.org/
Stage: connect (refused)
Seen from: 2 of 3 places (hub, eu)
Since: 03:04:05 UTC, 2 Nov 2026
Explains: 2 that depend on it: a, b
Evidence: http://v/#/checks/shop
Acknowledge: http://v/#/checks/shop?acknowledge=1
Runbook: https://wiki/shop`)
	f(template.Alerts{over}, `
✓ Over: shop is down: no connection
It lasted 3m 20s, from 03:04:05 to 03:07:25 UTC.
Evidence: http://v/#/checks/shop`)
	f(template.Alerts{foreign, over}, `
▲ DiskFull db1

What: db1
Since: 03:04:05 UTC, 2 Nov 2026
Source: http://prom/graph

✓ Over: shop is down: no connection
It lasted 3m 20s, from 03:04:05 to 03:07:25 UTC.
Evidence: http://v/#/checks/shop`)
	got, err := tmpl.ExecuteTextString(`{{ template "pagerduty.default.description" . }}`, &template.Data{Status: "firing", CommonAnnotations: down.Annotations, Alerts: template.Alerts{down}})
	if err != nil || got != "shop is down: no connection" {
		t.Errorf("pagerduty: %q, %v", got, err)
	}
}
