// What reports its golden signals in the test bed: services with classic and
// native histograms, a host, a queue that backs up, databases, a proxy.
import { noise, wave } from './fixtures.mjs';

const entity = (kind, labels, sources, figures, state = 'ok', text = '') => ({
  kind,
  name: Object.values(labels).join(' · '),
  labels,
  sources: [sources].flat(),
  state,
  text,
  rate: null,
  error_ratio: null,
  p99: null,
  saturation: null,
  saturation_of: '',
  depth: null,
  up: null,
  ...figures,
});

const few = [
  entity('service', { job: 'pricing' }, ['OpenTelemetry HTTP server', 'OpenTelemetry RPC server'], { rate: 212, error_ratio: 0.061, p99: 1.84, saturation: 0.42, saturation_of: 'requests' }, 'page', '6.1 % of its requests fail'),
  entity('service', { namespace: 'shop', service_name: 'orders' }, 'Prometheus client libraries', { rate: 48.2, error_ratio: 0.0004, p99: 0.212, saturation: 0.021, saturation_of: 'open files' }),
  entity('service', { job: 'a-service-whose-name-somebody-made-ninety-characters-long-because-nothing-kept-them-from-it' }, 'Micrometer', { rate: 3.1, error_ratio: 0, p99: 0.08 }),
  entity('endpoint', { host: 'shop.example.org', ingress: 'front' }, 'ingress-nginx', { rate: 260, error_ratio: 0.012, p99: 0.9 }, 'warning', '1.2 % of its requests fail'),
  entity('host', { instance: '10.0.0.11:9100' }, 'node_exporter', { saturation: 0.93, saturation_of: 'fullest disk' }, 'warning', 'fullest disk: 93 % of the limit'),
  entity('host', { host_name: 'web-2' }, 'OpenTelemetry system metrics', { saturation: 0.31, saturation_of: 'CPU' }),
  entity('queue', { consumergroup: 'billing', topic: 'orders' }, 'Kafka consumer group', { rate: 0, depth: 18400 }, 'warning', '18400 messages wait and none is taken'),
  entity('database', { instance: 'db-1:9187' }, 'PostgreSQL', { rate: 1240, saturation: 0.62, saturation_of: 'connections', up: 1 }),
];

function entities(sc) {
  if (sc === 'empty') return [];
  if (sc === 'calm') return few.filter((e) => e.state === 'ok');
  if (sc !== 'many') return few;
  return [...few, ...Array.from({ length: 400 }, (_, i) => entity('service', { job: `service-${String(i).padStart(3, '0')}` }, 'OpenTelemetry HTTP server', { rate: 1 + 90 * noise('r', i), error_ratio: 0.004 * noise('e', i), p99: 0.02 + noise('p', i) }))];
}

export function list(sc) {
  const now = Math.floor(Date.now() / 60000) * 60;
  const times = Array.from({ length: 61 }, (_, i) => now - (60 - i) * 60);
  return {
    at: new Date().toISOString(),
    present_seconds: 900,
    times,
    entities: entities(sc).map((e) => ({ ...e, spark: e.rate === null ? undefined : times.map((t) => (e.rate === 0 ? (t > now - 900 ? 0 : 40) : wave(t, e.name, e.rate))) })),
  };
}

const panel = (signal, title, unit, lines, more = {}) => ({ title, unit, signal, kind: 'lines', promql: lines.map(([legend, expr]) => ({ legend, expr })), ...more });
const heat = (title, metric, sel, native) => {
  const of = native ? `sum(rate(${metric}${sel}[1m]))` : `sum by (le) (rate(${metric}_bucket${sel}[1m]))`;
  return panel('latency', title, 's', [['buckets', of], ...[50, 95, 99].map((p) => [`p${p}`, `histogram_quantile(${p / 100}, ${of})`])], { kind: 'heatmap' });
};

