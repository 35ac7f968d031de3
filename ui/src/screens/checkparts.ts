import { send } from '../base/api.ts';
import { age, plural, seconds } from '../base/format.ts';
import { when, whenMinute, zoneName } from '../base/time.ts';
import { phases, type Change, type Check, type CheckState, type Location, type Place, type Run } from '../base/types.ts';

/** Worst first. An up check that is slow somewhere stands before those that are well. */
const rank: Record<CheckState, number> = { down: 0, flapping: 2, degraded: 3, unknown: 4, unreachable: 5, maintenance: 6, up: 8, paused: 9 };

export function rankOf(c: Check): number {
  if (c.state === 'down' && c.severity && c.severity !== 'page') return 1;
  if (c.state === 'up' && c.slow?.length) return 7;
  return rank[c.state] ?? 4;
}

/** The sign a state carries: shape and colour. */
export function signOfState(state: CheckState | Place['state'], severity = 'page'): string {
  switch (state) {
    case 'down':
      return severity === 'page' ? 'page' : 'warning';
    case 'degraded':
      return 'warning';
    case 'flapping':
      return 'flapping';
    case 'failing':
      return 'pending';
    case 'unknown':
    case 'silent':
      return 'unknown';
    case 'unreachable':
      return 'silenced';
    case 'maintenance':
      return 'maintenance';
    case 'paused':
      return 'paused';
    default:
      return 'up';
  }
}

/** The sign of a place, calm while the check as a whole is nobody's business. */
export function signOfPlace(c: Check, state: Place['state']): string {
  if (c.state === 'paused') return 'paused';
  return (c.state === 'maintenance' || c.state === 'unreachable') && state === 'down' ? 'silenced' : signOfState(state, c.severity ?? 'page');
}

/** The colour of a row or a sentence: only breaches have one. */
export function toneOf(c: { state: CheckState; severity?: string }): 'page' | 'warning' | 'unknown' | '' {
  if (c.state === 'down') return (c.severity ?? 'page') === 'page' ? 'page' : 'warning';
  if (c.state === 'degraded' || c.state === 'flapping') return 'warning';
  return c.state === 'unknown' ? 'unknown' : '';
}

export const isBreach = (c: Check) => rankOf(c) <= 4;

/** The order of the matrix. */
export function compareChecks(a: Check, b: Check): number {
  return rankOf(a) - rankOf(b) || a.name.localeCompare(b.name, 'en', { numeric: true }) || a.id.localeCompare(b.id);
}

export interface Wish {
  find: string;
  state: string;
  kind: string;
  label: string; // "team=shop", or "team" for any value
}

/** Whether a check is wished for: every word of find stands somewhere in it. */
export function wanted(c: Check, w: Wish): boolean {
  if (w.state && (w.state === 'breach' ? !isBreach(c) : w.state === 'slow' ? !c.slow?.length : c.state !== w.state)) return false;
  if (w.kind && c.kind !== w.kind) return false;
  if (w.label) {
    const cut = w.label.indexOf('=');
    const have = c.labels?.[cut < 0 ? w.label : w.label.slice(0, cut)];
    if (have === undefined || (cut >= 0 && have !== w.label.slice(cut + 1))) return false;
  }
  if (!w.find) return true;
  const text = `${c.name} ${c.id} ${c.kind} ${c.target} ${c.state} ${c.stage ?? ''} ${Object.entries(c.labels ?? {}).map(([k, v]) => `${k}=${v}`).join(' ')}`.toLowerCase();
  return w.find.toLowerCase().split(/\s+/).every((x) => text.includes(x));
}

export interface Group {
  name: string;
  checks: Check[];
  breaches: number;
}

/** Sorted checks, in groups by kind, state or a label when asked; groups with breaches first. */
export function groupChecks(all: Check[], by: string): Group[] {
  const sorted = [...all].sort(compareChecks);
  if (!by) return [{ name: '', checks: sorted, breaches: sorted.filter(isBreach).length }];
  const groups = new Map<string, Group>();
  for (const c of sorted) {
    const name = by === 'kind' ? c.kind : by === 'state' ? c.state : (c.labels?.[by] ?? '');
    let g = groups.get(name);
    if (!g) groups.set(name, (g = { name, checks: [], breaches: 0 }));
    g.checks.push(c);
    if (isBreach(c)) g.breaches++;
  }
  return [...groups.values()].sort((a, b) => Math.min(5, rankOf(a.checks[0]!)) - Math.min(5, rankOf(b.checks[0]!)) || Number(!a.name) - Number(!b.name) || a.name.localeCompare(b.name, 'en', { numeric: true }));
}

