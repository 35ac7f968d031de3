import { sig3 } from '../base/format.ts';
import { phases, type PhaseName, type PromSeries } from '../base/types.ts';

/** Seconds of a phase in a span: half of the runs were faster than median, 95 % than p95. */
export interface Spread {
  median: number | null;
  p95: number | null;
}

export type Phases = Partial<Record<PhaseName, Spread>>;

/** Reads the answers of the two queries, one series a phase. */
export function spreads(median: PromSeries[], p95: PromSeries[]): Phases {
  const out: Phases = {};
  const put = (list: PromSeries[], what: keyof Spread) => {
    for (const s of list) {
      const p = s.metric.phase as PhaseName;
      const v = Number(s.value?.[1]);
      if (!phases.includes(p) || !Number.isFinite(v)) continue;
      (out[p] ??= { median: null, p95: null })[what] = v;
    }
  };
  put(median, 'median');
  put(p95, 'p95');
  return out;
}

/** A change below a tenth, or below a millisecond, is none that a person would act on. */
export function changed(a: number | null | undefined, b: number | null | undefined): boolean {
  if (a === null || a === undefined || b === null || b === undefined) return false;
  return Math.abs(b - a) >= 0.001 && Math.abs(b - a) >= 0.1 * Math.max(Math.min(a, b), 0.0005);
}

/** "-62 %", "+5 %", "12 times" */
export function changeWords(a: number, b: number): string {
  if (a > 0 && b / a >= 3) return `${sig3(b / a)} times`;
  const p = a > 0 ? ((b - a) / a) * 100 : 100;
  return `${p < 0 ? '-' : '+'}${Math.round(Math.abs(p) - 1e-9)} %`;
}

const took = (s: number) => (s >= 1 ? `${sig3(s)} s` : `${sig3(s * 1000)} ms`);

function list(words: string[]): string {
  return words.length < 2 ? (words[0] ?? '') : `${words.slice(0, -1).join(', ')} and ${words.at(-1)}`;
}

/** What changed from one span to the other, in one sentence. */
export function compareSentence(before: Phases, after: Phases): string {
  const moved: { p: PhaseName; by: number; text: string }[] = [];
  const same: string[] = [];
  const gone: string[] = [];
  const fresh: string[] = [];
  for (const p of phases) {
    const a = before[p]?.median ?? null;
    const b = after[p]?.median ?? null;
    if (a === null && b === null) continue;
    if (b === null) gone.push(p);
    else if (a === null) fresh.push(p);
    else if (changed(a, b)) moved.push({ p, by: Math.abs(b - a), text: `${p} ${b < a ? 'fell' : 'rose'} from ${took(a)} to ${took(b)} (${changeWords(a, b)})` });
    else {
      const pa = before[p]!.p95;
      const pb = after[p]!.p95;
      if (pa !== null && pb !== null && changed(pa, pb) && Math.max(pa, pb) >= 1.5 * Math.min(pa, pb)) {
        moved.push({ p, by: Math.abs(pb - pa) / 20, text: `${p} is unchanged in the middle, but its slowest 5 % ${pb < pa ? 'fell' : 'rose'} from ${took(pa)} to ${took(pb)} (${changeWords(pa, pb)})` });
      } else same.push(p);
    }
  }
  if (!moved.length && !same.length && !gone.length && !fresh.length) return 'Nothing was measured on either side of that time.';
  if (!same.length && !moved.length) return gone.length ? 'Nothing was measured after that time.' : 'Nothing was measured before that time.';
  moved.sort((x, y) => y.by - x.by);
  const said = [
    same.length ? (moved.length || gone.length || fresh.length ? `${list(same)} ${same.length === 1 ? 'is' : 'are'} unchanged` : same.length === 1 ? `${same[0]} is unchanged` : 'all phases are unchanged') : '',
    ...moved.map((m) => m.text),
    gone.length ? `${list(gone)} ${gone.length === 1 ? 'was' : 'were'} not reached after it` : '',
    fresh.length ? `${list(fresh)} ${fresh.length === 1 ? 'was' : 'were'} not reached before it` : '',
  ].filter(Boolean);
  const s = said.join('; ') + '.';
  return s[0]!.toUpperCase() + s.slice(1);
}
