import { guessUnit, seriesName, type Unit } from '../base/format.ts';
import type { PromSeries } from '../base/types.ts';

/** One line of the chart and one row of the table under it. */
export interface Row {
  key: string;
  query: number; // which of the queries it answers
  metric: Record<string, string>;
  name: string;
  values: (number | null)[]; // on the shared times; empty for native histograms
  last: number | null;
  min: number | null;
  avg: number | null;
  max: number | null;
  /** Set when the value is a native histogram: its last count and sum. */
  histogram?: { count: number; sum: number; buckets: number };
}

export interface Answer {
  times: number[];
  rows: Row[];
  warnings: string[];
  errors: { query: number; error: unknown }[];
  type: string;
  seconds: number;
  unit: Unit;
  scalarText?: string;
  /** Span and step that were asked for. */
  from: number;
  to: number;
  step: number;
}

export interface Part {
  query: number;
  data: { resultType: string; result: unknown };
}

function num(s: string): number | null {
  if (s === '+Inf') return Infinity;
  if (s === '-Inf') return -Infinity;
  const n = Number(s);
  return Number.isNaN(n) ? null : n;
}

/** Puts range answers of several queries on one time axis; missing steps stay gaps. */
export function joinRange(parts: Part[], from: number, to: number, step: number): { times: number[]; rows: Row[] } {
  const n = Math.floor((to - from) / step + 1e-9) + 1;
  const times = Array.from({ length: n }, (_, i) => from + i * step);
  const rows: Row[] = [];
  for (const p of parts) {
    for (const s of (p.data.result as PromSeries[]) ?? []) {
      const values = new Array<number | null>(s.values?.length ? n : 0).fill(null);
      let min: number | null = null;
      let max: number | null = null;
      let sum = 0;
      let have = 0;
      let last: number | null = null;
      for (const [t, raw] of s.values ?? []) {
        const i = Math.round((t - from) / step);
        const v = num(raw);
        if (i < 0 || i >= n) continue;
        if (v === null || !Number.isFinite(v)) {
          last = v;
          continue;
        }
        values[i] = v;
        last = v;
        have++;
        sum += v;
        if (min === null || v < min) min = v;
        if (max === null || v > max) max = v;
      }
      const h = s.histograms?.at(-1)?.[1];
      rows.push({
        key: `${p.query} ${seriesName(s.metric)}`,
        query: p.query,
        metric: s.metric,
        name: seriesName(s.metric),
        values,
        last,
        min,
        avg: have ? sum / have : null,
        max,
        histogram: h ? { count: Number(h.count), sum: Number(h.sum), buckets: h.buckets?.length ?? 0 } : undefined,
      });
    }
  }
  return { times, rows };
}

/** Rows of instant answers: vectors, scalars and strings. */
export function joinInstant(parts: Part[]): { rows: Row[]; text?: string } {
  const rows: Row[] = [];
  let text: string | undefined;
  for (const p of parts) {
    const { resultType, result } = p.data;
    if (resultType === 'string') {
      text = String((result as [number, string])[1]);
      continue;
    }
    if (resultType === 'matrix') {
      for (const s of (result as PromSeries[]) ?? []) {
        const v = s.values?.at(-1);
        rows.push(instantRow(p.query, { metric: s.metric, value: v, histogram: s.histograms?.at(-1) }));
      }
      continue;
    }
    const list = resultType === 'scalar' ? [{ metric: {}, value: result as [number, string] }] : ((result as PromSeries[]) ?? []);
    for (const s of list) rows.push(instantRow(p.query, s));
  }
  return { rows, text };
}

function instantRow(query: number, s: PromSeries): Row {
  const v = s.value ? num(s.value[1]) : null;
  const h = s.histogram?.[1];
  return {
    key: `${query} ${seriesName(s.metric)}`,
    query,
    metric: s.metric,
    name: seriesName(s.metric),
    values: [],
    last: v,
    min: null,
    avg: null,
    max: null,
    histogram: h ? { count: Number(h.count), sum: Number(h.sum), buckets: h.buckets?.length ?? 0 } : undefined,
  };
}

export function unitOf(queries: string[], wish: string): Unit {
  if (wish === 's' || wish === 'bytes' || wish === 'percent' || wish === 'perbyte' || wish === 'none') return wish;
  const all = new Set(queries.map(guessUnit));
  return all.size === 1 ? [...all][0]! : 'none';
}
