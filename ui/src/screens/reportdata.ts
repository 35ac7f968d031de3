import { age, plural, uptime } from '../base/format.ts';
import type { ReportRow } from '../base/types.ts';

const names = ['January', 'February', 'March', 'April', 'May', 'June', 'July', 'August', 'September', 'October', 'November', 'December'];

export function monthName(month: string): string {
  return `${names[Number(month.slice(5)) - 1] ?? month} ${month.slice(0, 4)}`;
}

/** The month by so many later: stepMonth('2026-01', -1) is 2025-12. */
export function stepMonth(month: string, by: number): string {
  const d = new Date(Date.UTC(Number(month.slice(0, 4)), Number(month.slice(5)) - 1 + by, 1));
  return d.toISOString().slice(0, 7);
}

/** "November 2026 so far: 99.87 % over 23 checks; the worst is checkout page with 97.1 %, down for 3 h in 4 incidents." */
export function reportSentence(month: string, partial: boolean, rows: ReportRow[]): string {
  const known = rows.filter((c) => c.uptime !== null);
  const head = `${monthName(month)}${partial ? ' so far' : ''}`;
  if (!known.length) return `${head}: nothing is known of ${rows.length === 1 ? rows[0]!.name : 'any check'}.`;
  const mean = known.reduce((a, c) => a + c.uptime!, 0) / known.length;
  const worst = [...known].sort((a, b) => a.uptime! - b.uptime!)[0]!;
  const tail = worst.uptime! >= 1 ? 'none was ever down' : `${known.length === 1 ? '' : `the worst is ${worst.name} with ${uptime(worst.uptime)} %, `}down for ${age(worst.down_seconds)} in ${plural(worst.incidents, 'incident')}`;
  return `${head}: ${known.length === 1 ? `${known[0]!.name} was up ${uptime(mean)} %` : `${uptime(mean)} % over ${plural(known.length, 'check')}`}; ${tail}.`;
}

export function dayWords(d: { day: string; uptime: number | null; runs: number; failed: number; down_seconds: number }): string {
  if (d.uptime === null) return `${d.day}: not known`;
  return `${d.day}: ${uptime(d.uptime)} %${d.down_seconds ? `, down for ${age(d.down_seconds)}` : ''}, ${d.failed ? `${d.failed.toLocaleString('en-GB')} of ` : ''}${plural(d.runs, 'run')}${d.failed ? ' failed' : ''}`;
}
