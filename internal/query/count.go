package query

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/storage"

	"github.com/vedette-sre/vedette/instrument"
)

// counted is the users' engine with a count of the queries that a limit ended.
type counted struct {
	promql.QueryEngine
	tooMany, tooSlow *instrument.Counter
}

func newCounted(e promql.QueryEngine, m *instrument.Registry) *counted {
	const name = "vedette_query_limit_hits"
	m.Describe(name, "", "Queries ended by a limit.")
	return &counted{QueryEngine: e, tooMany: m.Counter(name, "limit", "max_samples"), tooSlow: m.Counter(name, "limit", "timeout")}
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
		q.c.tooMany.Inc()
	case errors.As(res.Err, &slow):
		q.c.tooSlow.Inc()
	}
	return res
}
