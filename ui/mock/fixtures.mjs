// Made-up answers that look like a small shop on a bad evening. Values depend on
// the time alone, so that a reload shows the same picture, moved on.

import * as synthetic from './checks.mjs';

export const iso = (ms) => new Date(ms).toISOString();
export const sec = 1000;
export const min = 60 * sec;
export const hour = 60 * min;
export const day = 24 * hour;

/** The same number for the same words, between 0 and 1. */
export function noise(...parts) {
  let h = 0x811c9dc5;
  for (const c of parts.join('|')) h = Math.imul(h ^ c.charCodeAt(0), 0x01000193) >>> 0;
  h ^= h >>> 15;
  h = Math.imul(h, 0x2c1b3c6d) >>> 0;
  h ^= h >>> 12;
  return (h >>> 0) / 4294967296;
}
export const wave = (t, name, base, swing = 0.2) => base * (1 + swing * Math.sin(t / 1700 + noise(name) * 6) + 0.12 * (noise(name, Math.floor(t / 10)) - 0.5));

export const metricNames = [
  'alertmanager_notifications_total', 'go_gc_duration_seconds', 'go_goroutines', 'go_memstats_alloc_bytes', 'http_request_duration_seconds_bucket', 'http_request_duration_seconds_count',
  'http_request_duration_seconds_sum', 'http_requests_total', 'node_cpu_seconds_total', 'node_filesystem_avail_bytes', 'node_load1', 'node_memory_MemAvailable_bytes', 'orders_created_total',
  'payment_provider_latency_seconds', 'probe_duration_seconds', 'probe_http_duration_seconds', 'probe_success', 'process_cpu_seconds_total', 'process_open_fds', 'process_resident_memory_bytes',
  'queue_messages', 'queue_oldest_message_seconds', 'scrape_duration_seconds', 'scrape_samples_scraped', 'up', 'vedette_ingest_samples_total', 'vedette_outbox_pending', 'vedette_store_series',
];

export function labelValues(name) {
  return { job: ['gateway', 'catalogue', 'pricing', 'orders', 'worker', 'node', 'vedette'], phase: ['resolve', 'connect', 'tls', 'processing', 'transfer'], code: ['200', '404', '500'], method: ['GET', 'POST'], instance: ['127.0.0.1:8081', '127.0.0.1:8082', '127.0.0.1:8083'] }[name] ?? [];
}

export function session(state) {
  return { auth: state.login, signed_in: state.signedIn, user: state.signedIn ? 'ada' : '', role: state.login ? (state.signedIn ? 'admin' : '') : 'admin', tenant: 'default', tenants: state.scenario === 'empty' ? ['default'] : ['default', 'acme', 'globex'], csrf: 'mock-csrf', version: '0.1.0', zone: 'UTC' };
}

// name, kind, state, up, total, rps, errors, p50, p99, cpu, memory, alerts, note
const shop = [
  ['orders', 'service', 'page', 2, 3, 118, 0.042, 0.021, 0.84, 0.61, 4.1e8, 2, 'errors since the payment provider is slow'],
  ['pricing', 'service', 'warning', 3, 3, 342, 0.0004, 0.018, 0.612, 1.42, 6.3e8, 1, 'p99 3.1 times its usual'],
  ['legacy-billing-reconciliation-export-for-enterprise-customers-with-regional-tax-adjustments', 'service', 'unknown', 0, 1, null, null, null, null, null, null, 0, 'nothing came in for 4 min'],
  ['catalogue', 'service', 'ok', 3, 3, 871, 0.0002, 0.0042, 0.038, 0.74, 5.2e8, 0, ''],
  ['gateway', 'service', 'ok', 2, 2, 1312, 0.0011, 0.0071, 0.092, 0.93, 3.4e8, 0, ''],
  ['payment-client', 'service', 'ok', 1, 1, 38.1, 0.003, 0.19, 0.48, 0.04, 9.1e7, 0, ''],
  ['worker', 'service', 'ok', 4, 4, 96.2, 0, 0.031, 0.18, 0.38, 8.8e8, 0, ''],
  ['node', 'exporter', 'ok', 2, 2, null, null, null, null, 0.01, 2.1e7, 0, ''],
  ['postgres', 'exporter', 'ok', 1, 1, null, null, null, null, 0.02, 3.4e7, 0, ''],
  ['vedette', 'self', 'ok', 1, 1, 4.2, 0, 0.0008, 0.0061, 0.014, 7.2e7, 0, ''],
];

