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

export type PhaseState = 'not_reached' | 'done' | 'failed' | 'skipped';

export interface TLSFacts {
  version: string;
  cipher: string;
  alpn?: string;
  subject: string;
  issuer: string;
  names?: string[];
  not_after: string;
}

export interface Hop {
  url: string;
  step?: string; // of a flow
  type?: string; // of what a browser loaded
  offset_seconds?: number;
  address?: string;
  phases: Record<PhaseName, { state: PhaseState; seconds: number }>;
  status?: number;
  proto?: string;
  bytes: number;
  location?: string;
  tls?: TLSFacts;
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
  steps?: { name: string; offset_seconds: number; duration_seconds: number; state: 'ok' | 'failed' | 'not_reached'; message?: string }[] | null;
  values?: { name: string; labels?: string[] | null; value: number }[] | null;
  facts?: Record<string, string> | null;
  console?: string[] | null;
  has_screenshot?: boolean;
  extra?: boolean; // outside the schedule: a confirmation, or by hand
  late?: boolean; // came to the hub after its time; it does not vote
  maintenance?: boolean;
}

/** One run in short: milliseconds of the five phases. */
export interface Brief {
  t: number;
  ok: boolean;
  stage: string;
  ms: number[];
}

export type CheckState = 'up' | 'degraded' | 'down' | 'flapping' | 'unknown' | 'unreachable' | 'maintenance' | 'paused';

/** A check as one place sees it. */
export interface Place {
  location: string;
  state: 'up' | 'down' | 'failing' | 'unknown' | 'silent';
  since: string | null;
  consecutive: number;
  uptime_24h: number | null;
  runs_24h: number;
  last: Run | null;
  recent: Brief[] | null;
}

export interface Check {
  id: string;
  name: string;
  kind: string;
  target: string;
  interval_seconds: number;
  labels: Record<string, string> | null;
  source: string;
  paused?: boolean;
  state: CheckState;
  since: string | null;
  text?: string;
  stage?: string;
  reason?: string;
  uptime_24h: number | null;
  runs_24h: number;
  failing?: string[] | null;
  silent?: string[] | null;
  need?: number;
  flap_share?: number;
  slow?: { location: string; phase: string; now_seconds: number; usual_seconds: number; since: string }[] | null;
  depends_on?: string[] | null;
  parents?: string[] | null;
  children?: string[] | null;
  window?: string;
  severity?: string;
  runbook?: string;
  certificate_not_after?: string | null;
  location: string;
  consecutive: number;
  last: Run | null;
  recent: Brief[] | null;
  places?: Place[] | null;
}

/** A place that runs checks. */
export interface Location {
  name: string;
  state: 'up' | 'silent' | 'never' | 'revoked';
  labels: Record<string, string> | null;
  private: boolean;
  last_seen: string | null;
  since: string | null;
  version: string;
  spooled: number;
  clock_skew_seconds: number;
  checks: number;
  address: string;
}

/** A change of a check's state. */
export interface Change {
  check: string;
  at: string;
  from: CheckState;
  to: CheckState;
  stage?: string;
  reason?: string;
  locations?: string[] | null;
  text: string;
}

/** A check as it was written: the same keys as in YAML. */
export type CheckObject = Record<string, unknown>;

export interface CheckDetails {
  check: Check;
  object: CheckObject;
  yaml: string;
  history: Change[] | null;
}

export interface Window {
  id: string;
  name: string;
  source: string;
  checks: string[] | null;
  labels: Record<string, string> | null;
  locations: string[] | null;
  start: string | null;
  end: string | null;
  cron: string;
  duration_seconds: number;
  zone: string;
  exclude_from_slo: boolean;
  active: boolean;
  next_start: string | null;
  next_end: string | null;
}

export interface Marker {
  id: string;
  at: string;
  text: string;
  kind: string;
  labels: Record<string, string> | null;
  source: string;
}

export interface ReportRow {
  id: string;
  name: string;
  labels: Record<string, string> | null;
  uptime: number | null;
  runs: number;
  failed: number;
  down_seconds: number;
  unknown_seconds: number;
  maintenance_seconds: number;
  incidents: number;
  mtta_seconds: number | null;
  mttr_seconds: number | null;
  p50_seconds: number | null;
  p95_seconds: number | null;
  days: { day: string; uptime: number | null; runs: number; failed: number; down_seconds: number }[] | null;
}

export interface Report {
  month: string;
  from: string;
  to: string;
  partial: boolean;
  checks: ReportRow[] | null;
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

/** A database or queue that is asked for its metrics. */
export interface Pull {
  name: string;
  kind: string;
  instance: string;
  up: boolean;
  error: string;
  since: string | null;
  last: string | null;
  seconds: number;
  samples: number;
  dropped: Record<string, number> | null;
  faults: Record<string, string> | null;
}

export interface Cardinality {
  at: string;
  series: number;
  matched: number;
  names: number;
  partial: boolean;
  max_series: number;
  max_series_per_metric: number;
  samples_per_second: number | null;
  bytes_per_sample: number | null;
  bytes_per_day: number | null;
  created_per_hour: number | null;
  removed_per_hour: number | null;
  metrics: { name: string; series: number; ago_1h: number | null; ago_24h: number | null; ago_7d: number | null }[];
  labels: { name: string; values: number; series: number }[];
  pairs: { name: string; value: string; series: number }[];
  focus: { name: string; values: number; series: number; top: { name: string; value: string; series: number }[] } | null;
  hints: { label: string; values: number; series: number; kind: string; example: string; metrics: string[]; text: string; rule: string }[];
  disk: { free: number; total: number; full_in_days: number | null; held_by: string };
  senders: { protocol: string; sender: string; samples: number; new_series: number; rejected: number; samples_per_second: number; new_series_per_minute: number; first: string; last: string; over: number }[];
  refusals: { limit: string; metric: string; count: number; last: string; text: string }[];
}

export interface Itself {
  process: { version: string; revision: string; build_time: string; go: string; started_at: string; uptime_seconds: number; rss: number; heap: number; cpu_seconds: number; cpu_percent: number; goroutines: number; pid: number };
  config: { path: string; loaded_at: string; ok: boolean; error: string; not_served: { section: string; reason: string }[] | null };
  storage: { series: number; chunks: number; wal_bytes: number; blocks_bytes: number; blocks: number; oldest: string | null; newest: string | null; retention: string | number; size_limit: number; disk_free: number; disk_total: number; full_in_days: number | null; held_by?: string; out_of_order_window: string | number };
  ingestion: { protocol: string; requests: number; samples: number; samples_per_second: number | null; rejected: { reason: string; count: number }[] | null }[] | null;
  limits: { name: string; what: string; value: number | string; hits: number }[] | null;
  rules: { groups: number; rules: number; failing: number; last_evaluation_seconds: number; slowest: { group: string; file: string; seconds: number }[] | null };
  outbox: { pending: number; failed: number; oldest_pending_seconds: number };
  listeners: { name: string; address: string; state: string }[] | null;
  pulls: Pull[] | null;
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
