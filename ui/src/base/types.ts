// The JSON of Vedette's own API. Times are RFC 3339, durations float seconds.

export type Severity = 'page' | 'warning' | 'unknown';
export type State = 'ok' | Severity;

export interface Session {
  auth: boolean;
  signed_in: boolean;
  user: string;
  role: string;
  tenant: string;
  tenants: string[] | null;
  csrf: string;
  version: string;
  zone: string;
}

export interface Breach {
  id: string;
  severity: Severity;
  kind: string;
  name: string;
  text: string;
  since: string;
  link: string;
}

export interface Service {
  name: string;
  kind: string;
  state: State;
  targets_up: number;
  targets_total: number;
  rps: number | null;
  error_ratio: number | null;
  p50: number | null;
  p99: number | null;
  cpu: number | null;
  memory: number | null;
  alerts: number;
  spark?: { times: number[] | null; rps?: (number | null)[] | null; p99?: (number | null)[] | null } | null;
  note: string;
}

export interface Host {
  name: string;
  cpu: number | null;
  memory: number | null;
  memory_bytes: number | null;
  memory_total: number | null;
  disk: number | null;
  disk_free: number | null;
  net_rx: number | null;
  net_tx: number | null;
  load1: number | null;
  uptime_seconds: number;
  spark?: { times: number[] | null; cpu?: (number | null)[]; memory?: (number | null)[]; net_rx?: (number | null)[]; net_tx?: (number | null)[] } | null;
}

export interface Now {
  at: string;
  state: State;
  sentence: string;
  breaches: Breach[] | null;
  services: Service[] | null;
  checks: { total: number; up: number; down: number; unknown: number };
  host: Host | null;
  self: { cpu: number | null; memory: number; goroutines: number; series: number; samples_per_second: number | null; uptime_seconds: number };
  arrived: Record<string, number> | null; // samples since the start by protocol
}

export const phases = ['resolve', 'connect', 'tls', 'processing', 'transfer'] as const;
export type PhaseName = (typeof phases)[number];

export interface Hop {
  url: string;
  address?: string;
  phases: Record<PhaseName, { state: 'not_reached' | 'done' | 'failed' | 'skipped'; seconds: number }>;
  status?: number;
  proto?: string;
  bytes: number;
  location?: string;
  tls?: { version: string; cipher: string; alpn?: string; subject: string; issuer: string; names?: string[]; not_after: string };
}

export interface Run {
  check: string;
  kind: string;
  target: string;
  location: string;
  start: string;
  duration_seconds: number;
  lag_seconds: number;
  success: boolean;
  stage?: string;
  reason?: string;
  message?: string;
  hops: Hop[] | null;
  reply?: string;
  trace_id?: string;
}

export interface Check {
  id: string;
  name: string;
  kind: string;
  target: string;
  location: string;
  interval_seconds: number;
  labels: Record<string, string> | null;
  source: string;
  state: 'up' | 'down' | 'unknown';
  since: string;
  consecutive: number;
  uptime_24h: number | null;
  runs_24h: number;
  last: Run | null;
  recent: { t: number; ok: boolean; stage: string; ms: number[] }[] | null;
}

export interface Notification {
  id: string;
  receiver: string;
  integration: string;
  status: 'pending' | 'sending' | 'delivered' | 'failed' | 'superseded';
  group_key: string;
  group_labels: Record<string, string> | null;
  dedup_key: string;
  reason?: string;
  firing: number;
  resolved: number;
  alerts: { status: string; labels: Record<string, string>; annotations: Record<string, string>; starts_at: string; ends_at: string | null }[] | null;
  decided_at: string;
  next_attempt_at: string | null;
  finished_at: string | null;
  attempts: { at: string; seconds: number; error: string }[] | null;
}

export interface Itself {
  process: { version: string; revision: string; build_time: string; go: string; started_at: string; uptime_seconds: number; rss: number; heap: number; cpu_seconds: number; cpu_percent: number; goroutines: number; pid: number };
  config: { path: string; loaded_at: string; ok: boolean; error: string; not_served: { section: string; reason: string }[] | null };
  storage: { series: number; chunks: number; wal_bytes: number; blocks_bytes: number; blocks: number; oldest: string | null; newest: string | null; retention: string | number; size_limit: number; disk_free: number; disk_total: number; full_in_days: number | null; out_of_order_window: string | number };
  ingestion: { protocol: string; requests: number; samples: number; samples_per_second: number | null; rejected: { reason: string; count: number }[] | null }[] | null;
  limits: { name: string; what: string; value: number | string; hits: number }[] | null;
  rules: { groups: number; rules: number; failing: number; last_evaluation_seconds: number; slowest: { group: string; file: string; seconds: number }[] | null };
  outbox: { pending: number; failed: number; oldest_pending_seconds: number };
  listeners: { name: string; address: string; state: string }[] | null;
  tenants: { name: string; open: boolean; series: number }[] | null;
}

// Prometheus and Alertmanager shapes, as far as they are read here.

export interface PromRule {
  type: string;
  name: string;
  query: string;
  duration?: number;
  keepFiringFor?: number;
  labels?: Record<string, string>;
  annotations?: Record<string, string>;
  state?: string;
  health: string;
  lastError?: string;
  evaluationTime?: number;
  lastEvaluation?: string;
  alerts?: { labels: Record<string, string>; annotations: Record<string, string>; state: string; activeAt: string; value: string }[];
}

export interface RuleGroup {
  name: string;
  file: string;
  interval: number;
  evaluationTime?: number;
  lastEvaluation?: string;
  rules: PromRule[];
}

export interface Target {
  labels: Record<string, string>;
  discoveredLabels?: Record<string, string>;
  scrapePool: string;
  scrapeUrl: string;
  lastError: string;
  lastScrape: string;
  lastScrapeDuration: number;
  health: string;
  scrapeInterval?: string;
}

export interface AmAlert {
  labels: Record<string, string>;
  annotations: Record<string, string>;
  startsAt: string;
  endsAt: string;
  fingerprint: string;
  generatorURL?: string;
  receivers: { name: string }[] | null;
  status: { state: string; silencedBy: string[] | null; inhibitedBy: string[] | null; mutedBy?: string[] | null };
}

export interface Matcher {
  name: string;
  value: string;
  isRegex: boolean;
  isEqual?: boolean;
}

export interface Silence {
  id: string;
  matchers: Matcher[];
  startsAt: string;
  endsAt: string;
  createdBy: string;
  comment: string;
  status: { state: string };
}

export interface Histogram {
  count: string;
  sum: string;
  buckets?: [number, string, string, string][];
}

export interface PromSeries {
  metric: Record<string, string>;
  values?: [number, string][];
  value?: [number, string];
  histograms?: [number, Histogram][];
  histogram?: [number, Histogram];
}