/** One entity with its panels; undefined where nothing has these labels. */
export function one(sc, kind, q) {
  const e = entities(sc).find((x) => x.kind === kind && Object.entries(x.labels).every(([k, v]) => q.get(k) === v));
  if (!e) return undefined;
  const sel = `{${Object.entries(e.labels).map(([k, v]) => `${k}=${JSON.stringify(v)}`).join(', ')}}`;
  const panels = {
    service: [
      heat('HTTP latency', 'http_server_request_duration_seconds', sel, false),
      ...(e.sources.length > 1 ? [heat('RPC latency', 'rpc_server_call_duration_seconds', sel, true)] : []),
      panel('traffic', 'HTTP requests', '/s', [['requests', `sum(rate(http_server_request_duration_seconds_count${sel}[1m]))`]]),
      panel('errors', 'HTTP requests that failed', 'ratio', [['failed', `signal_ratio${sel}`]]),
      panel('saturation', 'Requests under way, of their limit', 'ratio', [['requests', `signal_share${sel}`]]),
      panel('detail', 'HTTP requests by http_route', '/s', [['{{http_route}}', `sum by (http_route) (rate(http_server_request_duration_seconds_count${sel}[1m]))`]]),
      panel('detail', 'Memory', 'bytes', [['{{instance}}', `sum by (instance) (process_resident_memory_bytes${sel})`]]),
    ],
    endpoint: [heat('Latency', 'nginx_ingress_controller_request_duration_seconds', sel, false), panel('traffic', 'Requests', '/s', [['requests', `sum(rate(nginx_ingress_controller_requests${sel}[1m]))`]]), panel('errors', 'Requests that failed', 'ratio', [['5xx', `signal_ratio${sel}`]])],
    host: [
      panel('traffic', 'Network', 'bytes/s', [['received', `signal_rx${sel}`], ['sent', `signal_tx${sel}`]]),
      panel('errors', 'Packets lost or broken', '/s', [['receive drops', `signal_zero${sel}`]]),
      panel('saturation', 'CPU, memory and disk in use', 'ratio', [['CPU', `signal_share${sel}`], ['memory', `signal_share${sel} * 1.4`], ['fullest disk', `signal_share${sel} * 2.2`]]),
      panel('detail', 'CPU by mode', 'ratio', [['{{mode}}', `sum by (mode) (rate(node_cpu_seconds_total${sel}[1m]))`]]),
      panel('detail', 'Days until a disk is full', 'days', [['{{mountpoint}}', `signal_none${sel}`]], { empty: 'At the pace of the last 6 hours no disk fills within a year, or it is watched for less than 3 hours.' }),
    ],
    queue: [
      panel('latency', 'Age of the oldest message not taken', 's', [['oldest', `signal_age${sel}`]]),
      panel('traffic', 'Messages', '/s', [['taken', `signal_zero${sel}`], ['produced', `signal_rx${sel} / 1e5`]]),
      panel('saturation', 'Lag', '', [['messages', `signal_lag${sel}`]]),
      panel('detail', 'Lag by partition', '', [['{{partition}}', `sum by (partition) (kafka_consumergroup_lag${sel})`]]),
    ],
    database: [
      panel('latency', 'Mean time of a statement', 's', [['mean', `signal_ratio${sel} / 9`]]),
      panel('traffic', 'Transactions', '/s', [['committed', `signal_rx${sel} / 2000`], ['rolled back', `signal_tx${sel} / 9e5`]]),
      panel('errors', 'Transactions rolled back', 'ratio', [['rolled back', `signal_ratio${sel} / 100`]]),
      panel('saturation', 'Connections, of their limit', 'ratio', [['connections', `signal_share${sel}`]]),
      panel('detail', 'Locks by mode', '', [['{{mode}}', `sum by (mode) (pg_locks_count${sel})`]]),
      panel('detail', 'Replica lag', 's', [['lag', `signal_ratio${sel} / 3`]]),
    ],
  }[kind];
  return { ...e, window_seconds: 60, panels };
}

const bounds = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];
/** The share of requests faster than le: a log-normal body and, in the last fifth, a slow second hump. */
function below(le, t, at) {
  const cdf = (m, s) => 1 / (1 + Math.exp(-1.7 * ((Math.log(le) - Math.log(m)) / s)));
  const slow = at > 0.8 ? 0.18 : 0.004;
  return (1 - slow) * cdf(0.045 * (1 + 0.2 * Math.sin(t / 900)), 0.55) + slow * cdf(1.2, 0.35);
}
function quantile(p, t, at) {
  let lo = 1e-4;
  let hi = 30;
  for (let i = 0; i < 40; i++) {
    const m = Math.sqrt(lo * hi);
    if (below(m, t, at) < p) lo = m;
    else hi = m;
  }
  return lo;
}

