import { age } from '../base/format.ts';
import { stamp, whenMinute, zoneName } from '../base/time.ts';
import type { Window } from '../base/types.ts';

const days = ['Sunday', 'Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday', 'Sunday'];

/** A schedule in words where it is a usual one, else as it stands: "0 3 * * 0" is every Sunday at 03:00. */
export function cronWords(cron: string): string {
  const f = cron.trim().split(/\s+/);
  const m = /^(\d+)$/.exec(f[0] ?? '');
  const h = /^(\d+)$/.exec(f[1] ?? '');
  if (f.length !== 5 || f[3] !== '*') return cron;
  if (m && f[1] === '*' && f[2] === '*' && f[4] === '*') return `every hour at minute ${Number(m[1])}`;
  if (!m || !h) return cron;
  const at = `at ${h[1]!.padStart(2, '0')}:${m[1]!.padStart(2, '0')}`;
  if (f[2] === '*' && f[4] === '*') return `every day ${at}`;
  if (f[2] === '*') {
    if (f[4] === '1-5') return `every working day ${at}`;
    const list = f[4]!.split(',').map((d) => days[Number(d)]);
    if (/^[0-7](,[0-7])*$/.test(f[4]!) && list.every(Boolean)) return `every ${list.join(' and ')} ${at}`;
    return cron;
  }
  const d = /^(\d+)$/.exec(f[2]!);
  return d && f[4] === '*' ? `every month on day ${Number(d[1])} ${at}` : cron;
}

export type WindowState = 'active' | 'next' | 'over';

export function stateOf(w: Window): WindowState {
  return w.active ? 'active' : w.next_start ? 'next' : 'over';
}

const rank: Record<WindowState, number> = { active: 0, next: 1, over: 2 };

/** Active ones, then what comes soonest, then the latest past ones. */
export function compareWindows(a: Window, b: Window): number {
  const t = (w: Window) => Date.parse((stateOf(w) === 'over' ? w.end : w.next_start) ?? '') || 0;
  return rank[stateOf(a)] - rank[stateOf(b)] || (stateOf(a) === 'over' ? t(b) - t(a) : t(a) - t(b)) || a.name.localeCompare(b.name);
}

/** When it holds, in words. */
export function whenWords(w: Window): string {
  if (w.cron) return `${cronWords(w.cron)} for ${age(w.duration_seconds)}, ${w.zone || 'UTC'}`;
  const a = Date.parse(w.start ?? '');
  const b = Date.parse(w.end ?? '');
  if (!(a > 0) || !(b > 0)) return 'never';
  const same = stamp(a).slice(0, 10) === stamp(b).slice(0, 10);
  return `${whenMinute(a)} to ${same ? stamp(b, false).slice(11) : whenMinute(b)} ${zoneName(a)}`;
}

/** What it covers, in words. */
export function whatWords(w: Window): string {
  const labels = Object.entries(w.labels ?? {}).map(([k, v]) => `${k}=${v}`);
  const what = [...(w.checks ?? []), ...(labels.length ? [`all with ${labels.join(', ')}`] : [])];
  const from = w.locations?.length ? ` from ${w.locations.join(', ')}` : '';
  return (what.length ? what.join(', ') : 'all checks') + from;
}