function spark(name, rps, p99, now) {
  const times = [];
  for (let t = now / sec - 3600; t <= now / sec; t += 60) times.push(Math.floor(t));
  const gap = (i) => name === 'worker' && i > 20 && i < 26;
  return {
    times,
    rps: rps === null ? null : times.map((t, i) => (gap(i) ? null : Math.max(0, wave(t, name + 'r', rps)))),
    p99: p99 === null ? null : times.map((t, i) => (gap(i) ? null : wave(t, name + 'p', name === 'pricing' || name === 'orders' ? (i > 42 ? p99 : p99 / 3.1) : p99))),
  };
}

export function now(scenario, tenant = 'default') {
  const t = Date.now();
  let rows = shop;
  if (scenario === 'empty') rows = shop.filter((r) => r[1] === 'self');
  if (scenario === 'calm') rows = shop.filter((r) => r[2] !== 'unknown').map((r) => [r[0], r[1], 'ok', r[4], r[4], r[5], r[6] && Math.min(r[6], 0.001), r[7], r[8] && Math.min(r[8], 0.2), r[9], r[10], 0, '']);
  if (scenario === 'many') {
    rows = [...shop];
    for (let i = 0; i < 1000; i++) {
      const b = shop[3 + (i % 4)];
      rows.push([`${b[0]}-${String(i).padStart(4, '0')}`, 'service', i % 97 === 5 ? 'warning' : 'ok', 2, 2, b[5] * noise(i), b[6], b[7], b[8] * (0.5 + noise(i, 'p')), b[9], b[10], i % 97 === 5 ? 1 : 0, '']);
    }
    rows.sort((a, b) => ['page', 'warning', 'unknown', 'ok'].indexOf(a[2]) - ['page', 'warning', 'unknown', 'ok'].indexOf(b[2]));
  }
  const services = rows.map(([name, kind, state, up, total, rps, err, p50, p99, cpu, memory, alerts, note]) => ({
    name, kind, state, targets_up: up, targets_total: total, rps: rps === null ? null : wave(t / sec, name, rps, 0.03), error_ratio: err, p50, p99: p99 === null ? null : wave(t / sec, name + '9', p99, 0.05), cpu, memory, alerts,
    spark: spark(name, rps, p99, t), note,
  }));
  const breaches = [
    { id: 'b1', severity: 'page', kind: 'alert', name: 'OrdersErrors', text: 'orders answers 4.2 % of its requests with an error, above 1 % for 12 min', since: iso(t - 12 * min), link: '#/alerts?name=OrdersErrors' },
    { id: 'b2', severity: 'page', kind: 'check', name: 'checkout page', text: 'fails at processing: no reply within 10 s', since: iso(t - 11 * min), link: '#/checks/checkout' },
    { id: 'b3', severity: 'warning', kind: 'alert', name: 'PricingSlow', text: 'p99 of pricing is 612 ms, 3.1 times its usual', since: iso(t - 18 * min), link: '#/alerts?name=PricingSlow' },
    { id: 'b4', severity: 'warning', kind: 'outbox', name: 'telegram', text: '2 notifications did not arrive: 401 Unauthorized', since: iso(t - 9 * min), link: '#/alerts?tab=outbox&status=failed' },
    { id: 'b5', severity: 'unknown', kind: 'target', name: 'legacy-billing', text: 'no sample came for 4 min', since: iso(t - 4 * min), link: '#/itself?find=legacy' },
  ];
  const calm = scenario === 'empty' || scenario === 'calm';
  const n = services.length;
  return {
    at: iso(t),
    state: calm ? 'ok' : 'page',
    sentence: scenario === 'empty' ? 'All is well: Vedette watches itself and this host; nothing else reports yet.' : calm ? `All is well: ${n} services, 21 checks and 24 rules, no breach for 3 d 4 h.` : `3 of ${n.toLocaleString('en-GB')} services breach: orders errors 4.2 % for 12 min; pricing p99 3.1 times its usual for 18 min; one is silent.`,
    breaches: calm ? [] : breaches,
    services: tenant === 'acme' ? services.slice(0, 2) : services,
    checks: scenario === 'empty' ? { total: 1, up: 1, down: 0, unknown: 0 } : calm ? { total: 21, up: 21, down: 0, unknown: 0 } : { total: 23, up: 13, down: 3, unknown: 1 },
    host: {
      name: 'shop-1', cpu: wave(t / sec, 'cpu', 0.24), memory: 0.41, memory_bytes: 1.06e10, memory_total: 2.58e10, disk: 0.63, disk_free: 1.24e11, net_rx: wave(t / sec, 'rx', 1.4e6), net_tx: wave(t / sec, 'tx', 6e5), load1: 0.42, uptime_seconds: 3.2 * 86400,
      spark: (() => {
        const s = spark('host', 0.24, 0.41, t);
        return { times: s.times, cpu: s.rps, memory: s.p99.map(() => 0.41), net_rx: s.times.map((x) => wave(x, 'rx', 1.4e6)), net_tx: s.times.map((x) => wave(x, 'tx', 6e5)) };
      })(),
    },
    self: { cpu: 0.014, memory: 7.2e7, goroutines: 184, series: scenario === 'empty' ? 912 : 48211, samples_per_second: scenario === 'empty' ? 61.2 : 3218, uptime_seconds: 4.1 * 3600 },
    arrived: scenario === 'empty' ? { self: 1830, checks: 96 } : { self: 180211, scrape: 4.1e6, remote_write_v1: 1.2e6, otlp: 81234 },
  };
}