/** The places of a check; a server that knows one place only tells it in the old fields. */
export function placesOf(c: Check): Place[] {
  if (c.places) return c.places;
  return [{ location: c.location, state: c.state === 'down' ? 'down' : c.state === 'unknown' ? 'unknown' : 'up', since: c.since, consecutive: c.consecutive, uptime_24h: c.uptime_24h, runs_24h: c.runs_24h, last: c.last, recent: c.recent }];
}

/** Columns of the matrix: the known places in their order, then those only checks name. */
export function columnsOf(checks: Check[], locations: Location[]): string[] {
  const used = new Set<string>();
  for (const c of checks) for (const p of placesOf(c)) used.add(p.location);
  const known = locations.map((l) => l.name).filter((n) => used.has(n));
  return [...known, ...[...used].filter((n) => !known.includes(n)).sort()];
}

/** Label names of the checks, the most used first. */
export function labelNames(checks: Check[]): string[] {
  const n = new Map<string, number>();
  for (const c of checks) for (const k of Object.keys(c.labels ?? {})) n.set(k, (n.get(k) ?? 0) + 1);
  return [...n].sort((a, b) => b[1] - a[1] || a[0].localeCompare(b[0])).map(([k]) => k);
}

/** Seconds of each phase in all hops. */
export function runSeconds(run: Run): number {
  return Math.max(run.duration_seconds, (run.hops ?? []).reduce((s, h) => s + phases.reduce((a, p) => a + (h.phases?.[p]?.seconds ?? 0), 0), 0));
}

/** Days until the certificate ends; null without one. */
export function certDays(c: Check, now = Date.now()): number | null {
  let t = Date.parse(c.certificate_not_after ?? '');
  if (!(t > 0)) {
    for (const h of [...(c.last?.hops ?? [])].reverse()) {
      if (h.tls?.not_after) {
        t = Date.parse(h.tls.not_after);
        break;
      }
    }
  }
  return t > 0 ? (t - now) / 86_400_000 : null;
}

export function sinceWords(t: string | null | undefined): string {
  const ms = Date.parse(t ?? '');
  return ms > 0 ? `since ${when(ms)} ${zoneName(ms)}` : '';
}

const stateNames: Record<CheckState, string> = { up: 'up', degraded: 'degraded', down: 'down', flapping: 'flapping', unknown: 'not known', unreachable: 'explained by another check', maintenance: 'in maintenance', paused: 'paused' };

/** The first sentence of a check: the server's own, or one made from what is known. */
export function checkSentence(c: Check, now = Date.now()): string {
  if (c.text && c.state !== 'up') return dot(c.text);
  const t = Date.parse(c.since ?? '');
  const long = t > 0 ? ` for ${age((now - t) / 1000)}` : '';
  if (c.state === 'up' && c.slow?.length) return dot(c.text || `${c.name} is up${long}, and slower than usual`);
  const why = c.last?.message && c.state === 'down' ? `: ${c.last.message}` : '';
  return dot(`${c.name} is ${stateNames[c.state] ?? c.state}${long}${why}`);
}

export const dot = (s: string) => (/[.!?]$/.test(s) ? s : s + '.');

/** "2 of 3 places see it down; 2 are needed." */
export function quorumWords(c: Check): string {
  const n = placesOf(c).length;
  const failing = c.failing ?? placesOf(c).filter((p) => p.state === 'down').map((p) => p.location);
  const silent = c.silent ?? [];
  const see = n === 1 ? (failing.length ? 'its only place sees it down' : `one place: ${placesOf(c)[0]!.location}`) : failing.length ? `${failing.length} of ${n} places ${failing.length === 1 ? 'sees' : 'see'} it down` : `none of ${n} places sees it down`;
  return [see, c.need && n > 1 ? `${c.need} must agree` : '', silent.length ? `${silent.join(', ')} ${silent.length === 1 ? 'is' : 'are'} silent` : ''].filter(Boolean).join('; ');
}