const groups = { http_route: ['/prices', '/prices/{sku}', '/quote', '/healthz'], mode: ['user', 'system', 'iowait'], partition: ['0', '1', '2'], instance: ['10.0.0.5:8080', '10.0.0.6:8080'] };

/** The answer to a query of a panel, or undefined for any other. */
export function answer(q) {
  const expr = q.get('query') ?? '';
  if (!/signal_|(server|controller)_[a-z_]*duration_seconds|kafka_consumergroup_lag|pg_locks_count|sum by \((mode|instance)\)|nginx_ingress/.test(expr) || !q.has('start')) return undefined;
  if (/^histogram_quantile\(0\.99, sum by \(job/.test(expr)) return undefined;
  const [start, end, step] = ['start', 'end', 'step'].map((k) => Number(q.get(k)));
  const times = [];
  for (let t = start; t <= end + 1e-6; t += step) times.push(t);
  const at = (t) => (t - start) / (end - start || 1);
  const gap = (t) => at(t) > 0.42 && at(t) < 0.46; // nothing came in then
  const line = (metric, f) => ({ metric, values: times.filter((t) => !gap(t)).map((t) => [t, String(f(t))]) });
  const done = (result) => ({ data: { resultType: 'matrix', result } });
  const p = /^histogram_quantile\(([\d.]+)/.exec(expr);
  if (p) return done([line({}, (t) => quantile(Number(p[1]), t, at(t)))]);
  const rate = (t) => wave(t, expr, 40);
  if (/^sum by \(le\)/.test(expr)) return done([...bounds, Infinity].map((le) => line({ le: le === Infinity ? '+Inf' : String(le) }, (t) => rate(t) * (le === Infinity ? 1 : below(le, t, at(t))))));
  if (/^sum\(rate\(rpc_\w+_seconds\{/.test(expr)) {
    const edges = Array.from({ length: 40 }, (_, i) => 2 ** ((i - 28) / 4));
    return done([{ metric: {}, histograms: times.filter((t) => !gap(t)).map((t) => [t, { count: String(rate(t)), sum: String(rate(t) / 9), buckets: edges.slice(1).map((hi, i) => [0, String(edges[i]), String(hi), String(rate(t) * (below(hi, t, at(t)) - below(edges[i], t, at(t))))]).filter((b) => Number(b[3]) > 0.05) }]) }]);
  }
  const by = /sum by \((\w+)\)/.exec(expr)?.[1];
  if (by) {
    const base = { mode: /pg_locks/.test(expr) ? 6 : 0.12, instance: 1.6e8, partition: 6000 }[by] ?? 12;
    return done((/pg_locks/.test(expr) ? ['accesssharelock', 'rowexclusivelock'] : (groups[by] ?? ['a'])).map((v, i) => line({ [by]: v }, (t) => wave(t, v, base / (i + 1)))));
  }
  if (/signal_none/.test(expr)) return done([]);
  const shapes = {
    signal_ratio: (t) => (at(t) > 0.8 ? 0.061 : 0.0004) * wave(t, expr, 1),
    signal_share: (t) => wave(t, expr, 0.4),
    signal_zero: (t) => (at(t) > 0.75 || !/taken|group/.test(expr) ? 0 : wave(t, expr, 40)),
    signal_rx: (t) => wave(t, expr, 2.4e6),
    signal_tx: (t) => wave(t, expr, 9e5),
    signal_age: (t) => Math.max(1, (at(t) - 0.75) * 3600),
    signal_lag: (t) => (at(t) > 0.75 ? (at(t) - 0.75) * 73600 : wave(t, expr, 30)),
  };
  const name = Object.keys(shapes).find((k) => expr.includes(k));
  const factor = Number(/\* ([\d.]+)$/.exec(expr)?.[1] ?? 1) / Number(/\/ ([\de.]+)$/.exec(expr)?.[1] ?? 1);
  return done([line({}, (t) => (name ? shapes[name](t) : wave(t, expr, 210)) * factor)]);
}