const ruleDefs = [
  ['OrdersErrors', 'shop', 'sum by (job) (rate(http_requests_total{code=~"5.."}[1m])) / sum by (job) (rate(http_requests_total[1m])) > 0.01', 'page', 'firing', 12, '0.042', { job: 'orders' }, 'orders answers 4.2 % of its requests with an error'],
  ['CheckDown', 'checks', 'probe_success == 0', 'page', 'firing', 11, '0', { check: 'checkout page', job: 'checks' }, 'the check “checkout page” fails at processing'],
  ['PricingSlow', 'shop', 'histogram_quantile(0.99, sum by (le, job) (rate(http_request_duration_seconds_bucket[5m]))) > 3 * quantile_over_time(0.9, job:p99:rate5m[7d])', 'warning', 'firing', 18, '0.612', { job: 'pricing' }, 'p99 of pricing is 612 ms, 3.1 times its usual'],
  ['CertificateEnds', 'checks', '(probe_ssl_earliest_cert_expiry - time()) / 86400 < 14', 'warning', 'firing', 300, '9.1', { check: 'billing API' }, 'the certificate of billing.example ends in 9 days'],
  ['CheckDown', 'checks', 'probe_success == 0', 'page', 'firing', 4, '0', { check: 'billing API', job: 'checks' }, 'the check “billing API” answers 503'],
  ['QueueOld', 'shop', 'queue_oldest_message_seconds > 60', 'warning', 'pending', 1, '71', { queue: 'invoices' }, 'the oldest message of invoices is 71 s old'],
  ['NodeMemory', 'host', 'node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes < 0.1', 'warning', 'inactive', 0, '', {}, 'memory of {{ $labels.instance }} runs out'],
  ['DiskFull', 'host', 'predict_linear(node_filesystem_avail_bytes[6h], 4 * 86400) < 0', 'warning', 'inactive', 0, '', {}, 'a disk is full in four days'],
];

