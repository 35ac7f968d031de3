import { useEffect, useLayoutEffect, useMemo, useRef, useState } from 'preact/hooks';
import { count, sig3 } from '../base/format.ts';
import { hm, hms, stamp, zone, zoneName } from '../base/time.ts';
import { classOf, countClasses, heatSpan, ramp, type Heat } from './heat.ts';
import { announce } from './announce.ts';
import { Table } from './table.tsx';

/** A line over the heat, on the same values: a percentile. */
export interface HeatLine {
  name: string;
  values: (number | null)[];
}

export interface HeatmapProps {
  label: string;
  heat: Heat;
  lines: HeatLine[];
  from: number;
  to: number;
  format: (n: number) => string;
  height?: number;
  ticks?: { t: number; text: string }[];
  /** A time that another chart's cursor stands at. */
  cursor?: number | null;
  theme?: string;
  /** A cell was chosen: its time, and the ends of its values. */
  onPick?: (t: number, lo: number, hi: number) => void;
  onZoom?: (from: number, to: number) => void;
  onBack?: () => void;
}

const left = 58;
const right = 20;
const top = 8;
const bottom = 26;
const dashes: Record<string, number[]> = { p95: [5, 3], p99: [2, 2] };

interface At {
  row: number;
  col: number;
}

function isDark(el: Element): boolean {
  return getComputedStyle(el).colorScheme.includes('dark');
}

/** Seconds between the times of the axis that leave room for their labels. */
function tickStep(span: number, width: number): number {
  const most = Math.max(2, Math.floor(width / 70));
  return [1, 5, 10, 30, 60, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800].find((s) => span / s <= most) ?? 2592000;
}

/** What a cell holds, in words: how many, of which values, when. */
export function cellWords(h: Heat, at: At, format: (n: number) => string): string {
  const r = h.rows[at.row]!;
  const rate = h.rates[at.row]![at.col] ?? null;
  const values = Number.isFinite(r.hi) ? (r.lo > 0 ? `${format(r.lo)} to ${format(r.hi)}` : `up to ${format(r.hi)}`) : `above ${format(r.lo)}`;
  return `${rate === null ? 'nothing reported' : `${count(Math.round(rate * h.step * 10) / 10)} in ${spanWords(h.step)}`}, ${values}`;
}

function spanWords(step: number): string {
  return step % 3600 === 0 ? `${step / 3600} h` : step % 60 === 0 ? `${step / 60} min` : `${step} s`;
}

/**
 * A distribution over time: columns are times, rows are buckets on a logarithmic
 * axis, colour is how many. Drag zooms, double click goes back, arrows move a
 * cursor whose cell is spoken, Enter or a click picks the cell.
 */
