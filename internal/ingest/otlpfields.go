package ingest

// Field numbers of the messages of opentelemetry.proto.metrics.v1 and the ones
// that they are made of. A field that is not named here is skipped.
const (
	// ExportMetricsServiceRequest.
	otlpResourceMetrics = 1

	// ResourceMetrics.
	otlpResource     = 1
	otlpScopeMetrics = 2

	// Resource.
	otlpResourceAttributes = 1

	// ScopeMetrics.
	otlpScope          = 1
	otlpMetrics        = 2
	otlpScopeSchemaURL = 3

	// InstrumentationScope.
	otlpScopeName       = 1
	otlpScopeVersion    = 2
	otlpScopeAttributes = 3

	// KeyValue, and the lists of AnyValue.
	otlpKey    = 1
	otlpValue  = 2
	otlpValues = 1

	// AnyValue, of which one is set.
	otlpAnyString = 1
	otlpAnyBool   = 2
	otlpAnyInt    = 3
	otlpAnyDouble = 4
	otlpAnyArray  = 5
	otlpAnyKVList = 6
	otlpAnyBytes  = 7

	// Metric; of the last five, one is set.
	otlpMetricName   = 1
	otlpMetricUnit   = 3
	otlpGauge        = 5
	otlpSum          = 7
	otlpHistogram    = 9
	otlpExpHistogram = 10
	otlpSummary      = 11

	// Gauge, Sum, Histogram, ExponentialHistogram and Summary.
	otlpPoints      = 1
	otlpTemporality = 2
	otlpIsMonotonic = 3

	// AggregationTemporality.
	otlpTemporalityDelta      = 1
	otlpTemporalityCumulative = 2

	// What all sorts of data points have.
	otlpPointTime = 3

	// NumberDataPoint.
	otlpNumberStart      = 2
	otlpNumberTime       = 3
	otlpNumberDouble     = 4
	otlpNumberExemplars  = 5
	otlpNumberInt        = 6
	otlpNumberAttributes = 7
	otlpNumberFlags      = 8

	// HistogramDataPoint.
	otlpHistogramStart      = 2
	otlpHistogramTime       = 3
	otlpHistogramCount      = 4
	otlpHistogramSum        = 5
	otlpHistogramBuckets    = 6
	otlpHistogramBounds     = 7
	otlpHistogramExemplars  = 8
	otlpHistogramAttributes = 9
	otlpHistogramFlags      = 10

	// ExponentialHistogramDataPoint.
	otlpExpAttributes = 1
	otlpExpStart      = 2
	otlpExpTime       = 3
	otlpExpCount      = 4
	otlpExpSum        = 5
	otlpExpScale      = 6
	otlpExpZeroCount  = 7
	otlpExpPositive   = 8
	otlpExpNegative   = 9
	otlpExpFlags      = 10
	otlpExpExemplars  = 11

	// Buckets of an ExponentialHistogramDataPoint.
	otlpBucketsOffset = 1
	otlpBucketsCounts = 2

	// SummaryDataPoint.
	otlpSummaryStart      = 2
	otlpSummaryTime       = 3
	otlpSummaryCount      = 4
	otlpSummarySum        = 5
	otlpSummaryQuantiles  = 6
	otlpSummaryAttributes = 7
	otlpSummaryFlags      = 8

	// ValueAtQuantile.
	otlpQuantile      = 1
	otlpQuantileValue = 2

	// Exemplar.
	otlpExemplarTime       = 2
	otlpExemplarDouble     = 3
	otlpExemplarSpanID     = 4
	otlpExemplarTraceID    = 5
	otlpExemplarInt        = 6
	otlpExemplarAttributes = 7
)

// otlpNoRecordedValue is the bit of a point's flags that says that the series
// has ended.
const otlpNoRecordedValue = 1