export function rules(scenario) {
  if (scenario === 'empty') return [];
  const t = Date.now();
  const groups = new Map();
  for (const [name, group, query, severity, state, mins, value, labels, summary] of ruleDefs) {
    const g = groups.get(group) ?? { name: group, file: `rules/${group}.yml`, interval: 5, evaluationTime: 0.0041, lastEvaluation: iso(t - 2200), rules: [] };
    groups.set(group, g);
    let r = g.rules.find((x) => x.name === name);
    if (!r) g.rules.push((r = { type: 'alerting', name, query, duration: 60, keepFiringFor: 0, labels: { severity }, annotations: { summary, runbook: `https://wiki.example/runbooks/${name}` }, state: 'inactive', health: 'ok', lastError: '', evaluationTime: 0.0011, lastEvaluation: iso(t - 2200), alerts: [] }));
    if (state === 'inactive' || scenario === 'calm') continue;
    r.state = state === 'firing' || r.state === 'firing' ? 'firing' : state;
    r.alerts.push({ labels: { alertname: name, severity, ...labels }, annotations: { summary, runbook: `https://wiki.example/runbooks/${name}` }, state, activeAt: iso(t - mins * min), value });
  }
  if (scenario !== 'calm') groups.get('host').rules.push({ type: 'alerting', name: 'NodeClock', query: 'node_timex_offset_seconds * on (instance) node_timex_sync_status > 0.05', duration: 0, labels: { severity: 'warning' }, annotations: {}, state: 'inactive', health: 'err', lastError: 'found duplicate series for the match group {instance="shop-1"} on the right hand-side of the operation', evaluationTime: 0.0003, lastEvaluation: iso(t - 2200), alerts: [] });
  if (scenario === 'many') {
    const g = { name: 'thousand', file: 'rules/thousand.yml', interval: 5, rules: [] };
    for (let i = 0; i < 1000; i++) g.rules.push({ type: 'alerting', name: `Rule${i}`, query: `up{job="j${i}"} == 0`, duration: 0, labels: { severity: i % 3 ? 'warning' : 'page' }, annotations: {}, state: i < 300 ? 'firing' : 'inactive', health: 'ok', evaluationTime: 0.0001, lastEvaluation: iso(t), alerts: i < 300 ? [{ labels: { alertname: `Rule${i}`, severity: i % 3 ? 'warning' : 'page', job: `j${i}` }, annotations: { summary: `j${i} does not answer` }, state: 'firing', activeAt: iso(t - i * min), value: '0' }] : [] });
    groups.set('thousand', g);
  }
  return [...groups.values()];
}

export function silences() {
  const t = Date.now();
  return [
    { id: 'silence-1', matchers: [{ name: 'alertname', value: 'CertificateEnds', isRegex: false, isEqual: true }], startsAt: iso(t - hour), endsAt: iso(t + 23 * hour), createdBy: 'ada', comment: 'new certificate comes on Friday, ticket 4711', updatedAt: iso(t - hour), status: { state: 'active' } },
    { id: 'silence-0', matchers: [{ name: 'job', value: 'worker|queue', isRegex: true, isEqual: true }], startsAt: iso(t - 2 * day), endsAt: iso(t - day), createdBy: 'grace', comment: 'migration', updatedAt: iso(t - day), status: { state: 'expired' } },
  ];
}

export function shownSilences(scenario, all) {
  return scenario === 'empty' || scenario === 'calm' ? all.filter((s) => s.id !== 'silence-1' && s.id !== 'silence-0') : all;
}

function silencedBy(labels, all) {
  return all.filter((s) => s.status.state === 'active' && s.matchers.every((m) => (m.isRegex ? new RegExp(`^(?:${m.value})$`).test(labels[m.name] ?? '') : (labels[m.name] ?? '') === m.value) === (m.isEqual !== false))).map((s) => s.id);
}

export function amAlerts(scenario, sil) {
  const out = [];
  for (const g of rules(scenario)) {
    for (const r of g.rules) {
      for (const a of r.alerts ?? []) {
        if (a.state !== 'firing') continue;
        const by = silencedBy(a.labels, sil);
        const inhibited = a.labels.check === 'billing API' && a.labels.alertname === 'CheckDown' ? ['f00f'] : [];
        out.push({ labels: a.labels, annotations: a.annotations, startsAt: a.activeAt, endsAt: iso(Date.now() + 4 * min), updatedAt: iso(Date.now()), fingerprint: 'f' + out.length, generatorURL: '', receivers: [{ name: a.labels.severity === 'page' ? 'on-call' : 'team' }], status: { state: by.length || inhibited.length ? 'suppressed' : 'active', silencedBy: by, inhibitedBy: inhibited, mutedBy: [] } });
      }
    }
  }
  if (scenario === 'full') out.push({ labels: { alertname: 'BackupOld', severity: 'warning', source: 'other-prometheus' }, annotations: { summary: 'the last backup is 31 h old' }, startsAt: iso(Date.now() - 5 * hour), endsAt: iso(Date.now() + 4 * min), fingerprint: 'ext', generatorURL: 'http://prometheus.example:9090/graph?g0.expr=x', receivers: [{ name: 'team' }], status: { state: 'active', silencedBy: [], inhibitedBy: [], mutedBy: [] } });
  return out;
}

