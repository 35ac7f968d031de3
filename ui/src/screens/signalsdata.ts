import { byteRate, bytes, count, percent, plural, seconds, seriesName, sig3 } from '../base/format.ts';

/** What reports, with its main figures, as /api/v1/signals tells it. */
export interface Entity {
  kind: Kind;
  name: string;
  labels: Record<string, string>;
  sources: string[];
  state: 'ok' | 'warning' | 'page';
  text: string;
  rate: number | null;
  error_ratio: number | null;
  p99: number | null;
  saturation: number | null;
  saturation_of: string;
  depth: number | null;
  up: number | null;
  spark?: (number | null)[] | null;
}

export interface Panel {
  title: string;
  unit: string;
  signal: 'latency' | 'traffic' | 'errors' | 'saturation' | 'detail';
  kind: 'lines' | 'heatmap';
  promql: { legend: string; expr: string }[];
  empty?: string;
}

export interface EntityPage extends Entity {
  window_seconds: number;
  panels: Panel[] | null;
}

export const kinds = ['service', 'endpoint', 'host', 'queue', 'database'] as const;
export type Kind = (typeof kinds)[number];

export const kindNames: Record<Kind, [string, string]> = {
  service: ['service', 'Services'],
  endpoint: ['endpoint', 'Proxies'],
  host: ['host', 'Hosts'],
  queue: ['queue', 'Queues'],
  database: ['database', 'Databases'],
};

/** The identity as it stands in the address: label=value. */
export function idOf(labels: Record<string, string>): string[] {
  return Object.keys(labels).sort().map((k) => `${k}=${labels[k]}`);
}

export function labelsOf(id: string[]): Record<string, string> {
  const out: Record<string, string> = {};
  for (const x of id) {
    const cut = x.indexOf('=');
    if (cut > 0) out[x.slice(0, cut)] = x.slice(cut + 1);
  }
  return out;
}

/** A value with its unit, for a tip, and without it for an axis that has the unit already. */
export function valueIn(unit: string): (n: number | null | undefined) => string {
  switch (unit) {
    case 's':
      return seconds;
    case 'ms':
      return (n) => seconds(n === null || n === undefined ? n : n / 1000);
    case 'bytes':
      return bytes;
    case 'bytes/s':
      return byteRate;
    case 'ratio':
      return percent;
    case '':
      return count;
    default:
      return (n) => (n === null || n === undefined || Number.isNaN(n) ? '–' : `${count(n)} ${unit}`.replace(' /s', '/s'));
  }
}

/** The first line of the list. */
export function listSentence(all: Entity[]): { state: string; text: string } {
  const bad = all.filter((e) => e.state !== 'ok').sort((a, b) => Number(a.state === 'warning') - Number(b.state === 'warning'));
  const counts = kinds
    .map((k) => [k, all.filter((e) => e.kind === k).length] as const)
    .filter(([, n]) => n > 0)
    .map(([k, n]) => plural(n, kindNames[k][0]));
  const what = counts.length > 1 ? `${counts.slice(0, -1).join(', ')} and ${counts.at(-1)}` : (counts[0] ?? '');
  if (!all.length) return { state: 'ok', text: 'Nothing reports its signals yet.' };
  if (!bad.length) return { state: 'ok', text: `${what} ${all.length === 1 ? 'reports' : 'report'}; none breaches.` };
  const first = bad[0]!;
  return { state: first.state, text: `${bad.length} of ${all.length} ${all.length === 1 ? 'breaches' : bad.length === 1 ? 'breaches' : 'breach'}: ${first.name}, ${first.text}.` };
}

/** The first line of one page: what is wrong, then the figures that it does not tell already. */
export function entitySentence(e: Entity): string {
  const parts = e.state === 'ok' ? [] : [e.text];
  const told = (word: string) => e.state !== 'ok' && e.text.includes(word);
  if (e.rate !== null && !told('none is taken')) parts.push(`${sig3(e.rate)} ${e.kind === 'queue' ? 'messages' : e.kind === 'database' ? 'operations' : 'requests'} a second`);
  if (e.error_ratio !== null && !told('fail')) parts.push(e.error_ratio === 0 ? 'none fails' : `${percent(e.error_ratio)} fail`);
  if (e.p99 !== null) parts.push(`99 % within ${seconds(e.p99)}`);
  if (e.depth !== null && !told('wait')) parts.push(`${count(e.depth)} ${e.depth === 1 ? 'waits' : 'wait'}`);
  // Few services say what their true limit is; a small figure of a lesser one would mislead.
  if (e.saturation !== null && !told('of the limit') && (e.kind !== 'service' || e.saturation >= 0.5)) parts.push(`${e.saturation_of} ${percent(e.saturation)} of the limit`);
  return `${e.name}: ${parts.join(', ') || 'it reports'}.`;
}

/** {{label}} in a legend filled in; series that a legend does not tell apart keep their labels. */
export function legendOf(template: string, metric: Record<string, string>): string {
  if (!template.includes('{{')) return template;
  return template.replace(/\{\{([\w.]+)\}\}/g, (_, l: string) => metric[l] || 'none').trim() || seriesName(metric);
}
