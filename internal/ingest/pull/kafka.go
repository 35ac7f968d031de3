package pull

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

// kafkaSource asks the brokers of a Kafka cluster, under the names of
// kafka_exporter. It reads no record. It holds one connection a broker, and the
// one by which it found them.
type kafkaSource struct {
	target         Target
	topics, groups *regexp.Regexp
	client         *kgo.Client
	// heads outlives the connection: what was seen of a partition stays true.
	heads    map[partition]headLog
	recalled bool // heads were asked for once; see recall
}

type partition struct {
	topic  string
	number int32
}

func newKafka(t Target) *kafkaSource {
	k := &kafkaSource{target: t, heads: map[partition]headLog{}}
	var err1, err2 error
	k.topics, err1 = wholeName(t.Topics)
	k.groups, err2 = wholeName(t.Groups)
	if err1 != nil || err2 != nil {
		panic("BUG: regular expressions of a target that was not validated")
	}
	return k
}

func (k *kafkaSource) upName() string { return "" } // kafka_exporter has none

// kafkaSeeds are the brokers of the DSN, host:port each, and who signs in.
func (t Target) kafkaSeeds() (seeds []string, user *url.Userinfo, err error) {
	dsn := strings.TrimSuffix(strings.TrimPrefix(string(t.DSN), "kafka://"), "/")
	if i := strings.LastIndexByte(dsn, '@'); i >= 0 {
		u, err := url.Parse("kafka://" + dsn[:i+1] + "host")
		if err != nil || u.User == nil || u.Host != "host" {
			return nil, nil, badDSN(t.Kind)
		}
		user, dsn = u.User, dsn[i+1:]
	}
	for seed := range strings.SplitSeq(dsn, ",") {
		seed = strings.TrimSpace(seed)
		host, port, err := net.SplitHostPort(seed)
		if err != nil { // no port
			host, port = strings.Trim(seed, "[]"), "9092"
		}
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || host == "" || strings.ContainsAny(host, "/?# ") {
			return nil, nil, badDSN(t.Kind)
		}
		seeds = append(seeds, net.JoinHostPort(host, port))
	}
	return seeds, user, nil
}

func (t Target) kafkaEndpoint() (addr, password string, err error) {
	seeds, user, err := t.kafkaSeeds()
	if err != nil {
		return "", "", err
	}
	password, _ = user.Password()
	return seeds[0], password, nil
}

// kafkaUser is who signs in, "" for no one.
func (t Target) kafkaUser() string {
	_, user, _ := t.kafkaSeeds() // a DSN that cannot be read has no user
	return cmp.Or(t.Username, user.Username())
}

func (k *kafkaSource) connect() error {
	seeds, user, err := k.target.kafkaSeeds()
	if err != nil {
		return err
	}
	opts := []kgo.Opt{kgo.SeedBrokers(seeds...), kgo.ClientID("vedette"), kgo.DisableClientMetrics(),
		kgo.DialTimeout(k.target.Timeout), kgo.RetryTimeout(k.target.Timeout), kgo.RequestTimeoutOverhead(k.target.Timeout), kgo.RequestRetries(1)}
	if k.target.TLS != nil {
		tlsConfig, err := k.target.tlsConfig("") // the client puts in the host of each broker
		if err != nil {
			return err
		}
		opts = append(opts, kgo.DialTLSConfig(tlsConfig))
	}
	fromDSN, _ := user.Password()
	secret, err := k.target.password()
	if err != nil {
		return err
	}
	if name := k.target.kafkaUser(); name != "" {
		opts = append(opts, kgo.SASL(saslMechanism(k.target.SASL, name, cmp.Or(secret, fromDSN))))
	}
	k.client, err = kgo.NewClient(opts...)
	return err
}

func saslMechanism(name, user, pass string) sasl.Mechanism {
	switch name {
	case "plain":
		return plain.Auth{User: user, Pass: pass}.AsMechanism()
	case "scram-sha-256":
		return scram.Auth{User: user, Pass: pass}.AsSha256Mechanism()
	default:
		return scram.Auth{User: user, Pass: pass}.AsSha512Mechanism()
	}
}

func (k *kafkaSource) close() {
	if k.client != nil {
		k.client.Close()
		k.client = nil
	}
}