export function outbox(scenario, retried) {
  if (scenario === 'empty') return { notifications: [], counts: {} };
  const t = Date.now();
  const mk = (i, receiver, integration, status, mins, attempts, name, firing, resolved) => ({
    id: `n-${i}`, receiver, integration, status: retried.has(`n-${i}`) ? 'pending' : status, group_key: `{}/{severity="page"}:{alertname="${name}"}`, group_labels: { alertname: name }, dedup_key: `3f1c9a${i}e0b7`, firing, resolved,
    alerts: [{ status: firing ? 'firing' : 'resolved', labels: { alertname: name, severity: 'page' }, annotations: { summary: `${name} tells something` }, starts_at: iso(t - mins * min), ends_at: iso(t) }],
    decided_at: iso(t - mins * min), next_attempt_at: status === 'pending' ? iso(t + 40 * sec) : null, finished_at: status === 'delivered' ? iso(t - mins * min + 310) : status === 'failed' ? iso(t - min) : null,
    attempts: attempts.map((error, k) => ({ at: iso(t - mins * min + k * 20 * sec), seconds: 0.212 + k, error })),
  });
  const bad = 'telegram: unexpected status 401: {"ok":false,"description":"Unauthorized"}';
  const n = [
    mk(1, 'on-call', 'pagerduty[0]', 'delivered', 12, [''], 'OrdersErrors', 1, 0),
    mk(2, 'on-call', 'webhook[1]', 'delivered', 11, ['dial tcp 127.0.0.1:9000: connect: connection refused', ''], 'CheckDown', 1, 0),
    mk(3, 'team', 'telegram[0]', 'failed', 9, [bad, bad, bad], 'PricingSlow', 1, 0),
    mk(4, 'team', 'telegram[0]', 'failed', 8, [bad, bad], 'CheckDown', 1, 0),
    mk(5, 'team', 'slack[1]', 'pending', 1, ['Post "https://hooks.slack.example/": context deadline exceeded'], 'PricingSlow', 1, 0),
    mk(6, 'team', 'email[0]', 'superseded', 40, ['dial tcp: lookup mail.example: no such host'], 'QueueOld', 1, 0),
    mk(7, 'on-call', 'pagerduty[0]', 'delivered', 190, [''], 'NodeMemory', 0, 1),
  ];
  const counts = {};
  for (const x of n) counts[x.status] = (counts[x.status] ?? 0) + 1;
  return { notifications: n, counts };
}

export function targets(scenario) {
  const t = Date.now();
  const mk = (pool, port, health, err, took) => ({ labels: { job: pool, instance: `127.0.0.1:${port}` }, discoveredLabels: {}, scrapePool: pool, scrapeUrl: `http://127.0.0.1:${port}/metrics`, globalUrl: '', lastError: err, lastScrape: iso(t - noise(port) * 5 * sec), lastScrapeDuration: took, health, scrapeInterval: '5s', scrapeTimeout: '5s' });
  if (scenario === 'empty') return [];
  const out = [mk('gateway', 8080, 'up', '', 0.0031), mk('catalogue', 8081, 'up', '', 0.0042), mk('pricing', 8082, 'up', '', 0.0188), mk('orders', 8083, 'up', '', 0.0062), mk('node', 9100, 'up', '', 0.021)];
  if (scenario !== 'calm') out.push(mk('legacy-billing', 8099, 'down', 'Get "http://127.0.0.1:8099/metrics": dial tcp 127.0.0.1:8099: connect: connection refused', 0.0002));
  if (scenario === 'many') for (let i = 0; i < 1000; i++) out.push(mk('fleet', 20000 + i, 'up', '', noise(i) / 50));
  return out;
}

