package notify_test

import (
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/go-openapi/strfmt"
	"github.com/prometheus/alertmanager/api/v2/client"
	"github.com/prometheus/alertmanager/api/v2/client/alert"
	"github.com/prometheus/alertmanager/api/v2/client/alertgroup"
	"github.com/prometheus/alertmanager/api/v2/client/general"
	"github.com/prometheus/alertmanager/api/v2/client/silence"
	"github.com/prometheus/alertmanager/api/v2/models"
)

// amtool is a thin layer over this client.
func TestAmtoolClient(t *testing.T) {
	hook := newFake(t)
	r := start(t, webhookConfig(hook.URL))
	server := httptest.NewServer(r.Handler())
	defer server.Close()
	u, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	am := client.NewHTTPClientWithConfig(strfmt.Default, client.DefaultTransportConfig().WithHost(u.Host))
	ctx := t.Context()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}

	_, err = am.Alert.PostAlerts(alert.NewPostAlertsParams().WithContext(ctx).WithAlerts(models.PostableAlerts{
		{Alert: models.Alert{Labels: models.LabelSet{"alertname": "ByHand", "service": "shop"}}}}))
	check(err)
	hook.next(t)
	alerts, err := am.Alert.GetAlerts(alert.NewGetAlertsParams().WithContext(ctx).WithFilter([]string{`service=~"sh.*"`}))
	check(err)
	if len(alerts.Payload) != 1 || *alerts.Payload[0].Status.State != "active" || *alerts.Payload[0].Receivers[0].Name != "hook" {
		t.Errorf("alerts: %+v", alerts.Payload)
	}
	groups, err := am.Alertgroup.GetAlertGroups(alertgroup.NewGetAlertGroupsParams().WithContext(ctx))
	check(err)
	if len(groups.Payload) != 1 || groups.Payload[0].Labels["alertname"] != "ByHand" {
		t.Errorf("groups: %+v", groups.Payload)
	}
	status, err := am.General.GetStatus(general.NewGetStatusParams().WithContext(ctx))
	check(err)
	if *status.Payload.Cluster.Status != "disabled" || *status.Payload.Config.Original != r.Config().Text() {
		t.Errorf("status: %+v", status.Payload)
	}

	name, value, yes, no := "alertname", "ByHand", true, false
	from, to, who, why := strfmt.DateTime(time.Now()), strfmt.DateTime(time.Now().Add(time.Hour)), "amtool", "maintenance"
	post := &models.PostableSilence{Silence: models.Silence{StartsAt: &from, EndsAt: &to, CreatedBy: &who, Comment: &why,
		Matchers: models.Matchers{{Name: &name, Value: &value, IsEqual: &yes, IsRegex: &no}}}}
	made, err := am.Silence.PostSilences(silence.NewPostSilencesParams().WithContext(ctx).WithSilence(post))
	check(err)
	longer := strfmt.DateTime(time.Now().Add(2 * time.Hour))
	post.ID, post.EndsAt = made.Payload.SilenceID, &longer
	changed, err := am.Silence.PostSilences(silence.NewPostSilencesParams().WithContext(ctx).WithSilence(post))
	check(err)
	if changed.Payload.SilenceID != made.Payload.SilenceID {
		t.Errorf("prolonged silence: got id %s want %s", changed.Payload.SilenceID, made.Payload.SilenceID)
	}
	list, err := am.Silence.GetSilences(silence.NewGetSilencesParams().WithContext(ctx))
	check(err)
	if len(list.Payload) != 1 || time.Until(time.Time(*list.Payload[0].EndsAt)) < time.Hour {
		t.Errorf("silences: %+v", list.Payload)
	}
	id := strfmt.UUID(made.Payload.SilenceID)
	_, err = am.Silence.DeleteSilence(silence.NewDeleteSilenceParams().WithContext(ctx).WithSilenceID(id))
	check(err)
	one, err := am.Silence.GetSilence(silence.NewGetSilenceParams().WithContext(ctx).WithSilenceID(id))
	check(err)
	if *one.Payload.Status.State != "expired" {
		t.Errorf("deleted silence: %s", *one.Payload.Status.State)
	}
	if _, err := am.Silence.GetSilence(silence.NewGetSilenceParams().WithContext(ctx).WithSilenceID("00000000-0000-4000-8000-000000000000")); err == nil {
		t.Error("a silence that does not exist was found")
	}
}