func (k *kafkaSource) collect(ctx context.Context, b *batch) error {
	if k.client == nil {
		if err := k.connect(); err != nil {
			return err
		}
	}
	adm := kadm.NewClient(k.client)
	meta, err := adm.Metadata(ctx)
	if err != nil {
		return kafkaFault(err)
	}
	b.add("kafka_brokers", float64(len(meta.Brokers)))
	for _, br := range meta.Brokers {
		b.add("kafka_broker_info", 1, "id", strconv.Itoa(int(br.NodeID)), "address", net.JoinHostPort(br.Host, strconv.Itoa(int(br.Port))))
	}
	maps.DeleteFunc(meta.Topics, func(name string, t kadm.TopicDetail) bool { return t.Err != nil || !k.topics.MatchString(name) })

	// Groups before topics: when max_series is near, lag goes first.
	var starts, ends kadm.ListedOffsets
	b.part(ctx, "offsets", func() (err error) {
		ends, err = k.offsets(ctx, adm, b.at, meta.Topics.Names())
		return err // some brokers may have answered all the same
	})
	b.part(ctx, "groups", func() error { return k.consumerGroups(ctx, adm, b, ends) })
	b.part(ctx, "oldest_offsets", func() (err error) {
		if len(meta.Topics) > 0 { // no topic would mean all
			starts, err = adm.ListStartOffsets(ctx, meta.Topics.Names()...)
		}
		return err
	})
	addTopics(b, meta.Topics, starts, ends)
	return nil
}

// kafkaFault adds what to do to a refusal.
func kafkaFault(err error) error {
	switch {
	case errors.Is(err, kerr.SaslAuthenticationFailed), errors.Is(err, kerr.UnsupportedSaslMechanism):
		return fmt.Errorf("%w; check username, password_file and sasl", err)
	case errors.Is(err, io.EOF):
		return errors.New("the broker closed the connection without a word; check tls, sasl, username and password_file")
	}
	return err
}

// offsets asks for the heads of the topics, and keeps them.
func (k *kafkaSource) offsets(ctx context.Context, adm *kadm.Client, now time.Time, topics []string) (kadm.ListedOffsets, error) {
	if len(topics) == 0 {
		k.heads = map[partition]headLog{}
		return nil, nil
	}
	if !k.recalled {
		k.recalled = true
		k.recall(ctx, adm, now, topics)
	}
	ends, err := adm.ListEndOffsets(ctx, topics...)
	heads := make(map[partition]headLog, len(k.heads))
	ends.Each(func(o kadm.ListedOffset) {
		if o.Err == nil {
			p := partition{o.Topic, o.Partition}
			heads[p] = k.heads[p].see(now, o.Offset)
		}
	})
	if err == nil {
		k.heads = heads // topics that are gone are forgotten
	} else {
		maps.Copy(k.heads, heads)
	}
	return ends, err
}

// recall asks the brokers, at the first round, where the heads were before, so
// that lag in seconds is right from the start. They look it up by the records'
// timestamps. What they do not tell is known from the second round on, as far back
// as the first.
func (k *kafkaSource) recall(ctx context.Context, adm *kadm.Client, now time.Time, topics []string) {
	for _, ago := range []time.Duration{24 * time.Hour, 6 * time.Hour, time.Hour, 10 * time.Minute, time.Minute} {
		at := now.Add(-ago)
		then, err := adm.ListOffsetsAfterMilli(ctx, at.UnixMilli(), topics...)
		if err != nil && len(then) == 0 {
			return
		}
		then.Each(func(o kadm.ListedOffset) {
			if o.Err == nil && o.Offset >= 0 {
				p := partition{o.Topic, o.Partition}
				// Timestamps are the producers' and may lie: a log never falls.
				if h := k.heads[p]; len(h) == 0 || o.Offset >= h[len(h)-1].offset {
					k.heads[p] = h.see(at, o.Offset)
				}
			}
		})
	}
}

