package query

import (
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
)

// rememberable reports whether the value of a range query at a step depends on
// nothing but the samples up to that step, so that a part of the range gives the
// same answer as the whole.
//
// What looks ahead or at the range itself does not: @ and negative offsets. Nor
// may two series take each other's name: the engine looks for that in the whole
// range, and a part of it may not hold both.
func rememberable(e parser.Expr) bool {
	ok := true
	parser.Inspect(e, func(n parser.Node, _ []parser.Node) error {
		switch n := n.(type) {
		case *parser.VectorSelector:
			ok = ok && n.Timestamp == nil && n.StartOrEnd == 0 && n.OriginalOffset >= 0 && n.OriginalOffsetExpr == nil && metricOf(n) != ""
		case *parser.MatrixSelector:
			_, literal := n.VectorSelector.(*parser.VectorSelector)
			ok = ok && literal && n.RangeExpr == nil
		case *parser.SubqueryExpr:
			ok = false
		case *parser.UnaryExpr:
			_, number := n.Expr.(*parser.NumberLiteral)
			ok = ok && number
		case *parser.Call:
			switch n.Func.Name {
			case "label_replace", "label_join", "info", "start", "end", "step", "range", "now":
				ok = false
			}
		}
		return nil
	})
	return ok
}

// metricOf is the name of the metric that a selector names, or "".
func metricOf(v *parser.VectorSelector) string {
	for _, m := range v.LabelMatchers {
		if m.Name == labels.MetricName && m.Type == labels.MatchEqual {
			return m.Value
		}
	}
	return ""
}