/** The sentence above the matrix. */
export function matrixSentence(all: Check[], locations: Location[]): { text: string; state: string } {
  const of = (s: CheckState) => all.filter((c) => c.state === s);
  const down = of('down').sort(compareChecks);
  const part = [...of('degraded'), ...of('flapping')];
  const unknown = of('unknown');
  const silent = locations.filter((l) => l.state === 'silent');
  const slow = all.filter((c) => c.state === 'up' && c.slow?.length);
  const say: string[] = [];
  const short = (n: string) => (n.length > 44 ? n.slice(0, 42).trimEnd() + '…' : n);
  if (down.length) {
    say.push(
      `${down.length.toLocaleString('en-GB')} of ${plural(all.length, 'check')} ${down.length === 1 ? 'is' : 'are'} down: ${down
        .slice(0, 3)
        .map((c) => {
          const t = Date.parse(c.since ?? '');
          return t > 0 ? `${short(c.name)} since ${whenMinute(t)}` : short(c.name);
        })
        .join(', ')}${down.length > 3 ? ` and ${down.length - 3} more` : ''}`,
    );
  }
  const rest = [part.length ? `${part.length} ${part.length === 1 ? 'fails' : 'fail'} in part or by turns` : '', slow.length ? `${slow.length} ${slow.length === 1 ? 'is' : 'are'} slower than usual` : '', unknown.length ? `${unknown.length} ${unknown.length === 1 ? 'is' : 'are'} not known` : ''].filter(Boolean);
  if (rest.length) {
    const all1 = [...part, ...slow, ...unknown];
    // One alone is named; the head counts where nothing is down.
    say.push(all1.length === 1 && !down.length ? rest[0]!.replace(/^1/, short(all1[0]!.name)) : (down.length ? '' : `Of ${plural(all.length, 'check')} `) + rest.join(', '));
  }
  if (silent.length) say.push(`${silent.map((l) => l.name).join(', ')} ${silent.length === 1 ? 'is' : 'are'} silent`);
  const state = down.some((c) => toneOf(c) === 'page') ? 'page' : down.length || part.length ? 'warning' : unknown.length || silent.length ? 'unknown' : 'ok';
  if (say.length) return { text: dot(say.join('; ')), state };
  const idle = of('paused').length + of('maintenance').length + of('unreachable').length;
  const up = of('up').length;
  const tail = idle ? `; ${plural(idle, 'check')} ${idle === 1 ? 'is' : 'are'} paused, in maintenance or explained by another` : '';
  if (all.length === 1 && up === 1) return { text: 'The one check is up.', state };
  return { text: up === all.length ? `All ${all.length.toLocaleString('en-GB')} checks are up.` : `${plural(up, 'check')} up${tail}.`, state };
}

/** Runs a check from one of its places. */
export async function runFrom(id: string, location: string): Promise<Run> {
  const r = (await send('POST', `/api/v1/checks/${encodeURIComponent(id)}/run?locations=${encodeURIComponent(location)}`)) as { results?: Run[] | null } & Partial<Run>;
  if (r.results) {
    if (!r.results.length) throw new Error(`${location} ran nothing; is it connected?`);
    return r.results[0]!;
  }
  return r as Run; // a server of one place answers the run itself
}

/** "ok in 84 ms", "failed at tls after 10 s: ..." */
export function runWords(r: Run): string {
  if (r.success) return `ok in ${seconds(r.duration_seconds)}`;
  return `failed at ${r.stage || 'an unknown stage'} after ${seconds(r.duration_seconds)}${r.message ? `: ${r.message}` : ''}`;
}

export const runKey = (r: Run) => `${r.start} ${r.location}`;

/** Nanoseconds since 1970 of an RFC 3339 time, exact; "" when it is none. */
export function unixNanos(t: string): string {
  const m = /^(.*\d\d:\d\d:\d\d)(?:\.(\d{1,9})\d*)?(Z|[+-]\d\d:\d\d)$/.exec(t);
  if (!m) return '';
  const ms = Date.parse(m[1]! + m[3]!);
  if (Number.isNaN(ms)) return '';
  return String(BigInt(ms) * 1_000_000n + BigInt((m[2] ?? '').padEnd(9, '0')));
}

export interface Segment {
  state: CheckState;
  from: number; // unix milliseconds
  to: number;
}

/** The states over a span, from the changes (newest first) and the present state. */
export function segments(changes: Change[], now: CheckState, from: number, to: number): Segment[] {
  const out: Segment[] = [];
  let end = to;
  let state = now;
  for (const c of changes) {
    const at = Date.parse(c.at);
    if (at < end) {
      const start = Math.max(at, from);
      if (start < end) out.unshift({ state, from: start, to: end });
      end = start;
    }
    state = c.from;
    if (at <= from) return out;
  }
  if (end > from) out.unshift({ state, from, to: end });
  return out;
}

/** A PromQL selector for a check. */
export const selector = (name: string, more = '') => `{check=${JSON.stringify(name)}${more}}`;

/** The series of the phases of a kind. */
export const phaseMetric = (kind: string) => (kind === 'http' ? 'probe_http_duration_seconds' : 'probe_phase_duration_seconds');
