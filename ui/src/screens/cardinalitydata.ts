import { bytes, count, inDays, percent, plural, sig3 } from '../base/format.ts';
import type { Cardinality, State } from '../base/types.ts';

/** A selector of one metric or label value; names may hold any character. */
export function selector(of: Record<string, string>): string {
  return `{${Object.entries(of)
    .map(([k, v]) => `${/^[a-zA-Z_][a-zA-Z0-9_]*$/.test(k) ? k : JSON.stringify(k)}=${JSON.stringify(v)}`)
    .join(',')}}`;
}

/** Joins the metric in focus and the filter that a person wrote to one selector; the filter may be a bare metric name. */
export function narrowed(filter: string, metric: string): string {
  const f = filter.trim();
  if (!metric) return f;
  const own = selector({ __name__: metric });
  const inner = /\{(.*)\}\s*$/s.exec(f)?.[1]?.trim().replace(/,$/, '');
  return inner ? `${own.slice(0, -1)},${inner}}` : own;
}

/** The address of the answer for what the page's address says. */
export function cardinalityPath(filter: string, metric: string, label: string): string {
  const q = new URLSearchParams({ topN: label ? '100' : '25' });
  const m = narrowed(filter, metric);
  if (m) q.set('match[]', m);
  if (label) q.set('focus', label);
  return `/api/v1/cardinality?${q}`;
}

/** How full the limit is, 0 to 1; null without a limit. */
export function fullness(d: Cardinality): number | null {
  return d.max_series > 0 ? d.series / d.max_series : null;
}

/** What is wrong, worst first; empty when nothing is. */
export function worries(d: Cardinality): { state: State; text: string }[] {
  const out: { state: State; text: string }[] = [];
  const full = fullness(d);
  if (full !== null && full >= 1) out.push({ state: 'page', text: `new series are refused: ${d.series.toLocaleString('en-GB')} are in memory, the limit is ${d.max_series.toLocaleString('en-GB')}` });
  else if (full !== null && full > 0.8) out.push({ state: 'warning', text: `${d.series.toLocaleString('en-GB')} of at most ${d.max_series.toLocaleString('en-GB')} series are in memory, ${percent(full)}` });
  const days = d.disk.full_in_days;
  if (days !== null && days < 7) out.push({ state: days < 1 ? 'page' : 'warning', text: `the disk is full in ${inDays(days)}` });
  if (full === null || full < 1) {
    const n = d.refusals.reduce((sum, r) => sum + r.count, 0);
    if (n) out.push({ state: 'warning', text: `${plural(n, 'sample')} over a limit ${n === 1 ? 'was' : 'were'} refused since the start` });
  }
  return out;
}

export function cardinalitySentence(d: Cardinality): { state: State; text: string } {
  const bad = worries(d);
  if (bad[0]) {
    const t = bad.map((b) => b.text).join('; ');
    return { state: bad.some((b) => b.state === 'page') ? 'page' : 'warning', text: t.charAt(0).toUpperCase() + t.slice(1) + '.' };
  }
  const top = d.metrics[0];
  const full = fullness(d);
  const of = full === null ? '' : `, ${percent(full)} of the limit`;
  return { state: 'ok', text: `${plural(d.series, 'series', 'series')} in memory${of}; ${top ? `${top.name} has most, ${count(top.series)}` : 'no metric has come yet'}.` };
}

/** When the disk is full, and what keeps our own part of it from growing. */
export function diskWords(d: Cardinality['disk']): string {
  if (d.full_in_days === null) return d.held_by ? `no: ${d.held_by} holds` : 'no sign of it';
  return `in ${inDays(d.full_in_days)}${d.held_by ? ', by what else is on it' : ''}`;
}

/** Series now against before: "+1,200 (+40 %)"; new when there were none. */
export function growth(now: number, before: number | null): { text: string; by: number | null } {
  if (before === null) return { text: '–', by: null };
  const by = now - before;
  if (by === 0) return { text: '0', by };
  const sign = by > 0 ? '+' : '−';
  const rel = before > 0 ? ` (${sign}${percent(Math.abs(by) / before)})` : '';
  return { text: `${sign}${count(Math.abs(by))}${rel}`, by };
}

/** "Label request_id has 48,211 values that look like UUIDs". */
export function hintTitle(h: Cardinality['hints'][number]): string {
  const t = h.text.replace(` ${h.values} `, ` ${h.values.toLocaleString('en-GB')} `);
  return t.charAt(0).toUpperCase() + t.slice(1);
}

/** The relabel rule as it is pasted: a whole section of a scrape job or of remote_write. */
export function pasted(rule: string): string {
  return 'metric_relabel_configs:   # of a scrape job; write_relabel_configs of a sender\n' + rule.trimEnd().split('\n').map((l) => '  ' + l).join('\n') + '\n';
}

export function headline(d: Cardinality): [string, string, string?][] {
  const left = d.created_per_hour === null ? 'known after an hour' : `${count(d.created_per_hour)} made, ${count(d.removed_per_hour ?? 0)} gone`;
  return [
    ['series in memory', d.max_series > 0 ? `${d.series.toLocaleString('en-GB')} of ${d.max_series.toLocaleString('en-GB')}` : d.series.toLocaleString('en-GB')],
    ['a metric may have', d.max_series_per_metric > 0 ? d.max_series_per_metric.toLocaleString('en-GB') : 'any number'],
    ['churn in an hour', left, 'series that came into memory and left it in the last hour'],
    ['samples', d.samples_per_second === null ? '–' : `${sig3(d.samples_per_second)} /s`],
    ['a sample takes', d.bytes_per_sample === null ? 'known after a block' : `${sig3(d.bytes_per_sample)} B`, 'bytes on disk, from the blocks of the last three days'],
    ['a day takes', d.bytes_per_day === null ? 'known after a block' : bytes(d.bytes_per_day), 'from the blocks of the last three days'],
    ['disk free', d.disk.total ? `${bytes(d.disk.free)} of ${bytes(d.disk.total)}` : bytes(d.disk.free)],
    ['disk full', diskWords(d.disk)],
  ];
}