export function Heatmap(p: HeatmapProps) {
  const box = useRef<HTMLDivElement>(null);
  const canvas = useRef<HTMLCanvasElement>(null);
  const [width, setWidth] = useState(0);
  const [at, setAt] = useState<At | null>(null);
  const [drag, setDrag] = useState<[number, number] | null>(null);
  const downAt = useRef(NaN);
  const picking = useRef<ReturnType<typeof setTimeout> | undefined>(undefined);
  const [dark, setDark] = useState(false);
  const height = p.height ?? 260;
  const { heat } = p;
  const most = useMemo(() => heat.rates.reduce((m, r) => r.reduce<number>((n, v) => Math.max(n, (v ?? 0) * heat.step), m), 0), [heat]);
  const classes = useMemo(() => countClasses(most), [most]);
  const colours = useMemo(() => ramp(classes.length, dark), [classes.length, dark]);

  useLayoutEffect(() => {
    const el = box.current!;
    const ro = new ResizeObserver(() => setWidth(el.clientWidth));
    ro.observe(el);
    setWidth(el.clientWidth);
    return () => {
      ro.disconnect();
      clearTimeout(picking.current);
    };
  }, []);
  useLayoutEffect(() => {
    const look = () => setDark(isDark(box.current!));
    look();
    const m = matchMedia('(prefers-color-scheme: dark)');
    m.addEventListener('change', look);
    return () => m.removeEventListener('change', look);
  }, [p.theme]);

  const w = Math.max(1, width - left - right);
  const h = height - top - bottom;
  const [lo, hi] = heat.rows.length ? heatSpan(heat.rows) : [0.001, 1];
  const xOf = (t: number) => left + ((t - p.from) / (p.to - p.from)) * w;
  const tOf = (x: number) => p.from + ((x - left) / w) * (p.to - p.from);
  const yOf = (v: number) => top + h - ((Math.log(Math.min(hi, Math.max(lo, v))) - Math.log(lo)) / (Math.log(hi) - Math.log(lo))) * h;
  // A rate at a time tells of the step before it.
  const edges = (c: At): [number, number, number, number] => {
    const r = heat.rows[c.row]!;
    const t = heat.times[c.col]!;
    const x0 = Math.max(left, Math.round(xOf(t - heat.step)));
    const x1 = Math.min(left + w, Math.round(xOf(t)));
    return [x0, Math.round(yOf(r.hi)), Math.max(1, x1 - x0), Math.max(1, Math.round(yOf(r.lo)) - Math.round(yOf(r.hi)))];
  };

  useEffect(() => {
    const c = canvas.current!;
    if (!width) return;
    const px = devicePixelRatio || 1;
    c.width = Math.round(width * px);
    c.height = Math.round(height * px);
    const g = c.getContext('2d')!;
    g.scale(px, px);
    const style = getComputedStyle(c);
    const ink = (n: string) => style.getPropertyValue(`--${n}`).trim() || '#888';
    g.clearRect(0, 0, width, height);
    g.font = '11px system-ui';
    heat.rates.forEach((row, i) =>
      row.forEach((v, j) => {
        if (!v || v * heat.step < classes[0]! / 10) return;
        const [x, y, cw, ch] = edges({ row: i, col: j });
        if (x > left + w || x + cw < left) return;
        g.fillStyle = colours[classOf(v * heat.step, classes)]!;
        g.fillRect(x, y, cw, ch);
      }),
    );
    g.strokeStyle = ink('line');
    g.lineWidth = 1;
    g.beginPath();
    g.moveTo(left, top + h + 0.5);
    g.lineTo(left + w, top + h + 0.5);
    g.stroke();
    g.fillStyle = ink('faint');
    g.textBaseline = 'middle';
    g.textAlign = 'right';
    let last = Infinity;
    for (const v of [...new Set(heat.rows.flatMap((r) => [r.lo, r.hi]))].filter((v) => v > 0 && Number.isFinite(v)).sort((a, b) => a - b)) {
      const y = yOf(v);
      if (last - y < 20) continue;
      last = y;
      g.fillText(p.format(v), left - 6, Math.min(top + h - 4, Math.max(top + 4, y)));
    }
    g.textAlign = 'center';
    const every = tickStep(p.to - p.from, w);
    // Days and hours of the axis begin where they do in the shown zone.
    const shift = every >= 3600 ? zoneShift(p.to) : 0;
    for (let t = Math.ceil((p.from + shift) / every) * every - shift; t <= p.to; t += every) {
      const text = every >= 86400 ? stamp(t * 1000).slice(5, 10) : every < 60 ? hms(t * 1000) : hm(t * 1000);
      g.fillText(text, Math.min(left + w, Math.max(left + 12, xOf(t))), top + h + 14);
    }
    g.save();
    g.beginPath();
    g.rect(left, top, w, h);
    g.clip();
    for (const m of p.ticks ?? []) {
      const x = Math.round(xOf(m.t)) + 0.5;
      if (x < left || x > left + w) continue;
      g.setLineDash([3, 3]);
      g.strokeStyle = ink('soft');
      g.beginPath();
      g.moveTo(x, top);
      g.lineTo(x, top + h);
      g.stroke();
    }
    if (p.cursor) {
      g.setLineDash([]);
      g.strokeStyle = ink('faint');
      g.beginPath();
      g.moveTo(xOf(p.cursor), top);
      g.lineTo(xOf(p.cursor), top + h);
      g.stroke();
    }
    for (const l of p.lines) {
      // Ink on a halo of the ground is seen on every colour of the scale.
      for (const [colour, wide, dash] of [[ink('paper'), 3.5, []], [ink('ink'), 1.4, dashes[l.name] ?? []]] as [string, number, number[]][]) {
        g.strokeStyle = colour;
        g.lineWidth = wide;
        g.setLineDash(dash);
        g.beginPath();
        let pen = false;
        l.values.forEach((v, i) => {
          if (v === null || !Number.isFinite(v)) return void (pen = false);
          const x = xOf(heat.times[i]!);
          if (pen) g.lineTo(x, yOf(v));
          else g.moveTo(x, yOf(v));
          pen = true;
        });
        g.stroke();
      }
    }
    g.restore();
    if (drag) {
      g.fillStyle = ink('accent') + '24';
      g.fillRect(Math.min(...drag), top, Math.abs(drag[1] - drag[0]), h);
    } else if (at && heat.rows[at.row]) {
      const [x, y, cw, ch] = edges(at);
      g.strokeStyle = ink('paper');
      g.lineWidth = 3;
      g.strokeRect(x - 0.5, y - 0.5, cw + 1, ch + 1);
      g.strokeStyle = ink('ink');
      g.lineWidth = 1.5;
      g.strokeRect(x - 0.5, y - 0.5, cw + 1, ch + 1);
    }
  }, [width, height, heat, p.lines, p.from, p.to, p.cursor, p.ticks, colours, at, drag, zone()]);

  const cellAt = (x: number, y: number): At | null => {
    if (x < left || x > left + w || y < top || y > top + h || !heat.rows.length) return null;
    const col = Math.ceil((tOf(x) - heat.times[0]!) / heat.step);
    const v = Math.exp(Math.log(lo) + ((top + h - y) / h) * (Math.log(hi) - Math.log(lo)));
    const row = heat.rows.findIndex((r) => v <= r.hi);
    return col < 0 || col >= heat.times.length || row < 0 ? null : { row, col };
  };
  const where = (e: MouseEvent): [number, number] => {
    const r = canvas.current!.getBoundingClientRect();
    return [e.clientX - r.left, e.clientY - r.top];
  };
  const pick = (c: At) => {
    const r = heat.rows[c.row]!;
    p.onPick?.(heat.times[c.col]!, r.lo, r.hi);
  };
  const step = (e: KeyboardEvent) => {
    if (!heat.rows.length) return;
    if (e.key === 'Enter' && at) {
      e.preventDefault();
      return pick(at);
    }
    const by = e.shiftKey ? 10 : 1;
    const d = { ArrowRight: [by, 0], ArrowLeft: [-by, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[e.key];
    if (!d) return;
    e.preventDefault();
    const was = at ?? { col: d[0]! > 0 ? -1 : heat.times.length, row: Math.floor(heat.rows.length / 2) };
    const next = { col: Math.max(0, Math.min(heat.times.length - 1, was.col + d[0]!)), row: Math.max(0, Math.min(heat.rows.length - 1, was.row + d[1]!)) };
    setAt(next);
    announce(`${hms(heat.times[next.col]! * 1000)} ${zoneName()}: ${cellWords(heat, next, p.format)}`);
  };
  const tipEdges = at && heat.rows[at.row] ? edges(at) : null;
  const tipLeft = tipEdges ? tipEdges[0] + tipEdges[2] + 8 : 0;

  return (
    <div
      class="chart heatmap"
      role="img"
      aria-label={`${p.label}. Heat map of ${heat.rows.length} buckets; arrow keys read cells, Enter opens one, t shows the table.`}
      tabIndex={0}
      onKeyDown={step}
      onBlur={() => setAt(null)}
    >
      <div ref={box}>
        <canvas
          ref={canvas}
          style={{ width: '100%', height: `${height}px` }}
          onPointerDown={(e) => (downAt.current = where(e)[0])}
          onPointerMove={(e) => {
            const [x, y] = where(e);
            if (e.pointerType === 'mouse' && e.buttons === 1 && Math.abs(x - downAt.current) > 5 && p.onZoom) {
              const clamp = (v: number) => Math.max(left, Math.min(left + w, v));
              return setDrag([clamp(downAt.current), clamp(x)]);
            }
            if (e.pointerType === 'mouse') setAt(cellAt(x, y));
          }}
          onPointerLeave={(e) => {
            if (e.pointerType !== 'mouse') return;
            setAt(null);
            setDrag(null);
          }}
          onClick={(e) => {
            const [x, y] = where(e);
            if (drag) {
              setDrag(null);
              return p.onZoom?.(Math.floor(tOf(Math.min(...drag))), Math.ceil(tOf(Math.max(...drag))));
            }
            const c = cellAt(x, y);
            // A finger cannot hover: its first touch shows the cell, the second opens it.
            const touch = (e as unknown as PointerEvent).pointerType === 'touch';
            if (touch && !(c && at && c.row === at.row && c.col === at.col)) return setAt(c);
            clearTimeout(picking.current);
            if (c && e.detail < 2) picking.current = setTimeout(() => pick(c), touch ? 0 : 250);
          }}
          onDblClick={() => {
            clearTimeout(picking.current);
            p.onBack?.();
          }}
        />
      </div>
      {at && tipEdges && !drag && (
        <div class="tip" style={tipLeft + 210 > width ? { right: `${Math.max(0, width - tipEdges[0] + 8)}px` } : { left: `${tipLeft}px` }}>
          <div class="tip-head">
            {stamp(heat.times[at.col]! * 1000).slice(5)} {zoneName(heat.times[at.col]! * 1000)}
          </div>
          <div>{cellWords(heat, at, p.format)}</div>
          {p.lines.map((l) => (
            <div class="tip-row" key={l.name}>
              <span class="tip-name">{l.name}</span>
              <span class="tip-val">{l.values[at.col] === null || l.values[at.col] === undefined ? '–' : p.format(l.values[at.col]!)}</span>
            </div>
          ))}
        </div>
      )}
      <div class="heatlegend">
        {p.lines.map((l) => (
          <span key={l.name} class="heatline">
            <svg width="22" height="8" viewBox="0 0 22 8" aria-hidden="true">
              <path d="M0 4h22" fill="none" stroke="currentColor" stroke-width="1.4" stroke-dasharray={dashes[l.name]?.join(' ')} />
            </svg>
            {l.name}
          </span>
        ))}
        <span class="push" />
        {classes.length > 0 && (
          <span class="heatscale" aria-label={`Colour is how many in ${spanWords(heat.step)}: ${classes.map((c) => sig3(c)).join(', ')} and more`}>
            <span class="soft">in {spanWords(heat.step)}</span>
            {classes.map((c, i) => (
              <span key={c} class="heatclass">
                <span class="swatch" style={{ background: colours[i] }} />
                {count(c)}
              </span>
            ))}
          </span>
        )}
      </div>
    </div>
  );
}

/** Seconds that the shown zone is ahead of UTC. */
function zoneShift(t: number): number {
  const s = stamp(t * 1000);
  return Date.UTC(+s.slice(0, 4), +s.slice(5, 7) - 1, +s.slice(8, 10), +s.slice(11, 13), +s.slice(14, 16), +s.slice(17, 19)) / 1000 - t;
}

/** The same as a table, newest first: how many in each bucket, and the percentiles. */
export function HeatTable({ label, heat, lines, format }: Pick<HeatmapProps, 'label' | 'heat' | 'lines' | 'format'>) {
  const cols = heat.times.map((_, i) => i).filter((i) => heat.rates.some((r) => r[i] !== null)).reverse();
  const name = (r: Heat['rows'][number]) => (Number.isFinite(r.hi) ? `≤ ${format(r.hi)}` : `> ${format(r.lo)}`);
  return (
    <Table
      name="heat"
      label={`${label}: how many in ${spanWords(heat.step)} by bucket`}
      rows={cols}
      keyOf={(i) => String(heat.times[i])}
      cols={[
        { id: 't', head: `Time, ${zoneName()}`, cell: (i: number) => stamp(heat.times[i]! * 1000) },
        ...lines.map((l) => ({ id: l.name, head: l.name, num: true, cell: (i: number) => (l.values[i] === null ? <span class="faint">–</span> : format(l.values[i]!)) })),
        ...heat.rows.map((r, n) => ({
          id: `b${n}`,
          head: name(r),
          num: true,
          cell: (i: number) => {
            const v = heat.rates[n]![i] ?? null;
            return v === null ? <span class="faint">–</span> : v === 0 ? <span class="faint">0</span> : count(Math.round(v * heat.step * 10) / 10);
          },
        })),
      ]}
    />
  );
}
