package state

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/vedette-sre/vedette/internal/record"
)

// KeepDays is how many days Days keeps.
const KeepDays = 400

// Day sums up the runs of one check from one location on one day (UTC).
//
// Counted are the runs that were due: a confirmation or a run by hand comes
// mostly when something fails and would make it look worse than it was. A run
// that this machine could not make (own_fault) says nothing of the check and is
// not counted. Runs within a maintenance window are counted apart.
type Day struct {
	Check    string
	Location string
	Day      time.Time // its first instant, UTC
	Runs     int
	Failed   int
	// Maintained and MaintainedFailed count the runs within maintenance windows;
	// they are not part of Runs and Failed.
	Maintained, MaintainedFailed int
	// Hours splits Runs and Failed by the hour in which the run began.
	Hours [24]Hour
	// Sum and Max are of the durations of the runs that succeeded, Latency their
	// distribution: how fast a refusal comes says nothing of the service.
	Sum, Max time.Duration
	Latency  Histogram
}

// Hour counts the runs of an hour.
type Hour struct{ Runs, Failed int }

func (d *Day) add(r record.CheckResult) {
	if r.Maintenance {
		d.Maintained++
		if !r.Success {
			d.MaintainedFailed++
		}
		return
	}
	h := &d.Hours[r.Start.UTC().Hour()]
	d.Runs++
	h.Runs++
	if !r.Success {
		d.Failed++
		h.Failed++
		return
	}
	d.Sum += r.Duration
	d.Max = max(d.Max, r.Duration)
	d.Latency.Add(r.Duration)
}

// Merge adds what o counted.
func (d *Day) Merge(o Day) {
	d.Runs += o.Runs
	d.Failed += o.Failed
	d.Maintained += o.Maintained
	d.MaintainedFailed += o.MaintainedFailed
	for i, h := range o.Hours {
		d.Hours[i].Runs += h.Runs
		d.Hours[i].Failed += h.Failed
	}
	d.Sum += o.Sum
	d.Max = max(d.Max, o.Max)
	d.Latency.Merge(o.Latency)
}

// Histogram is a distribution of durations in buckets that grow by a tenth from
// 100 µs to about ten minutes. A quantile from it is off by less than 5 % of its
// value; two histograms merge without loss. The zero value is empty.
type Histogram struct {
	counts []bucketCount // ascending by bucket
}

type bucketCount struct {
	bucket int
	n      int
}

const (
	histogramFirst   = 100 * time.Microsecond
	histogramGrowth  = 1.1
	histogramBuckets = 164 // the last one begins at 9.3 minutes and has no end
)

func bucketOf(d time.Duration) int {
	if d <= histogramFirst {
		return 0
	}
	return min(int(math.Log(float64(d)/float64(histogramFirst))/math.Log(histogramGrowth)), histogramBuckets-1)
}

// Add counts a duration.
func (h *Histogram) Add(d time.Duration) { h.add(bucketOf(d), 1) }

func (h *Histogram) add(bucket, n int) {
	i, ok := slices.BinarySearchFunc(h.counts, bucket, func(b bucketCount, v int) int { return cmp.Compare(b.bucket, v) })
	if !ok {
		h.counts = slices.Insert(h.counts, i, bucketCount{bucket: bucket})
	}
	h.counts[i].n += n
}

// Merge adds what o counted.
func (h *Histogram) Merge(o Histogram) {
	for _, b := range o.counts {
		h.add(b.bucket, b.n)
	}
}

// Count is how many durations were counted.
func (h Histogram) Count() int {
	n := 0
	for _, b := range h.counts {
		n += b.n
	}
	return n
}

// Quantile returns the duration that the share q (0 to 1) of all counted ones
// does not pass, within 5 %; 0 when nothing was counted.
func (h Histogram) Quantile(q float64) time.Duration {
	rank := int(math.Ceil(q * float64(h.Count())))
	for _, b := range h.counts {
		if rank -= b.n; rank <= 0 {
			return time.Duration(float64(histogramFirst) * math.Pow(histogramGrowth, float64(b.bucket)+0.5))
		}
	}
	return 0
}

// Days keeps a Day of each check and location for KeepDays. Runs feeds it and
// has it written; the runs after the last one that is part of the written
// counters are counted again after a crash, so that none is lost or counted
// twice. Safe for concurrent use.
type Days struct {
	db *sql.DB

	mu      sync.Mutex
	pending map[dayKey]*Day
	// counted is the row of check_runs up to which all are in the table or in
	// pending; written is that of the table alone.
	counted, written int64
}

type dayKey struct {
	check, location string
	day             int64 // days since 1970
}

const daySeconds = 24 * 60 * 60

