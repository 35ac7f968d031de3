package state

import "github.com/vedette-sre/vedette/internal/record"

// EncodeRun and DecodeRun are the forms in which runs are stored.
func EncodeRun(r record.CheckResult) (any, error) { return encodeRun(r) }

// DecodeRun reads what EncodeRun wrote.
func DecodeRun(b []byte) (record.CheckResult, error) { return decodeRun(b) }