export function itself(scenario) {
  const t = Date.now();
  const empty = scenario === 'empty';
  const bad = !empty && scenario !== 'calm';
  return {
    process: { version: '0.1.0', revision: '4f0c1d2e9a7b', build_time: iso(t - 9 * day), go: 'go1.26.8', started_at: iso(t - 4.1 * hour), uptime_seconds: 4.1 * 3600, rss: 7.2e7, heap: 3.1e7, cpu_seconds: 212, cpu_percent: 1.42, goroutines: 184, pid: 4242 },
    config: { path: empty ? '' : '/etc/vedette/vedette.yml', loaded_at: iso(t - 3 * hour), ok: !bad, error: bad ? '/etc/vedette/vedette.yml:14: checks[2].interval: expected a duration such as 30s, got "often"; the configuration of 3 h ago runs on' : '', not_served: empty ? [] : [{ section: 'scrape_configs[3].azure_sd_configs', reason: 'discovery of Azure machines is not built in' }, { section: 'tracing', reason: 'Vedette sends no traces of its own yet' }] },
    storage: { series: empty ? 912 : 48211, chunks: empty ? 1830 : 97120, wal_bytes: 1.8e7, blocks_bytes: empty ? 0 : 2.1e9, blocks: empty ? 0 : 12, oldest: empty ? null : iso(t - 12 * day), newest: iso(t - 900), retention: '15d', size_limit: 0, disk_free: 1.24e11, disk_total: 3.4e11, full_in_days: empty ? null : bad ? 5.2 : 812, out_of_order_window: '30m' },
    ingestion: [
      { protocol: 'self', requests: 2952, samples: 180211, samples_per_second: 61.2, rejected: [] },
      ...(empty ? [] : [
        { protocol: 'scrape', requests: 17712, samples: 4.1e6, samples_per_second: 1980, rejected: [{ reason: 'out_of_bounds', count: 12 }] },
        { protocol: 'remote_write_v1', requests: 8120, samples: 1.2e6, samples_per_second: 812, rejected: [] },
        { protocol: 'remote_write_v2', requests: 2100, samples: 410000, samples_per_second: 290, rejected: [{ reason: 'duplicate_timestamp', count: 41 }, { reason: 'label_too_long', count: 3 }] },
        { protocol: 'otlp', requests: 812, samples: 81234, samples_per_second: 75.1, rejected: [] },
      ]),
    ],
    limits: [
      { name: 'max_series', what: 'active series of a tenant; new ones are refused above it', value: 1000000, hits: 0 },
      { name: 'max_label_value_bytes', what: 'length of a label value; a sample with a longer one is refused', value: 2048, hits: bad ? 3 : 0 },
      { name: 'max_query_samples', what: 'samples that one query may touch', value: 50000000, hits: 0 },
      { name: 'max_body_bytes', what: 'size of a request body', value: 33554432, hits: 0 },
      { name: 'max_concurrent_queries', what: 'queries that run at a time; the next ones wait', value: 20, hits: 0 },
    ],
    rules: { groups: empty ? 0 : 3, rules: empty ? 0 : 24, failing: bad ? 1 : 0, last_evaluation_seconds: 0.0041, slowest: empty ? [] : [{ group: 'shop', file: 'rules/shop.yml', seconds: 0.0041 }, { group: 'checks', file: 'rules/checks.yml', seconds: 0.0021 }, { group: 'host', file: 'rules/host.yml', seconds: 0.0009 }] },
    outbox: { pending: empty ? 0 : 1, failed: bad ? 2 : 0, oldest_pending_seconds: 61 },
    pulls: [{ name: 'orders', kind: 'postgres', instance: 'db.example.org:5432', up: true, error: '', since: iso(t - 86400e3), last: iso(t - 4000), seconds: 0.021, samples: 412, dropped: null, faults: { pg_stat_statements: 'the extension is not installed' } }, { name: 'redis cache:6379', kind: 'redis', instance: 'cache:6379', up: false, error: 'dial tcp: connection refused', since: iso(t - 120e3), last: iso(t - 4000), seconds: 0.001, samples: 3, dropped: null, faults: null }],
    listeners: [{ name: 'http', address: '127.0.0.1:7575', state: 'listening' }, { name: 'otlp grpc', address: '127.0.0.1:4317', state: 'off' }],
    tenants: [{ name: 'default', open: true, series: empty ? 912 : 48211 }, ...(empty ? [] : [{ name: 'acme', open: true, series: 1200 }, { name: 'globex', open: false, series: 0 }])],
  };
}

