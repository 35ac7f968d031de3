import type { Histogram, PromSeries } from '../base/types.ts';

/** A distribution over time: rates per second in rows of values and columns of times. */
export interface Heat {
  times: number[];
  step: number;
  /** Ends of each row's values, the lowest first; the last hi may be infinite. */
  rows: { lo: number; hi: number }[];
  /** By row, then column; null where nothing was reported. */
  rates: (number | null)[][];
}

const mostRows = 34;

/** A classic histogram: one series for each le, each counting what is below it too. */
export function classicHeat(series: PromSeries[], times: number[], step: number): Heat {
  const by = series
    .map((s) => ({ le: s.metric.le === '+Inf' ? Infinity : Number(s.metric.le), s }))
    .filter((x) => !Number.isNaN(x.le))
    .sort((a, b) => a.le - b.le);
  const below = new Array<number | null>(times.length).fill(null);
  const rates: (number | null)[][] = [];
  for (const { s } of by) {
    const row = new Array<number | null>(times.length).fill(null);
    for (const [t, raw] of s.values ?? []) {
      const i = Math.round((t - times[0]!) / step);
      const v = Number(raw);
      if (i < 0 || i >= times.length || !Number.isFinite(v)) continue;
      // Buckets are scraped together and rated apart: rounding may put one below its neighbour.
      row[i] = Math.max(0, v - (below[i] ?? 0));
      below[i] = Math.max(v, below[i] ?? 0);
    }
    rates.push(row);
  }
  return trimHeat({ times, step, rows: by.map((x, i) => ({ lo: i ? by[i - 1]!.le : 0, hi: x.le })), rates });
}

/** A native histogram: buckets may differ from time to time; they are joined on a common grid of at most 34 filled rows. */
export function nativeHeat(points: [number, Histogram][], times: number[], step: number): Heat {
  const cells: { i: number; lo: number; hi: number; n: number }[] = [];
  const seen = new Set<number>();
  for (const [t, h] of points) {
    const i = Math.round((t - times[0]!) / step);
    if (i < 0 || i >= times.length) continue;
    seen.add(i);
    for (const [, lo, hi, n] of h.buckets ?? []) cells.push({ i, lo: Number(lo), hi: Number(hi), n: Number(n) });
  }
  for (let schema = 3; ; schema--) {
    const rows = new Map<number, { lo: number; hi: number; row: (number | null)[] }>();
    for (const c of cells) {
      // What is too near to zero for a bucket of its own stands below all others.
      const [lo, hi] = c.lo <= 0 ? [0, 0] : Number.isFinite(c.hi) ? gridBucket(c.hi, schema) : [c.lo, c.hi];
      let r = rows.get(hi);
      if (!r) rows.set(hi, (r = { lo, hi, row: times.map((_, i) => (seen.has(i) ? 0 : null)) }));
      r.row[c.i]! += c.n;
    }
    if (rows.size > mostRows && schema > -4) continue;
    const sorted = [...rows.values()].sort((a, b) => a.hi - b.hi);
    if (sorted[0]?.hi === 0) sorted[0].hi = sorted[1]?.lo ?? 1e-9;
    // Between two buckets with counts there may be empty ones that were not sent.
    const full: typeof sorted = [];
    for (const r of sorted) {
      const prev = full.at(-1);
      if (prev && prev.hi < r.lo * (1 - 1e-9)) full.push({ lo: prev.hi, hi: r.lo, row: times.map((_, i) => (seen.has(i) ? 0 : null)) });
      full.push(r);
    }
    return { times, step, rows: full.map(({ lo, hi }) => ({ lo, hi })), rates: full.map((r) => r.row) };
  }
}

/** The bucket of a grid with 2^schema buckets for each power of two that holds values up to hi. */
export function gridBucket(hi: number, schema: number): [number, number] {
  const per = 2 ** schema;
  const n = Math.ceil(Math.log2(hi) * per - 1e-6);
  return [2 ** ((n - 1) / per), 2 ** (n / per)];
}

