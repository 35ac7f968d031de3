import uPlot from 'uplot';
import 'uplot/dist/uPlot.min.css';
import { useEffect, useLayoutEffect, useRef } from 'preact/hooks';
import { hm, hms, stamp, zone, zoneName } from './base/time.ts';
import { announce } from './ui/announce.ts';

export interface Line {
  name: string;
  colour: string; // a CSS colour or custom property
  values: (number | null)[];
  width?: number;
  dash?: number[];
}

export interface ChartProps {
  label: string;
  times: number[];
  lines: Line[];
  from: number;
  to: number;
  format: (n: number) => string;
  unit?: string;
  stacked?: boolean;
  height?: number;
  /** The line to bring forward; the rest go faint. */
  focus?: number;
  /** Lines that alone are drawn, when any. */
  only?: Set<number>;
  /** The least upper end of the y axis, for charts that are read side by side. */
  top?: number;
  markers?: { t: number; text: string }[];
  /** Labelled times, such as releases. */
  ticks?: { t: number; text: string }[];
  sync?: string;
  theme?: string;
  onZoom?: (from: number, to: number) => void;
  onBack?: () => void;
  /** A click that is no drag. */
  onPick?: (t: number) => void;
  onCursor?: (index: number | null) => void;
  onFocus?: (line: number | null) => void;
}

function css(el: Element, name: string): string {
  const m = /^var\((--[\w-]+)\)$/.exec(name);
  return m ? getComputedStyle(el).getPropertyValue(m[1]!).trim() || '#888' : name;
}

function alpha(colour: string, a: number): string {
  const m = /^#([0-9a-f]{6})$/i.exec(colour);
  return m ? colour + Math.round(a * 255).toString(16).padStart(2, '0') : colour;
}

/** Sums from the bottom up; a gap in a part counts as nothing, a gap in all stays a gap. */
export function stack(parts: (number | null)[][]): (number | null)[][] {
  const out: (number | null)[][] = [];
  const n = parts[0]?.length ?? 0;
  const any = Array.from({ length: n }, (_, i) => parts.some((p) => p[i] !== null && p[i] !== undefined));
  const sum = new Array<number>(n).fill(0);
  for (const p of parts) {
    out.push(
      any.map((has, i) => {
        sum[i]! += p[i] ?? 0;
        return has ? sum[i]! : null;
      }),
    );
  }
  return out;
}

function axisTimes(_u: uPlot, splits: number[], _a: number, _s: number, incr: number): string[] {
  let day = '';
  return splits.map((t) => {
    if (incr >= 86400) return stamp(t * 1000).slice(5, 10);
    const d = stamp(t * 1000).slice(5, 10);
    const first = d !== day && day !== '';
    day = d;
    const s = incr < 60 ? hms(t * 1000) : hm(t * 1000);
    return first ? `${s}\n${d}` : s;
  });
}