// NewDays creates the tables if they are missing.
func NewDays(db *sql.DB) (*Days, error) {
	_, err := db.Exec(`
		CREATE TABLE IF NOT EXISTS check_days (
			day INTEGER NOT NULL, -- days since 1970, UTC
			check_id TEXT NOT NULL,
			location TEXT NOT NULL,
			runs INTEGER NOT NULL,
			failed INTEGER NOT NULL,
			maintained INTEGER NOT NULL,
			maintained_failed INTEGER NOT NULL,
			sum INTEGER NOT NULL, -- nanoseconds
			max INTEGER NOT NULL,
			hours BLOB NOT NULL,
			latency BLOB NOT NULL,
			PRIMARY KEY (day, check_id, location)
		) WITHOUT ROWID;
		CREATE TABLE IF NOT EXISTS check_days_counted (one INTEGER PRIMARY KEY CHECK (one = 1), run INTEGER NOT NULL);`)
	if err != nil {
		return nil, fmt.Errorf("create table check_days: %w", err)
	}
	d := &Days{db: db, pending: map[dayKey]*Day{}}
	err = db.QueryRow(`SELECT coalesce((SELECT run FROM check_days_counted), -1)`).Scan(&d.written)
	if err != nil {
		return nil, fmt.Errorf("read how far days are counted: %w", err)
	}
	d.counted = d.written
	return d, nil
}

// add counts runs that are on disk, the last of them in the row last.
func (d *Days) add(rs []record.CheckResult, last int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, r := range rs {
		d.count(r)
	}
	d.counted = last
}

func (d *Days) count(r record.CheckResult) {
	if r.Extra || r.Reason == "own_fault" {
		return
	}
	k := dayKey{r.Check, r.Location, floorDiv(r.Start.Unix(), daySeconds)}
	c := d.pending[k]
	if c == nil {
		c = &Day{}
		d.pending[k] = c
	}
	c.add(r)
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

// resume counts the runs that reached the disk after the counters did. From
// before there were counters it counts none: of old successes most are gone, and
// what is left would look worse than it was.
func (d *Days) resume(ctx context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	var last int64
	if err := d.db.QueryRowContext(ctx, `SELECT coalesce(max(id), 0) FROM check_runs`).Scan(&last); err != nil {
		return err
	}
	if d.written < 0 {
		d.counted = last
		_, err := d.db.ExecContext(ctx, `INSERT OR REPLACE INTO check_days_counted (one, run) VALUES (1, ?)`, last)
		d.written = last
		return err
	}
	rows, err := d.db.QueryContext(ctx, `SELECT result FROM check_runs WHERE id > ? AND id <= ? ORDER BY id`, d.counted, last)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var b sql.RawBytes
		if err := rows.Scan(&b); err != nil {
			return err
		}
		r, err := decodeRun(b)
		if err != nil {
			return err
		}
		d.count(r)
	}
	d.counted = last
	return rows.Err()
}

// Flush writes what was counted since the last time. On an error it is kept and
// tried again with the next flush.
func (d *Days) Flush(ctx context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.counted == d.written {
		return nil
	}
	if err := d.write(ctx); err != nil {
		return fmt.Errorf("write %d counters of days: %w", len(d.pending), err)
	}
	clear(d.pending)
	d.written = d.counted
	return nil
}

func (d *Days) write(ctx context.Context) error {
	tx, err := d.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	get, err := tx.PrepareContext(ctx, `SELECT `+dayColumns+` FROM check_days WHERE day = ? AND check_id = ? AND location = ?`)
	if err != nil {
		return err
	}
	defer get.Close()
	put, err := tx.PrepareContext(ctx, `INSERT OR REPLACE INTO check_days (`+dayColumns+`) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`)
	if err != nil {
		return err
	}
	defer put.Close()
	// In the order of the table: neighbours share pages.
	keys := slices.SortedFunc(maps.Keys(d.pending), func(a, b dayKey) int {
		return cmp.Or(cmp.Compare(a.day, b.day), cmp.Compare(a.check, b.check), cmp.Compare(a.location, b.location))
	})
	for _, k := range keys {
		sum, err := scanDay(get.QueryRowContext(ctx, k.day, k.check, k.location))
		if err != nil && err != sql.ErrNoRows {
			return err
		}
		sum.Merge(*d.pending[k])
		if _, err := put.ExecContext(ctx, k.day, k.check, k.location, sum.Runs, sum.Failed, sum.Maintained, sum.MaintainedFailed,
			int64(sum.Sum), int64(sum.Max), packHours(sum.Hours), packHistogram(sum.Latency)); err != nil {
			return err
		}
	}
	if _, err := tx.ExecContext(ctx, `INSERT OR REPLACE INTO check_days_counted (one, run) VALUES (1, ?)`, d.counted); err != nil {
		return err
	}
	return tx.Commit()
}

const dayColumns = `day, check_id, location, runs, failed, maintained, maintained_failed, sum, max, hours, latency`

func scanDay(row interface{ Scan(...any) error }) (Day, error) {
	var d Day
	var day, sum, longest int64
	var hours, latency []byte
	err := row.Scan(&day, &d.Check, &d.Location, &d.Runs, &d.Failed, &d.Maintained, &d.MaintainedFailed, &sum, &longest, &hours, &latency)
	if err != nil {
		return Day{}, err
	}
	d.Day, d.Sum, d.Max = time.Unix(day*daySeconds, 0).UTC(), time.Duration(sum), time.Duration(longest)
	d.Hours, d.Latency = unpackHours(hours), unpackHistogram(latency)
	return d, nil
}

