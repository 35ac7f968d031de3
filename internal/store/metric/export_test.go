package metric

import "context"

// Compact does now what the engine does every minute: write blocks, and drop
// those that retention does not keep.
func (s *Store) Compact(ctx context.Context) error { return s.db.Compact(ctx) }

// ForgetCardinality makes the next question count anew.
func (s *Store) ForgetCardinality() { s.counted.kept = nil }
