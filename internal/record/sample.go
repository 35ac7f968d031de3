package record

import "time"

// Sample is one value of one series. Labels are name, value pairs in any order
// and do not hold the metric's name.
type Sample struct {
	Name   string
	Labels []string
	Value  float64
	At     time.Time
}
