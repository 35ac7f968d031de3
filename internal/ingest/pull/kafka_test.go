package pull_test

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/vedette-sre/vedette/internal/ingest/pull"
)

// cluster is brokers in this process that speak Kafka's protocol.
type cluster struct {
	*kfake.Cluster
	t   *testing.T
	cl  *kgo.Client
	adm *kadm.Client
}

func newCluster(t *testing.T, opts ...kfake.Opt) *cluster {
	t.Helper()
	k, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(2)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.Close)
	return &cluster{Cluster: k, t: t}
}

func (k *cluster) connect() {
	k.t.Helper()
	var err error
	if k.cl, err = kgo.NewClient(kgo.SeedBrokers(k.ListenAddrs()...), kgo.RecordPartitioner(kgo.ManualPartitioner())); err != nil {
		k.t.Fatal(err)
	}
	k.t.Cleanup(k.cl.Close)
	k.adm = kadm.NewClient(k.cl)
}

// produce writes n records with the timestamp to a partition.
func (k *cluster) produce(topic string, part int32, n int, at time.Time) {
	k.t.Helper()
	var rs []*kgo.Record
	for range n {
		rs = append(rs, &kgo.Record{Topic: topic, Partition: part, Value: []byte("v"), Timestamp: at})
	}
	if err := k.cl.ProduceSync(context.Background(), rs...).FirstErr(); err != nil {
		k.t.Fatal(err)
	}
}

func (k *cluster) commit(group, topic string, offsets ...int64) {
	k.t.Helper()
	os := kadm.Offsets{}
	for p, o := range offsets {
		os.AddOffset(topic, int32(p), o, -1)
	}
	if r, err := k.adm.CommitOffsets(context.Background(), group, os); err != nil || r.Error() != nil {
		k.t.Fatal(err, r.Error())
	}
}

func (k *cluster) target() pull.Target {
	return pull.Target{Kind: pull.Kafka, DSN: pull.Secret(strings.Join(k.ListenAddrs(), ",")), Interval: time.Second, Timeout: time.Second}
}

func TestKafka(t *testing.T) {
	t.Parallel()
	k := newCluster(t, kfake.SeedTopics(2, "orders"), kfake.SeedTopics(1, "audit", "hidden"))
	k.connect()
	now := time.Now()
	k.produce("orders", 0, 100, now.Add(-30*time.Minute))
	k.produce("orders", 0, 100, now.Add(-time.Second))
	k.produce("orders", 1, 10, now.Add(-30*time.Minute))
	k.commit("billing", "orders", 100, 10)
	k.commit("secret-group", "orders", 1)
	k.commit("audits", "hidden", 0)
	if _, err := k.adm.DeleteRecords(context.Background(), kadm.Offsets{"orders": {0: kadm.Offset{Topic: "orders", At: 20}}}); err != nil {
		t.Fatal(err)
	}
	consumer, err := kgo.NewClient(kgo.SeedBrokers(k.ListenAddrs()...), kgo.ConsumerGroup("live"), kgo.ConsumeTopics("audit"))
	if err != nil {
		t.Fatal(err)
	}
	defer consumer.Close()
	if _, err := k.WaitGroupStable(t.Context(), "live", 1); err != nil {
		t.Fatal(err)
	}

	tg := k.target()
	tg.Topics, tg.Groups = "orders|audit", "billing|live|audits"
	p := run(t, tg)
	r := p.next()
	p.whole()
	is := func(ok func(float64) bool, name string, labels ...string) { t.Helper(); p.is(r, ok, name, labels...) }
	is(equal(1), "up", "job", "kafka", "instance", k.ListenAddrs()[0])
	is(equal(2), "kafka_brokers")
	is(equal(2), "kafka_topic_partitions", "topic", "orders")
	first := []string{"topic", "orders", "partition", "0"}
	is(equal(200), "kafka_topic_partition_current_offset", first...)
	is(equal(20), "kafka_topic_partition_oldest_offset", first...)
	is(above(0), "kafka_topic_partition_in_sync_replica", first...)
	is(equal(0), "kafka_topic_partition_under_replicated_partition", first...)
	is(equal(1), "kafka_topic_partition_leader_is_preferred", first...)
	billing := append([]string{"consumergroup", "billing"}, first...)
	is(equal(100), "kafka_consumergroup_current_offset", billing...)
	is(equal(100), "kafka_consumergroup_lag", billing...)
	// Right from the first round: the brokers know when offset 100 was the head, which
	// is a minute ago at the latest.
	is(func(v float64) bool { return v >= 55 && v <= 65 }, "kafka_consumergroup_lag_seconds", billing...)
	is(equal(0), "kafka_consumergroup_lag_seconds", "consumergroup", "billing", "topic", "orders", "partition", "1")
	is(equal(110), "kafka_consumergroup_current_offset_sum", "consumergroup", "billing", "topic", "orders")
	is(equal(100), "kafka_consumergroup_lag_sum", "consumergroup", "billing", "topic", "orders")
	is(equal(0), "kafka_consumergroup_members", "consumergroup", "billing")
	is(equal(1), "kafka_consumergroup_members", "consumergroup", "live")
	for _, s := range r.samples {
		if contains(s.Labels, []string{"topic", "hidden"}) || contains(s.Labels, []string{"consumergroup", "secret-group"}) {
			t.Errorf("told although topics and groups leave it out: %+v", s)
		}
	}

	// The consumer stands still while records come: seconds grow with the clock.
	k.commit("billing", "orders", 200, 10)
	p.until("all is read", func(r round) bool {
		v, err := r.value("kafka_consumergroup_lag_seconds", billing...)
		return err == nil && v == 0
	})
	k.produce("orders", 0, 5, time.Now())
	r = p.until("behind", func(r round) bool { v, _ := r.value("kafka_consumergroup_lag_seconds", billing...); return v >= 2 })
	is(equal(5), "kafka_consumergroup_lag", billing...)
	v, _ := r.value("kafka_consumergroup_lag_seconds", billing...)
	is = func(ok func(float64) bool, name string, labels ...string) {
		t.Helper()
		p.is(p.next(), ok, name, labels...)
	}
	is(func(later float64) bool { return later > v+0.8 && later < v+1.2 }, "kafka_consumergroup_lag_seconds", billing...)

	// A deleted topic ends its series.
	if _, err := k.adm.DeleteTopic(context.Background(), "orders"); err != nil {
		t.Fatal(err)
	}
	p.until("the topic is gone", func(r round) bool { _, err := r.value("kafka_topic_partitions", "topic", "orders"); return err != nil })
}

