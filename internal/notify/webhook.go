package notify

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"strings"

	"github.com/prometheus/alertmanager/alert"
	"github.com/prometheus/alertmanager/notify"
	"github.com/prometheus/alertmanager/notify/webhook"
	"github.com/prometheus/alertmanager/template"
)

// Headers by which a receiver of webhooks recognises a repeat: both are equal
// for all attempts at one notification and differ between notifications.
const (
	idempotencyKeyHeader = "Idempotency-Key"
	notificationIDHeader = "X-Vedette-Notification-Id"
)

// webhookNotifier posts Alertmanager's webhook message, version 4, with the two
// headers that the library's webhook cannot send.
type webhookNotifier struct {
	conf    *webhook.WebhookConfig
	tmpl    *template.Template
	log     *slog.Logger
	client  *http.Client
	retrier notify.Retrier
}

func newWebhook(conf *webhook.WebhookConfig, tmpl *template.Template, log *slog.Logger) (*webhookNotifier, error) {
	client, err := notify.NewClientWithTracing(*conf.HTTPConfig, "webhook")
	if err != nil {
		return nil, err
	}
	return &webhookNotifier{conf: conf, tmpl: tmpl, log: log.With("integration", "webhook"), client: client}, nil
}

// Notify makes one attempt. As for every integration, retry tells whether an
// error may pass.
func (w *webhookNotifier) Notify(ctx context.Context, alerts ...*alert.Alert) (retry bool, err error) {
	var truncated uint64
	if most := w.conf.MaxAlerts; most > 0 && uint64(len(alerts)) > most {
		truncated = uint64(len(alerts)) - most
		alerts = alerts[:most]
	}
	key, err := notify.ExtractGroupKey(ctx)
	if err != nil {
		return false, err
	}
	data := notify.GetTemplateData(ctx, w.tmpl, alerts, w.log)
	body, err := w.body(&webhook.Message{Version: "4", Data: data, GroupKey: key.String(), TruncatedAlerts: truncated})
	if err != nil {
		return false, err
	}
	target, err := w.url(data)
	if err != nil {
		return false, err
	}
	if w.conf.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, w.conf.Timeout, fmt.Errorf("no answer within the webhook's timeout of %s", w.conf.Timeout))
		defer cancel()
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target, bytes.NewReader(body))
	if err != nil {
		return false, notify.RedactURL(err)
	}
	req.Header.Set("User-Agent", notify.UserAgentHeader)
	req.Header.Set("Content-Type", "application/json")
	if s, ok := ctx.Value(stampKey{}).(stamp); ok {
		req.Header.Set(idempotencyKeyHeader, s.dedupKey)
		req.Header.Set(notificationIDHeader, s.id)
	}
	resp, err := w.client.Do(req)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = fmt.Errorf("%w: %w", err, cause)
		}
		return true, notify.RedactURL(err)
	}
	defer notify.Drain(resp)
	retry, err = w.retrier.Check(resp.StatusCode, resp.Body)
	if err != nil {
		return retry, notify.NewErrorWithReason(notify.GetFailureReasonFromStatusCode(resp.StatusCode), err)
	}
	return false, nil
}

// body renders the message, or the payload that the user wrote in its place.
func (w *webhookNotifier) body(msg *webhook.Message) ([]byte, error) {
	var value any = msg
	if w.conf.Payload != nil {
		var tmplErr error
		text := notify.TmplText(w.tmpl, msg.Data, &tmplErr)
		custom, err := template.DeepCopyWithTemplate(w.conf.Payload, func(s string) (string, error) { return text(s), tmplErr })
		if err != nil {
			return nil, fmt.Errorf("render the webhook's payload: %w", err)
		}
		value = custom
	}
	var buf bytes.Buffer
	if err := json.NewEncoder(&buf).Encode(value); err != nil {
		return nil, fmt.Errorf("encode the webhook's message: %w", err)
	}
	return buf.Bytes(), nil
}

// url renders the target; a file is read at each attempt so that it can be
// rotated.
func (w *webhookNotifier) url(data *template.Data) (string, error) {
	target := string(w.conf.URL)
	if target == "" {
		content, err := os.ReadFile(w.conf.URLFile)
		if err != nil {
			return "", fmt.Errorf("read url_file: %w", err)
		}
		target = strings.TrimSpace(string(content))
	}
	var tmplErr error
	target = notify.TmplText(w.tmpl, data, &tmplErr)(target)
	if tmplErr != nil {
		return "", fmt.Errorf("render the webhook's URL: %w", tmplErr)
	}
	if target == "" {
		return "", errors.New("the webhook's URL is empty after rendering")
	}
	return target, nil
}
