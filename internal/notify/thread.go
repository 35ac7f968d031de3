package notify

import (
	"bufio"
	"bytes"
	"time"

	"github.com/prometheus/alertmanager/nflog"
	"github.com/prometheus/alertmanager/nflog/nflogpb"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/encoding/protodelim"
)

// Some integrations keep data of the last message of a group, such as the
// timestamp by which Slack edits it. The library passes it through its
// notification log, which here is written before the message is sent; so the
// outbox keeps it beside its rows, in the library's encoding of a log entry.

func openThread(b []byte) *nflog.Store {
	var e nflogpb.MeshEntry
	if len(b) == 0 || protodelim.UnmarshalFrom(bufio.NewReader(bytes.NewReader(b)), &e) != nil {
		return nflog.NewStore(nil)
	}
	return nflog.NewStore(e.Entry)
}

// closeThread encodes what the store holds, nil if it is empty. A store can only
// be read by the log, so it goes through one that is thrown away.
func closeThread(s *nflog.Store) []byte {
	l, err := nflog.New(nflog.Options{Retention: time.Hour, Metrics: prometheus.NewRegistry()})
	if err != nil {
		return nil
	}
	var out []byte
	l.SetBroadcast(func(b []byte) { out = bytes.Clone(b) })
	if err := l.Log(&nflogpb.Receiver{}, "thread", nil, nil, s, 0); err != nil {
		return nil
	}
	var e nflogpb.MeshEntry
	if protodelim.UnmarshalFrom(bufio.NewReader(bytes.NewReader(out)), &e) != nil || len(e.GetEntry().GetReceiverData()) == 0 {
		return nil
	}
	return out
}
