import { phases, type Run } from '../base/types.ts';
import { seconds } from '../base/format.ts';
import { hms, zoneName } from '../base/time.ts';

type Points = (number | null)[] | null | undefined;

/** A line without axes for a table cell. Gaps stay gaps; the scale starts at zero. */
export function Spark({ values, width = 72, height = 16, max, label }: { values: Points; width?: number; height?: number; max?: number; label?: string }) {
  const d = sparkPath(values ?? [], width, height, max);
  return (
    <svg class="spark" width={width} height={height} viewBox={`0 0 ${width} ${height}`} role={label ? 'img' : undefined} aria-label={label} aria-hidden={label ? undefined : 'true'}>
      {d && <path d={d} />}
    </svg>
  );
}

export function sparkPath(v: (number | null)[], w: number, h: number, max?: number): string {
  let top = max ?? 0;
  if (max === undefined) for (const x of v) if (x !== null && Number.isFinite(x) && x > top) top = x;
  const n = v.length;
  if (n < 2) return '';
  let d = '';
  let pen = false;
  for (let i = 0; i < n; i++) {
    const x = v[i];
    if (x === null || x === undefined || !Number.isFinite(x)) {
      pen = false;
      continue;
    }
    const px = ((i / (n - 1)) * (w - 2) + 1).toFixed(1);
    const py = (h - 1.5 - (top > 0 ? Math.min(1, Math.max(0, x / top)) : 0) * (h - 3)).toFixed(1);
    d += (pen ? 'L' : 'M') + px + ' ' + py;
    // A lone point between gaps is drawn as a dot by a zero-length line.
    if (!pen && (i + 1 >= n || v[i + 1] === null)) d += 'h.1';
    pen = true;
  }
  return d;
}

/** Colour-blind safe and fixed: the same phase is the same colour everywhere. */
export const phaseColours = ['#56B4E9', '#0072B2', '#CC79A7', '#E69F00', '#009E73'];

/** Milliseconds of each phase over all hops of a run. */
export function phaseTotals(run: Run | null | undefined): number[] {
  const t = phases.map(() => 0);
  for (const h of run?.hops ?? []) phases.forEach((p, i) => (t[i]! += (h.phases?.[p]?.seconds ?? 0) * 1000));
  return t;
}

/** The five phases of one run, drawn on a scale that all rows share. */
export function PhaseBar({ ms, scale, failed, width = 160 }: { ms: number[]; scale: number; failed?: boolean; width?: number }) {
  const total = ms.reduce((a, b) => a + b, 0);
  let x = 0;
  const text = phases.map((p, i) => (ms[i]! > 0 ? `${p} ${seconds(ms[i]! / 1000)}` : '')).filter(Boolean).join(', ');
  return (
    <svg class="phasebar" width={width} height="10" viewBox={`0 0 ${width} 10`} role="img" aria-label={text || 'no phase reached'}>
      <title>{text || 'no phase reached'}</title>
      <rect class="track" x="0" y="4.5" width={width} height="1" />
      {total > 0 &&
        ms.map((m, i) => {
          const w = Math.min(width - x, (m / scale) * width);
          const r = w > 0 ? <rect key={i} x={x.toFixed(2)} y="0" width={Math.max(w, 0.8).toFixed(2)} height="10" fill={phaseColours[i]} /> : null;
          x += Math.max(0, w);
          return r;
        })}
      {failed && <path class="cut" d={`M${Math.min(width - 1, x + 1)} -1v12`} />}
    </svg>
  );
}

export function PhaseLegend() {
  return (
    <ul class="legend" aria-label="Phases of a request">
      {phases.map((p, i) => (
        <li key={p}>
          <span class="swatch" style={{ background: phaseColours[i] }} />
          {p}
        </li>
      ))}
    </ul>
  );
}

export interface Cell {
  t: number;
  ok: boolean;
  stage: string;
  ms: number[];
}

/** The last runs, one cell each: height is time taken, a failed one is full and coloured. */
export function Cells({ runs, slots = 60, cell = 4, height = 16, failed = 'page' }: { runs: Cell[]; slots?: number; cell?: number; height?: number; failed?: string }) {
  const last = runs.slice(-slots);
  const totals = last.map((r) => r.ms.reduce((a, b) => a + b, 0));
  const okTimes = totals.filter((_, i) => last[i]!.ok).sort((a, b) => a - b);
  const typical = okTimes[Math.floor(okTimes.length / 2)] ?? 1;
  let good = '';
  let bad = '';
  let sign = '';
  last.forEach((r, i) => {
    const x = (slots - last.length + i) * cell;
    if (r.ok) {
      const h = Math.max(3, Math.min(height - 2, (totals[i]! / (typical * 2.5 || 1)) * (height - 2)));
      good += `M${x} ${height}v-${h.toFixed(1)}h${cell - 1}v${h.toFixed(1)}z`;
    } else {
      bad += `M${x} ${height}V0h${cell - 1}V${height}z`;
      sign += `M${x} 0h${cell - 1}`;
    }
  });
  const fails = last.filter((r) => !r.ok).length;
  const words = last.length ? `${last.length} runs, ${fails ? `${fails} failed` : 'none failed'}` : 'no runs yet';
  return (
    <svg
      class={`cells is-${failed}`}
      width={slots * cell}
      height={height}
      viewBox={`0 0 ${slots * cell} ${height}`}
      role="img"
      aria-label={words}
      onMouseMove={(e) => {
        const svg = e.currentTarget as SVGSVGElement;
        const i = Math.floor((e.clientX - svg.getBoundingClientRect().left) / cell) - (slots - last.length);
        const r = last[i];
        const title = svg.querySelector('title');
        if (title) title.textContent = r ? `${hms(r.t * 1000)} ${zoneName(r.t * 1000)}: ${r.ok ? 'ok' : `failed at ${r.stage || 'unknown stage'}`}, ${seconds(totals[i]! / 1000)}` : words;
      }}
    >
      <title>{words}</title>
      <rect class="ground" x="0" y={height - 1} width={slots * cell} height="1" />
      {good && <path class="good" d={good} />}
      {bad && <path class="bad" d={bad} />}
      {sign && <path class="sign" d={sign} />}
    </svg>
  );
}
