package record

import "time"

// Alert is one alert as the judging room hands it to the telling room: the
// form of Alertmanager's API v2.
type Alert struct {
	Labels       map[string]string
	Annotations  map[string]string
	StartsAt     time.Time
	EndsAt       time.Time // when it counts as resolved unless it is sent again
	GeneratorURL string
}