/** Without the empty rows above and below, of which a few stay so that one full row is no wall. */
export function trimHeat(h: Heat, least = 6): Heat {
  const filled = h.rates.map((r) => r.some((v) => v !== null && v > 0));
  let a = filled.indexOf(true);
  let b = filled.lastIndexOf(true);
  if (a < 0) return { ...h, rows: [], rates: [] };
  while (b - a + 1 < Math.min(least, h.rows.length)) {
    if (b + 1 < h.rows.length && Number.isFinite(h.rows[b + 1]!.hi)) b++;
    else if (a > 0) a--;
    else break;
  }
  return { ...h, rows: h.rows.slice(a, b + 1), rates: h.rates.slice(a, b + 1) };
}

/** The values at which the axis of a heat map begins and ends; logarithmic, so above zero. */
export function heatSpan(rows: Heat['rows']): [number, number] {
  const first = rows[0]!;
  const last = rows.at(-1)!;
  const lo = first.lo > 0 ? first.lo : Number.isFinite(first.hi) && first.hi > 0 ? first.hi / 2 : 1e-3;
  const hi = Number.isFinite(last.hi) ? last.hi : Math.max(last.lo, lo) * 2;
  return [lo, Math.max(hi, lo * 1.01)];
}

const nice = [1, 2, 5];

/** Up to eight classes of counts for a scale: each begins at a number people read with ease, and is as far from its neighbour by factor. */
export function countClasses(max: number): number[] {
  if (!(max > 0)) return [];
  const all: number[] = [];
  for (let e = -3; e < 15; e++) for (const n of nice) if (n * 10 ** e <= max * (1 + 1e-9)) all.push(Number((n * 10 ** e).toPrecision(1)));
  const from = all.filter((n) => n >= 1);
  const use = from.length >= 3 ? from : all.slice(-5);
  const every = Math.ceil(use.length / 8);
  return use.filter((_, i) => i % every === 0);
}

export function classOf(n: number, classes: number[]): number {
  let c = -1;
  while (c + 1 < classes.length && n >= classes[c + 1]! * (1 - 1e-9)) c++;
  return Math.max(0, c);
}

/** n colours of one hue, their lightness evenly apart as people see it (OKLab), from what is near the ground to what stands out. */
export function ramp(n: number, dark: boolean): string[] {
  const [l0, l1] = dark ? [0.34, 0.93] : [0.92, 0.3];
  return Array.from({ length: n }, (_, i) => {
    const f = n === 1 ? 0.6 : i / (n - 1);
    const l = l0 + (l1 - l0) * f;
    // Much colour fits into the gamut only in the middle of the lightness.
    return oklch(l, 0.11 * Math.sin(Math.PI * Math.min(0.85, Math.max(0.2, l))), 250);
  });
}

/** OKLCH to #rrggbb; the matrices are those of Björn Ottosson's definition of OKLab. */
export function oklch(l: number, c: number, hue: number): string {
  const a = c * Math.cos((hue * Math.PI) / 180);
  const b = c * Math.sin((hue * Math.PI) / 180);
  const x = (l + 0.3963377774 * a + 0.2158037573 * b) ** 3;
  const y = (l - 0.1055613458 * a - 0.0638541728 * b) ** 3;
  const z = (l - 0.0894841775 * a - 1.291485548 * b) ** 3;
  const linear = [4.0767416621 * x - 3.3077115913 * y + 0.2309699292 * z, -1.2684380046 * x + 2.6097574011 * y - 0.3413193965 * z, -0.0041960863 * x - 0.7034186147 * y + 1.707614701 * z];
  return (
    '#' +
    linear
      .map((v) => (v <= 0.0031308 ? 12.92 * v : 1.055 * v ** (1 / 2.4) - 0.055))
      .map((v) => Math.round(Math.min(1, Math.max(0, v)) * 255).toString(16).padStart(2, '0'))
      .join('')
  );
}