// packHours writes equal hours once: how many, runs, failed.
func packHours(hs [24]Hour) []byte {
	b := []byte{}
	for i := 0; i < len(hs); {
		n := 1
		for i+n < len(hs) && hs[i+n] == hs[i] {
			n++
		}
		for _, v := range []int{n, hs[i].Runs, hs[i].Failed} {
			b = binary.AppendUvarint(b, uint64(v))
		}
		i += n
	}
	return b
}

func unpackHours(b []byte) (hs [24]Hour) {
	next := uvarints(b)
	for i := 0; i < len(hs); {
		n, runs, failed := next(), next(), next()
		if n == 0 {
			break // damaged: what is left counts nothing
		}
		for ; n > 0 && i < len(hs); n, i = n-1, i+1 {
			hs[i] = Hour{runs, failed}
		}
	}
	return hs
}

func packHistogram(h Histogram) []byte {
	b := []byte{}
	last := 0
	for _, c := range h.counts {
		b = binary.AppendUvarint(b, uint64(c.bucket-last))
		b = binary.AppendUvarint(b, uint64(c.n))
		last = c.bucket
	}
	return b
}

func unpackHistogram(b []byte) (h Histogram) {
	next := uvarints(b)
	bucket := 0
	for {
		bucket += next()
		n := next()
		if n == 0 || bucket >= histogramBuckets {
			return h
		}
		h.add(bucket, n)
	}
}

// uvarints reads numbers of up to 31 bits, 0 after the end.
func uvarints(b []byte) func() int {
	return func() int {
		v, n := binary.Uvarint(b)
		if n <= 0 || v > math.MaxInt32 {
			b = nil
			return 0
		}
		b = b[n:]
		return int(v)
	}
}

// List returns the days that begin within [from, to), by check, in the order of
// day and location. checks chooses; nil means all.
func (d *Days) List(ctx context.Context, checks []string, from, to time.Time) (map[string][]Day, error) {
	if err := d.Flush(ctx); err != nil {
		return nil, err
	}
	first, end := -floorDiv(-from.Unix(), daySeconds), -floorDiv(-to.Unix(), daySeconds)
	q, args := `SELECT `+dayColumns+` FROM check_days WHERE day >= ? AND day < ?`, []any{first, end}
	if checks != nil {
		// The key begins with the day: as lists, both halves of it are looked up.
		js, err := json.Marshal(checks)
		if err != nil {
			return nil, err
		}
		days := []int64{}
		for day := first; day < min(end, first+10*KeepDays); day++ {
			days = append(days, day)
		}
		djs, err := json.Marshal(days)
		if err != nil {
			return nil, err
		}
		q = `SELECT ` + dayColumns + ` FROM check_days WHERE day IN (SELECT value FROM json_each(?)) AND check_id IN (SELECT value FROM json_each(?))`
		args = []any{string(djs), string(js)}
	}
	rows, err := d.db.QueryContext(ctx, q+` ORDER BY day, check_id, location`, args...)
	if err != nil {
		return nil, fmt.Errorf("list days of checks: %w", err)
	}
	defer rows.Close()
	out := map[string][]Day{}
	for rows.Next() {
		day, err := scanDay(rows)
		if err != nil {
			return nil, fmt.Errorf("read a day of a check: %w", err)
		}
		out[day.Check] = append(out[day.Check], day)
	}
	return out, rows.Err()
}

// Place is a check as one location sees it.
type Place struct{ Check, Location string }

// Shares counts the runs of every check and location in the hours from that of
// from up to now: the uptime of the last 24 h, without reading runs (of which
// successes may have been thinned out).
func (d *Days) Shares(ctx context.Context, from, to time.Time) (map[Place]Hour, error) {
	if err := d.Flush(ctx); err != nil {
		return nil, err
	}
	rows, err := d.db.QueryContext(ctx, `SELECT day, check_id, location, hours FROM check_days WHERE day >= ? AND day <= ?`,
		floorDiv(from.Unix(), daySeconds), floorDiv(to.Unix(), daySeconds))
	if err != nil {
		return nil, fmt.Errorf("count runs of checks: %w", err)
	}
	defer rows.Close()
	first, out := from.Truncate(time.Hour), map[Place]Hour{}
	for rows.Next() {
		var day int64
		var p Place
		var hours sql.RawBytes
		if err := rows.Scan(&day, &p.Check, &p.Location, &hours); err != nil {
			return nil, err
		}
		sum := out[p]
		for i, h := range unpackHours(hours) {
			at := time.Unix(day*daySeconds+int64(i)*3600, 0)
			if at.Before(first) || at.After(to) {
				continue
			}
			sum.Runs += h.Runs
			sum.Failed += h.Failed
		}
		out[p] = sum
	}
	return out, rows.Err()
}

// Prune deletes days that are no longer kept.
func (d *Days) Prune(ctx context.Context, now time.Time) error {
	_, err := d.db.ExecContext(ctx, `DELETE FROM check_days WHERE day < ?`, floorDiv(now.Unix(), daySeconds)-KeepDays)
	if err != nil {
		return fmt.Errorf("prune days of checks: %w", err)
	}
	return nil
}