export function cardinality(scenario, q) {
  const t = Date.now();
  const empty = scenario === 'empty';
  const bad = !empty && scenario !== 'calm';
  const metric = /__name__="([^"]*)"/.exec(q.get('match[]') ?? '')?.[1];
  const focus = q.get('focus');
  const all = empty
    ? []
    : [['http_requests_total', 48211, 41000, 12000, 3100], ['http_request_duration_seconds_bucket', 22140, 22140, 21800, 20100], ['db_calls_total', 4120, 4120, 4190, null], ['a_metric_with_a_name_that_somebody_made_of_ninety_characters_so_that_it_fits_nowhere_total', 812, 812, null, null], ['node_cpu_seconds_total', 512, 512, 512, 512]].map(([name, series, h, d, w]) => ({ name, series, ago_1h: h, ago_24h: d, ago_7d: w }));
  const metrics = metric ? all.filter((m) => m.name === metric) : all;
  const matched = metrics.reduce((n, m) => n + m.series, 0);
  const id = (i) => `0f8fad5b-d9cb-469f-a165-${(0x70867728950e + i).toString(16)}`;
  const values = Array.from({ length: 30 }, (_, i) => ({ name: focus, value: focus === 'request_id' ? id(i) : `${focus ?? ''}-${i}`, series: 40 - i }));
  return {
    at: iso(t), series: empty ? 0 : 75795, matched, names: metrics.length, partial: false, max_series: 2000000, max_series_per_metric: 48211, metrics,
    samples_per_second: empty ? null : 3218, bytes_per_sample: empty ? null : 1.42, bytes_per_day: empty ? null : 3.9e8, created_per_hour: empty ? null : 8120, removed_per_hour: empty ? null : 910,
    labels: empty ? [] : [{ name: 'request_id', values: 48211, series: 48211 }, { name: 'path', values: 412, series: 70351 }, { name: 'instance', values: 24, series: 75795 }, { name: 'job', values: 9, series: 75795 }],
    pairs: empty ? [] : [{ name: 'job', value: 'shop', series: 61200 }, { name: 'zone', value: 'eu-1', series: 30100 }, { name: 'instance', value: '10.0.0.7:9100', series: 9120 }],
    focus: focus && !empty ? { name: focus, values: 48211, series: 48211, top: values } : null,
    hints: bad && (!metric || metric === 'http_requests_total') ? [{ label: 'request_id', values: 48211, series: 48211, kind: 'uuid', example: id(7), metrics: ['http_requests_total'], text: 'label request_id has 48211 values that look like UUIDs', rule: "- source_labels: [__name__]\n  regex: 'http_requests_total'\n  target_label: 'request_id'\n  replacement: ''\n" }] : [],
    disk: { free: 1.24e11, total: 3.4e11, full_in_days: bad ? 5.2 : null, held_by: empty ? '' : 'retention.metrics' },
    senders: empty ? [] : [['remote_write_v2', 'shop from 10.0.0.12', 4.1e6, 48301, 812, 1980, 640], ['scrape', 'job node', 1.2e6, 2210, 0, 812, 0], ['influx', '10.0.0.31', 81234, 412, 0, 75.1, 1]].map(([protocol, sender, samples, new_series, rejected, rate, per]) => ({ protocol, sender, samples, new_series, rejected, samples_per_second: rate, new_series_per_minute: per, first: iso(t - 4 * hour), last: iso(t - 4000), over: 0 })),
    refusals: bad ? [{ limit: 'max_series_per_metric', metric: 'http_requests_total', count: 812, last: iso(t - 4000), text: 'new series {__name__="http_requests_total", job="shop", request_id="0f8fad5b-d9cb-469f-a165-708677289615"} beside 48211 of metric http_requests_total: over the limit max_series_per_metric = 48211; send less or raise limits.max_series_per_metric' }] : [],
  };
}

