package metric

import (
	"math"
	"time"
)

// DiskState is what is known of a disk that holds a store.
type DiskState struct {
	Free        int64 // bytes
	BlocksBytes int64
	OwnPerDay   float64 // bytes that the store's blocks take in a day; 0 when not known
	// TrendPerDay is how many bytes of the disk are taken in a day by everything on
	// it; 0 when not known, negative when space becomes free.
	TrendPerDay float64
	Retention   time.Duration
	MaxBytes    int64 // of blocks; 0 means no limit
}

// DiskForecast says when a disk is full.
type DiskForecast struct {
	// FullIn is the time until then; Never when there is no sign of it.
	FullIn time.Duration
	// HeldBy is the setting by which the store stops growing before the disk is
	// full: retention.metrics or retention.size; "" when it does not or when
	// its growth is not known.
	HeldBy string
}

// Never is the FullIn of a disk that does not fill.
const Never = time.Duration(math.MaxInt64)

// ForecastDisk tells when the disk is full if everything goes on as it does. The
// store grows until the oldest blocks go, by age or by size; what else takes
// space goes on taking it.
func ForecastDisk(d DiskState) DiskForecast {
	own := max(d.OwnPerDay, 0)
	others := max(d.TrendPerDay-own, 0)
	if own == 0 {
		return DiskForecast{FullIn: lasts(float64(d.Free), others)}
	}
	// What the store will take beyond what it has, and which setting ends it.
	grows, by := math.Inf(1), ""
	if d.Retention > 0 {
		grows, by = max(own*d.Retention.Hours()/24-float64(d.BlocksBytes), 0), "retention.metrics"
	}
	if size := max(float64(d.MaxBytes-d.BlocksBytes), 0); d.MaxBytes > 0 && size < grows {
		grows, by = size, "retention.size"
	}
	growing := grows / own // days
	if used := growing * (own + others); used >= float64(d.Free) {
		return DiskForecast{FullIn: lasts(float64(d.Free), own+others)}
	}
	left := float64(d.Free) - growing*(own+others)
	rest := lasts(left, others)
	if rest == Never {
		return DiskForecast{Never, by}
	}
	return DiskForecast{days(growing + rest.Hours()/24), by}
}

// lasts is how long so many bytes last.
func lasts(free, perDay float64) time.Duration {
	if perDay <= 0 {
		return Never
	}
	return days(free / perDay)
}

// days makes a duration, Never beyond ten years: nothing goes on for so long.
func days(n float64) time.Duration {
	if !(n < 3650) {
		return Never
	}
	return time.Duration(n * 24 * float64(time.Hour))
}

// Growth is what the blocks of the last days tell.
type Growth struct {
	BytesPerDay    float64 // 0 before the first block
	BytesPerSample float64 // 0 before the first block
}

// growthOver is how far Growth looks back.
const growthOver = 3 * 24 * time.Hour

// Growth measures the blocks of the last three days. The first one is written
// about three hours after the first sample.
func (s *Store) Growth() Growth {
	bs := s.db.Blocks()
	newest := int64(math.MinInt64)
	for _, b := range bs {
		newest = max(newest, b.MaxTime())
	}
	oldest, size, samples := newest, int64(0), uint64(0)
	for _, b := range bs {
		// A large old block may end within the time: it counts whole, over its own time.
		if b.MaxTime() <= newest-growthOver.Milliseconds() {
			continue
		}
		oldest = min(oldest, b.MinTime())
		size += b.Size()
		samples += b.Meta().Stats.NumSamples
	}
	var g Growth
	if over := millis(newest - oldest); len(bs) > 0 && over > 0 {
		g.BytesPerDay = float64(size) / (over.Hours() / 24)
	}
	if samples > 0 {
		g.BytesPerSample = float64(size) / float64(samples)
	}
	return g
}
