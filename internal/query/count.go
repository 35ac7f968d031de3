package query

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/storage"
)

// counted is the users' engine with a count of the queries that a limit ended.
type counted struct {
	promql.QueryEngine
	hits *prometheus.CounterVec
	// tooMany and tooSlow are the same counts for the Itself screen.
	tooMany, tooSlow atomic.Int64
}

func newCounted(e promql.QueryEngine, reg prometheus.Registerer) *counted {
	c := &counted{QueryEngine: e, hits: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "vedette_query_limit_hits_total", Help: "Queries ended by a limit."}, []string{"limit"})}
	c.hits.WithLabelValues("max_samples")
	c.hits.WithLabelValues("timeout")
	reg.MustRegister(c.hits)
	return c
}

func (c *counted) NewInstantQuery(ctx context.Context, q storage.Queryable, o promql.QueryOpts, expr string, ts time.Time) (promql.Query, error) {
	qq, err := c.QueryEngine.NewInstantQuery(ctx, q, o, expr, ts)
	return c.wrap(qq), err
}

func (c *counted) NewRangeQuery(ctx context.Context, q storage.Queryable, o promql.QueryOpts, expr string, start, end time.Time, step time.Duration) (promql.Query, error) {
	qq, err := c.QueryEngine.NewRangeQuery(ctx, q, o, expr, start, end, step)
	return c.wrap(qq), err
}

func (c *counted) wrap(q promql.Query) promql.Query {
	if q == nil {
		return nil
	}
	return &countedQuery{q, c}
}

type countedQuery struct {
	promql.Query
	c *counted
}

func (q *countedQuery) Exec(ctx context.Context) *promql.Result {
	res := q.Query.Exec(ctx)
	var many promql.ErrTooManySamples
	var slow promql.ErrQueryTimeout
	switch {
	case errors.As(res.Err, &many):
		q.c.hits.WithLabelValues("max_samples").Inc()
		q.c.tooMany.Add(1)
	case errors.As(res.Err, &slow):
		q.c.hits.WithLabelValues("timeout").Inc()
		q.c.tooSlow.Add(1)
	}
	return res
}