/** A chart with one cursor for the screen: drag zooms, double click goes back, arrows move the cursor. */
export function Chart(p: ChartProps) {
  const box = useRef<HTMLDivElement>(null);
  const tip = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const props = useRef(p);
  props.current = p;
  const shape = JSON.stringify([p.lines.map((l) => [l.name, l.colour, l.width, l.dash]), p.stacked, p.unit, p.height, p.theme, zone()]);

  const data = (): uPlot.AlignedData => {
    const q = props.current;
    const vals = q.lines.map((l) => l.values);
    return [q.times, ...(q.stacked ? stack(vals).reverse() : vals)] as uPlot.AlignedData;
  };

  useLayoutEffect(() => {
    const el = box.current!;
    const ink = (n: string) => css(el, `var(--${n})`);
    const q = props.current;
    const lines = q.stacked ? [...q.lines].reverse() : q.lines;
    const u = new uPlot(
      {
        width: Math.max(200, el.clientWidth),
        height: q.height ?? 260,
        padding: [10, 20, 0, 0],
        legend: { show: false },
        focus: { alpha: 0.3 },
        cursor: {
          sync: q.sync ? { key: q.sync, setSeries: false } : undefined,
          drag: { x: true, y: false, setScale: false, dist: 5 },
          focus: { prox: q.stacked ? -1 : 24 },
          points: { size: 5, width: 1.5 },
          bind: { dblclick: () => () => (props.current.onBack?.(), null) },
        },
        tzDate: (t) => uPlot.tzDate(new Date(t * 1000), zone()),
        scales: {
          x: { time: true, range: () => [props.current.from, props.current.to] },
          y: {
            range: (_u, lo, hi) => {
              const top = props.current.top;
              if (top && hi !== null) hi = Math.max(hi, top);
              if (lo === null || hi === null || !Number.isFinite(lo) || !Number.isFinite(hi)) return [0, 1];
              if (lo >= 0) lo = 0;
              if (hi <= 0) hi = 0;
              if (lo === hi) hi = lo + 1;
              return [lo < 0 ? lo * 1.06 : 0, hi > 0 ? hi * 1.06 : 0];
            },
          },
        },
        axes: [
          { stroke: ink('faint'), grid: { show: false }, ticks: { stroke: ink('line'), width: 1, size: 4 }, font: '11px system-ui', size: 34, space: 70, values: axisTimes },
          {
            stroke: ink('faint'),
            grid: { stroke: ink('line'), width: 1 },
            ticks: { show: false },
            font: '11px system-ui',
            size: (_u, vals) => 14 + Math.max(3, ...(vals ?? []).map((v) => v.length)) * 6,
            space: 36,
            values: (_u, splits) => splits.map((v) => props.current.format(v)),
          },
        ],
        series: [
          {},
          ...lines.map((l): uPlot.Series => {
            const c = css(el, l.colour);
            return {
              label: l.name,
              stroke: c,
              width: q.stacked ? 1 : (l.width ?? 1.4),
              dash: l.dash,
              fill: q.stacked ? alpha(c, 0.72) : undefined,
              points: { show: (_u, s, i0, i1) => !q.stacked && lonely(_u.data[s] as (number | null)[], i0, i1), size: 4 },
              spanGaps: false,
            };
          }),
        ],
        bands: q.stacked ? lines.slice(0, -1).map((_, i) => ({ series: [i + 1, i + 2] as [number, number] })) : undefined,
        hooks: {
          setSelect: [
            (v) => {
              if (v.select.width > 4) {
                const a = v.posToVal(v.select.left, 'x');
                const b = v.posToVal(v.select.left + v.select.width, 'x');
                props.current.onZoom?.(Math.floor(a), Math.ceil(b));
              }
              v.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
            },
          ],
          setCursor: [(v) => showTip(v)],
          setSeries: [
            (_v, i) => {
              if (!props.current.stacked) props.current.onFocus?.(i === null || i === 0 ? null : i - 1);
            },
          ],
          draw: [(v) => drawTicks(v, props.current.ticks ?? [], ink), (v) => drawMarkers(v, props.current.markers ?? [], ink)],
        },
      },
      data(),
      el,
    );
    plot.current = u;
    let downAt = NaN;
    let picking: ReturnType<typeof setTimeout> | undefined;
    u.over.addEventListener('mousedown', (e) => (downAt = e.clientX));
    u.over.addEventListener('click', (e) => {
      clearTimeout(picking);
      if (!props.current.onPick || e.detail > 1 || Math.abs(e.clientX - downAt) > 4) return;
      const t = u.posToVal(e.clientX - u.over.getBoundingClientRect().left, 'x');
      picking = setTimeout(() => props.current.onPick?.(t), 250); // the second click of a double click goes back instead
    });
    const ro = new ResizeObserver(() => {
      const w = Math.max(200, el.clientWidth);
      if (w !== u.width) u.setSize({ width: w, height: props.current.height ?? 260 });
    });
    ro.observe(el);
    applyFocus(u);
    return () => {
      ro.disconnect();
      clearTimeout(picking);
      u.destroy();
      plot.current = null;
    };
  }, [shape]);

  useEffect(() => {
    plot.current?.setData(data());
  }, [p.times, p.lines, p.from, p.to, p.top]);

  useEffect(() => {
    plot.current?.redraw(false);
  }, [p.ticks, p.markers]);

  useEffect(() => {
    if (plot.current) applyFocus(plot.current);
  }, [p.focus, p.only, shape]);

  function applyFocus(u: uPlot) {
    const { only, focus, lines, stacked } = props.current;
    if (stacked) return;
    u.batch(() => {
      lines.forEach((_, i) => {
        const show = !only?.size || only.has(i);
        if (u.series[i + 1]!.show !== show) u.setSeries(i + 1, { show }, false);
      });
      if (u.cursor.left === undefined || u.cursor.left < 0) u.setSeries(focus === undefined ? null : focus + 1, { focus: focus !== undefined }, false);
    });
  }

  function showTip(u: uPlot) {
    const q = props.current;
    const el = tip.current;
    const i = u.cursor.idx;
    if (!el) return;
    if (i === null || i === undefined || u.cursor.left === undefined || u.cursor.left < 0) {
      el.hidden = true;
      q.onCursor?.(null);
      return;
    }
    q.onCursor?.(i);
    const rows = q.lines
      .map((l, n) => ({ l, n, v: l.values[i] ?? null }))
      .filter((x) => x.v !== null && (!q.only?.size || q.only.has(x.n)))
      .sort((a, b) => (q.stacked ? b.n - a.n : b.v! - a.v!));
    const near = q.focus;
    const top = rows.slice(0, 9);
    if (near !== undefined && !top.some((x) => x.n === near)) {
      const f = rows.find((x) => x.n === near);
      if (f) top.splice(-1, 1, f);
    }
    el.replaceChildren();
    const head = document.createElement('div');
    head.className = 'tip-head';
    head.textContent = `${stamp(q.times[i]! * 1000).slice(5)} ${zoneName(q.times[i]! * 1000)}`;
    el.append(head);
    for (const x of top) {
      const row = document.createElement('div');
      row.className = x.n === near ? 'tip-row near' : 'tip-row';
      const sw = document.createElement('span');
      sw.className = 'swatch';
      sw.style.background = css(box.current!, x.l.colour);
      const name = document.createElement('span');
      name.className = 'tip-name';
      name.textContent = x.l.name;
      const val = document.createElement('span');
      val.className = 'tip-val';
      val.textContent = q.format(x.v!);
      row.append(sw, name, val);
      el.append(row);
    }
    if (rows.length > top.length) {
      const more = document.createElement('div');
      more.className = 'faint';
      more.textContent = `and ${rows.length - top.length} more`;
      el.append(more);
    }
    if (q.stacked && rows.length) {
      const sum = document.createElement('div');
      sum.className = 'tip-row sum';
      sum.textContent = `in all ${q.format(rows.reduce((a, b) => a + b.v!, 0))}`;
      el.append(sum);
    }
    el.hidden = false;
    const left = u.cursor.left + u.bbox.left / devicePixelRatio;
    const w = el.offsetWidth;
    el.style.left = `${left + w + 24 > u.width ? Math.max(0, left - w - 14) : left + 14}px`;
  }

  function step(by: number) {
    const u = plot.current;
    const q = props.current;
    if (!u || !q.times.length) return;
    const at = u.cursor.idx === null || u.cursor.idx === undefined || (u.cursor.left ?? -1) < 0 ? (by > 0 ? -1 : q.times.length) : u.cursor.idx;
    const i = Math.max(0, Math.min(q.times.length - 1, at + by));
    u.setCursor({ left: u.valToPos(q.times[i]!, 'x'), top: u.over.clientHeight / 2 });
    const spoken = q.lines
      .map((l) => ({ n: l.name, v: l.values[i] ?? null }))
      .filter((x) => x.v !== null)
      .sort((a, b) => b.v! - a.v!)
      .slice(0, 5)
      .map((x) => `${x.n} ${q.format(x.v!)}`)
      .join('; ');
    announce(`${hms(q.times[i]! * 1000)} ${zoneName()}: ${spoken || 'no values'}`);
  }

  return (
    <div
      class="chart"
      role="img"
      aria-label={`${p.label}. Chart of ${p.lines.length} series; arrow keys read values, t shows the table.`}
      tabIndex={0}
      onKeyDown={(e) => {
        if (e.key === 'ArrowRight' || e.key === 'ArrowLeft') {
          e.preventDefault();
          step((e.key === 'ArrowRight' ? 1 : -1) * (e.shiftKey ? 10 : 1));
        }
      }}
      onBlur={() => plot.current?.setCursor({ left: -10, top: -10 })}
    >
      {p.unit && <div class="axis-unit">{p.unit}</div>}
      <div ref={box} class="plot" style={{ minHeight: `${p.height ?? 260}px` }} />
      <div ref={tip} class="tip" hidden />
    </div>
  );
}