function seriesFor(expr, scenario, made) {
  if (/nothing|ALERTS/.test(expr) || (scenario === 'empty' && !/vedette|probe|up/.test(expr))) return [];
  if (/probe_(http|phase)_duration_seconds/.test(expr)) {
    const list = synthetic.phaseSeries(expr, scenario, made);
    return /by \(phase\)/.test(expr) ? list.filter((s, i) => list.findIndex((x) => x.metric.phase === s.metric.phase) === i).map((s) => ({ ...s, shown: { phase: s.metric.phase } })) : list;
  }
  if (/count by \(location\)/.test(expr)) {
    const down = /== 0/.test(expr);
    return synthetic.locations(scenario).filter((l) => l.checks && l.state === 'up').map((l) => ({ metric: { location: l.name }, base: down ? synthetic.checks(scenario === 'many' ? 'full' : scenario, 1).filter((c) => c.failing.includes(l.name)).length : l.checks, flat: true })).filter((s) => s.base);
  }
  if (/thousand|topk\(1000/.test(expr) || scenario === 'many') return Array.from({ length: 1000 }, (_, i) => ({ metric: { __name__: 'http_requests_total', job: 'fleet', instance: `10.0.${i >> 8}.${i & 255}:9100` }, base: 10 * noise(i) }));
  if (/native/.test(expr)) return ['gateway', 'orders'].map((job) => ({ metric: { __name__: 'rpc_native_seconds', job }, native: true, base: 100 }));
  if (/by \(job\)/.test(expr)) return ['gateway', 'catalogue', 'pricing', 'orders', 'worker'].map((job, i) => ({ metric: { job }, base: /bytes/.test(expr) ? 4e8 * (1 + i / 3) : [1312, 871, 342, 118, 96][i] }));
  if (/^up/.test(expr)) return ['gateway', 'catalogue', 'pricing', 'orders', 'node', 'legacy-billing'].map((job, i) => ({ metric: { __name__: 'up', job, instance: `127.0.0.1:${8080 + i}` }, base: job === 'legacy-billing' ? 0 : 1, flat: true }));
  return ['GET', 'POST'].flatMap((method) => ['/', '/cart', '/search', '/checkout', '/login', '/account'].map((handler) => ({ metric: { __name__: /(\w+)/.exec(expr)?.[1] ?? 'm', job: 'gateway', method, handler }, base: 100 * noise(method, handler) })));
}

const native = (v) => ({ count: String(Math.round(v)), sum: String(v * 0.031), buckets: [[0, '0', '0.01', String(v / 3)], [0, '0.01', '0.1', String(v / 3)], [0, '0.1', '1', String(v / 3)]] });

/** The share q of the values of a phase in a span. */
function quantileOver(s, expr, t) {
  const share = Number(/quantile_over_time\(([\d.]+)/.exec(expr)?.[1] ?? 0.5);
  const m = /\[(\d+)s\]/.exec(expr);
  const len = m ? Number(m[1]) : 300;
  const v = [];
  for (let i = 0; i < 240; i++) v.push(synthetic.phaseAt(s, t - (i / 240) * len));
  const have = v.filter((x) => x !== null).sort((a, b) => a - b);
  return have.length ? have[Math.min(have.length - 1, Math.floor(share * have.length))] : null;
}

export function query(range, q, scenario, made = []) {
  const expr = q.get('query') ?? '';
  const depth = [...expr].reduce((n, c) => n + (c === '(' ? 1 : c === ')' ? -1 : 0), 0);
  if (depth !== 0 || !expr.trim()) return { type: 'bad_data', error: `invalid parameter "query": 1:${expr.length + 1}: parse error: unclosed left parenthesis` };
  const list = seriesFor(expr, scenario, made);
  const extra = /rate\(\w+(?<!_total|_count|_sum|_bucket)[[{]/.test(expr) ? { infos: ['PromQL info: metric might not be a counter, name does not end in _total/_sum/_count/_bucket'] } : {};
  if (!range) {
    const t = Number(q.get('time') ?? Date.now() / 1000);
    if (/^\s*[\d.]+\s*$/.test(expr)) return { data: { resultType: 'scalar', result: [t, expr.trim()] } };
    if (/quantile_over_time/.test(expr) && list[0]?.check) return { data: { resultType: 'vector', result: list.map((s) => ({ metric: s.shown ?? s.metric, value: [t, String(quantileOver(s, expr, t))] })).filter((s) => s.value[1] !== 'null') } };
    return { extra, data: { resultType: 'vector', result: list.map((s) => (s.native ? { metric: s.metric, histogram: [t, native(s.base * 40)] } : { metric: s.metric, value: [t, String(s.flat ? s.base : wave(t, JSON.stringify(s.metric), s.base))] })) } };
  }
  const start = Number(q.get('start'));
  const end = Number(q.get('end'));
  const step = Number(q.get('step'));
  return {
    extra,
    data: {
      resultType: 'matrix',
      result: list.map((s, n) => {
        const values = [];
        const histograms = [];
        for (let t = start; t <= end + 1e-6; t += step) {
          if (s.check) {
            const v = synthetic.phaseAt(s, t);
            if (v !== null) values.push([t, String(v)]);
            continue;
          }
          const at = (t - start) / (end - start || 1);
          if (list.length > 3 && n === 2 && at > 0.4 && at < 0.5) continue;
          if (s.native) histograms.push([t, native(s.base * (t % 1000))]);
          else values.push([t, String(s.flat ? (s.metric.job === 'legacy-billing' && at < 0.7 ? 1 : s.base) : wave(t, JSON.stringify(s.metric), s.base) * (at > 0.75 && n === 0 ? 1.6 : 1))]);
        }
        return s.native ? { metric: s.metric, histograms } : { metric: s.shown ?? s.metric, values };
      }),
    },
  };
}
