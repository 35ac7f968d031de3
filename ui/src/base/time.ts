import { route } from './router.ts';
import { Signal } from './signal.ts';

/** The shown span. A relative one ends now and moves. */
export interface Range {
  from: number; // unix seconds
  to: number;
  relative: string; // "1h", or "" for a fixed span
}

export const presets = ['5m', '15m', '1h', '3h', '6h', '12h', '1d', '2d', '7d', '14d', '30d'];

const unitSeconds: Record<string, number> = { ms: 0.001, s: 1, m: 60, h: 3600, d: 86400, w: 604800, y: 31536000 };

/** Seconds of a Prometheus duration such as 90s, 1h30m, 2d; NaN when it is none. */
export function parseDuration(s: string): number {
  const t = s.trim();
  if (!/^(\d+(\.\d+)?(ms|[smhdwy]))+$/.test(t)) return NaN;
  let sum = 0;
  for (const m of t.matchAll(/(\d+(?:\.\d+)?)(ms|[smhdwy])/g)) sum += Number(m[1]) * unitSeconds[m[2]!]!;
  return sum;
}

export function parseRange(q: URLSearchParams, now: number): Range {
  const from = Number(q.get('from'));
  const to = Number(q.get('to'));
  if (q.get('from') && q.get('to') && from < to) return { from, to, relative: '' };
  const rel = q.get('range') ?? '1h';
  const s = parseDuration(rel);
  const ok = s > 0 && s < 20 * 31536000;
  return { from: now - (ok ? s : 3600), to: now, relative: ok ? rel : '1h' };
}

/** A step that gives about 300 points, rounded to a number that people know. */
export function autoStep(r: Range, points = 300): number {
  const raw = (r.to - r.from) / points;
  for (const s of [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400]) {
    if (raw <= s) return s;
  }
  return 604800;
}

export function rangeWords(rel: string): string {
  const m = /^(\d+)([mhd])$/.exec(rel);
  if (!m) return `last ${rel}`;
  const n = Number(m[1]);
  const u = { m: 'minute', h: 'hour', d: 'day' }[m[2]!]!;
  return n === 1 ? `last ${u}` : `last ${n} ${u}s`;
}

export const localZone = Intl.DateTimeFormat().resolvedOptions().timeZone || 'UTC';

/** The zone in which times are shown: the browser's, or UTC by ?tz=utc. */
export function zone(): string {
  return route.value.params.get('tz') === 'utc' ? 'UTC' : localZone;
}

const formats = new Map<string, Intl.DateTimeFormat>();

function fmt(kind: string, opts: Intl.DateTimeFormatOptions): Intl.DateTimeFormat {
  const key = kind + zone();
  let f = formats.get(key);
  if (!f) formats.set(key, (f = new Intl.DateTimeFormat('en-GB', { ...opts, timeZone: zone(), hourCycle: 'h23' })));
  return f;
}

/** Short name of the zone at that time: CET, CEST, UTC. */
export function zoneName(at = Date.now()): string {
  if (zone() === 'UTC' || zone() === 'Etc/UTC') return 'UTC';
  return fmt('z', { timeZoneName: 'short' }).formatToParts(at).find((p) => p.type === 'timeZoneName')?.value ?? zone();
}

export function hms(ms: number): string {
  return fmt('hms', { hour: '2-digit', minute: '2-digit', second: '2-digit' }).format(ms);
}

export function hm(ms: number): string {
  return fmt('hm', { hour: '2-digit', minute: '2-digit' }).format(ms);
}

/** 2026-08-06 18:04:10 */
export function stamp(ms: number, withSeconds = true): string {
  const p = Object.fromEntries(
    fmt('stamp', { year: 'numeric', month: '2-digit', day: '2-digit', hour: '2-digit', minute: '2-digit', second: '2-digit' })
      .formatToParts(ms)
      .map((x) => [x.type, x.value]),
  );
  return `${p.year}-${p.month}-${p.day} ${p.hour}:${p.minute}${withSeconds ? ':' + p.second : ''}`;
}

/** The time alone for today, else with the day before it. */
export function when(ms: number, now = Date.now()): string {
  const s = stamp(ms);
  return s.slice(0, 10) === stamp(now).slice(0, 10) ? s.slice(11) : s.slice(5);
}

/** As when, without the seconds: 18:04, 01-31 18:04. */
export function whenMinute(ms: number, now = Date.now()): string {
  return when(ms, now).slice(0, -3);
}

/** Seconds of a time such as 2026-01-31 18:04, read in the shown zone; NaN when unreadable. */
export function fromField(s: string): number {
  const m = /^\s*(\d{4})-(\d\d?)-(\d\d?)[T ]+(\d\d?):(\d\d)(?::(\d\d))?\s*$/.exec(s);
  if (!m) return NaN;
  const [y, mo, d, h, mi, se] = m.slice(1).map((x) => Number(x ?? 0)) as [number, number, number, number, number, number];
  const ms = zone() === 'UTC' ? Date.UTC(y, mo - 1, d, h, mi, se) : new Date(y, mo - 1, d, h, mi, se).getTime();
  return ms / 1000;
}

export function toField(sec: number): string {
  return stamp(sec * 1000);
}

/** Ticks every five seconds while the page is visible; ages are read from it. */
export const clock = new Signal(Date.now());

if (typeof document !== 'undefined') {
  setInterval(() => {
    if (!document.hidden) clock.value = Date.now();
  }, 5000);
  document.addEventListener('visibilitychange', () => {
    if (!document.hidden) clock.value = Date.now();
  });
}

export function currentRange(): Range {
  return parseRange(route.value.params, Math.floor(Date.now() / 1000));
}