/** Points are drawn only where a line would show nothing: values alone between gaps. */
function lonely(v: (number | null)[], a: number, b: number): boolean {
  if (b - a > 400) return false;
  for (let i = a; i <= b; i++) {
    if (v[i] !== null && v[i] !== undefined && (v[i - 1] ?? null) === null && (v[i + 1] ?? null) === null) return true;
  }
  return false;
}

function drawTicks(u: uPlot, ticks: { t: number; text: string }[], ink: (n: string) => string) {
  const c = u.ctx;
  const { left, top, height, width } = u.bbox;
  const px = devicePixelRatio;
  c.save();
  c.strokeStyle = ink('soft');
  c.fillStyle = ink('soft');
  c.lineWidth = px;
  c.setLineDash([3 * px, 3 * px]);
  c.font = `${11 * px}px system-ui`;
  for (const m of ticks) {
    const x = Math.round(u.valToPos(m.t, 'x', true));
    if (x < left || x > left + width) continue;
    c.beginPath();
    c.moveTo(x, top);
    c.lineTo(x, top + height);
    c.stroke();
    const w = c.measureText(m.text).width;
    const right = x + 4 * px + w < left + width;
    c.textAlign = right ? 'left' : 'right';
    c.fillText(m.text, right ? x + 4 * px : x - 4 * px, top + 9 * px);
  }
  c.restore();
}

function drawMarkers(u: uPlot, markers: { t: number; text: string }[], ink: (n: string) => string) {
  const c = u.ctx;
  const { left, top, height, width } = u.bbox;
  c.save();
  c.fillStyle = ink('page');
  const size = 4 * devicePixelRatio;
  for (const m of markers) {
    const x = u.valToPos(m.t, 'x', true);
    if (x < left || x > left + width) continue;
    c.beginPath();
    c.moveTo(x, top + height - size * 1.6);
    c.lineTo(x + size, top + height);
    c.lineTo(x - size, top + height);
    c.closePath();
    c.fill();
  }
  c.restore();
}