func TestKafkaNoTopicsNoGroups(t *testing.T) {
	t.Parallel()
	k := newCluster(t, kfake.SeedTopics(1, "orders"))
	tg := k.target()
	tg.Topics, tg.Groups = "none", "none"
	p := run(t, tg)
	r := p.next()
	p.whole()
	for _, s := range r.samples {
		if strings.HasPrefix(s.Name, "kafka_topic") || strings.HasPrefix(s.Name, "kafka_consumergroup") {
			t.Errorf("told although nothing matches: %+v", s)
		}
	}
}

func TestKafkaSignIn(t *testing.T) {
	t.Parallel()
	k := newCluster(t, kfake.EnableSASL(), kfake.Superuser("SCRAM-SHA-512", "vedette", "kafkasecret"))
	tg := k.target()
	tg.Username, tg.Password = "vedette", "kafkasecret"
	p := run(t, tg)
	p.is(p.next(), equal(1), "up")
	p.hides("kafkasecret")

	tg.Password = "wrongsecret"
	q := run(t, tg)
	q.is(q.next(), equal(0), "up")
	eventually(t, "the wrong password is named", func() error {
		if st := q.Targets()[0]; !strings.Contains(st.Error, "password_file") {
			return fmt.Errorf("%+v", st)
		}
		return nil
	})
	q.hides("wrongsecret")
}

func TestKafkaComesBack(t *testing.T) {
	t.Parallel()
	port := freePort(t)
	k := newCluster(t, kfake.NumBrokers(1), kfake.Ports(port), kfake.SeedTopics(1, "orders"))
	p := run(t, pull.Target{Kind: pull.Kafka, DSN: pull.Secret("127.0.0.1:" + strconv.Itoa(port)), Interval: time.Second, Timeout: time.Second})
	up := func(want float64) func(round) bool {
		return func(r round) bool { v, err := r.value("up"); return err == nil && v == want }
	}
	p.until("up", up(1))
	k.Close()
	p.until("down", up(0))
	p.until("still down", up(0))
	newCluster(t, kfake.NumBrokers(1), kfake.Ports(port), kfake.SeedTopics(1, "orders"))
	p.until("up again", up(1))
	if n := strings.Count(p.log.String(), "gives no answer"); n != 1 {
		t.Errorf("an outage was logged %d times:\n%s", n, p.log)
	}
}