// consumerGroups tells what each group has committed, and how far that is behind.
// A partition without a commit is not told.
func (k *kafkaSource) consumerGroups(ctx context.Context, adm *kadm.Client, b *batch, ends kadm.ListedOffsets) error {
	listed, err := adm.ListGroups(ctx)
	if err != nil {
		return err
	}
	names := slices.DeleteFunc(listed.Groups(), func(g string) bool { return !k.groups.MatchString(g) })
	if len(names) == 0 { // no group would mean all
		return nil
	}
	members, membersErr := groupMembers(ctx, adm, names)
	fetched := adm.FetchManyOffsets(ctx, names...)
	var offsetsErr error
	for _, group := range names {
		if n, ok := members[group]; ok {
			b.add("kafka_consumergroup_members", float64(n), "consumergroup", group)
		}
		r := fetched[group]
		if r.Err != nil {
			offsetsErr = fmt.Errorf("offsets of group %q: %w", group, r.Err)
			continue
		}
		k.addGroup(b, group, r.Fetched, ends)
	}
	return errors.Join(membersErr, offsetsErr)
}

// groupMembers counts the members of groups of both protocols. What it could not
// learn is not there.
func groupMembers(ctx context.Context, adm *kadm.Client, groups []string) (map[string]int, error) {
	members := map[string]int{}
	classic, err := adm.DescribeGroups(ctx, groups...)
	for _, g := range classic {
		if g.Err == nil && g.State != "Dead" {
			members[g.Group] = len(g.Members)
		}
	}
	// Groups of the newer protocol (KIP-848) are not there, or dead, for the older.
	rest := slices.DeleteFunc(slices.Clone(groups), func(g string) bool { _, ok := members[g]; return ok })
	if err != nil || len(rest) == 0 {
		return members, err
	}
	newer, err := adm.DescribeConsumerGroups(ctx, rest...)
	for _, g := range newer {
		if g.Err == nil {
			members[g.Group] = len(g.Members)
		}
	}
	return members, err
}

func (k *kafkaSource) addGroup(b *batch, group string, committed kadm.OffsetResponses, ends kadm.ListedOffsets) {
	for _, topic := range slices.Sorted(maps.Keys(committed)) {
		if !k.topics.MatchString(topic) {
			continue
		}
		var sumOffset, sumLag int64
		told := false
		for _, number := range slices.Sorted(maps.Keys(committed[topic])) {
			c := committed[topic][number]
			if c.Err != nil || c.At < 0 {
				continue
			}
			labels := []string{"consumergroup", group, "topic", topic, "partition", strconv.Itoa(int(number))}
			b.add("kafka_consumergroup_current_offset", float64(c.At), labels...)
			sumOffset += c.At
			told = true
			end, ok := ends.Lookup(topic, number)
			if !ok || end.Err != nil {
				continue
			}
			// The commit was read after the head, and may be beyond it.
			lag := max(0, end.Offset-c.At)
			sumLag += lag
			b.add("kafka_consumergroup_lag", float64(lag), labels...)
			if behind, ok := k.heads[partition{topic, number}].behind(c.At, b.at); ok {
				b.add("kafka_consumergroup_lag_seconds", behind.Seconds(), labels...)
			}
		}
		if told {
			b.add("kafka_consumergroup_current_offset_sum", float64(sumOffset), "consumergroup", group, "topic", topic)
			b.add("kafka_consumergroup_lag_sum", float64(sumLag), "consumergroup", group, "topic", topic)
		}
	}
}

func addTopics(b *batch, topics kadm.TopicDetails, starts, ends kadm.ListedOffsets) {
	for _, t := range topics.Sorted() {
		b.add("kafka_topic_partitions", float64(len(t.Partitions)), "topic", t.Topic)
		for _, p := range t.Partitions.Sorted() {
			labels := []string{"topic", t.Topic, "partition", strconv.Itoa(int(p.Partition))}
			if o, ok := ends.Lookup(t.Topic, p.Partition); ok && o.Err == nil {
				b.add("kafka_topic_partition_current_offset", float64(o.Offset), labels...)
			}
			if o, ok := starts.Lookup(t.Topic, p.Partition); ok && o.Err == nil {
				b.add("kafka_topic_partition_oldest_offset", float64(o.Offset), labels...)
			}
			b.add("kafka_topic_partition_leader", float64(p.Leader), labels...)
			b.add("kafka_topic_partition_leader_is_preferred", flag(len(p.Replicas) > 0 && p.Replicas[0] == p.Leader), labels...)
			b.add("kafka_topic_partition_replicas", float64(len(p.Replicas)), labels...)
			b.add("kafka_topic_partition_in_sync_replica", float64(len(p.ISR)), labels...)
			b.add("kafka_topic_partition_under_replicated_partition", flag(len(p.ISR) < len(p.Replicas)), labels...)
		}
	}
}
