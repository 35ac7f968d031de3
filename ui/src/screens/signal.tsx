import type { RefObject } from 'preact';
import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import { getJSON, prom } from '../base/api.ts';
import { age } from '../base/format.ts';
import { onChange, paused } from '../base/live.ts';
import { useResource } from '../base/resource.ts';
import { go, href, route, setParams } from '../base/router.ts';
import { Signal, useSignal } from '../base/signal.ts';
import { autoStep, clock, currentRange, stamp, zoneName } from '../base/time.ts';
import type { Marker, PromSeries } from '../base/types.ts';
import { theme } from '../shell.tsx';
import { classicHeat, nativeHeat, type Heat } from '../ui/heat.ts';
import { HeatTable, Heatmap } from '../ui/heatmap.tsx';
import { LazyChart } from '../ui/lazychart.tsx';
import { Copy, Loaded, Problem, Section, Sentence } from '../ui/parts.tsx';
import { seriesColours } from '../ui/series.ts';
import { Table } from '../ui/table.tsx';
import { useTwin } from '../ui/twin.ts';
import { joinRange } from './results.ts';
import { entitySentence, idOf, kindNames, labelsOf, legendOf, valueIn, type EntityPage, type Kind, type Panel } from './signalsdata.ts';

const drawn = 12;

/** Where the cursor of the page's charts stands, seconds. */
const cursor = new Signal<number | null>(null);

/** The golden signals of one service, host, queue or database. */
export default function SignalPage({ kind, id }: { kind: Kind; id: string[] }) {
  const r = useSignal(route);
  const range = currentRange();
  const step = autoStep(range, 240);
  // What ended long ago is looked at from the end of the chosen span.
  const time: Record<string, string> = range.relative ? {} : { time: String(Math.min(Math.floor(range.to), Math.floor(Date.now() / 1000))) };
  const res = useResource<EntityPage>(
    `signals ${kind} ${id.join()} ${step} ${range.relative ? '' : range.to}`,
    (s) => getJSON<EntityPage>(`/api/v1/signals/${kind}?${new URLSearchParams({ ...labelsOf(id), step: `${step}s`, ...time })}`, s),
    ['now', 'checks'],
    15000,
  );
  const back = (
    <p class="crumbs">
      <a href={href(['signals'])}>Signals</a> / <a href={href(['signals'], { kind })}>{kindNames[kind][1]}</a>
    </p>
  );
  return (
    <>
      {back}
      <Loaded screen res={res} what={`The ${kindNames[kind][0]}`}>
        {(d) => <View d={d} key={`${r.params.get('tenant') ?? ''}`} />}
      </Loaded>
    </>
  );
}

function View({ d }: { d: EntityPage }) {
  const twin = useTwin();
  const range = currentRange();
  const marks = useResource<Marker[]>('markers', (s) => getJSON<{ markers: Marker[] | null }>('/api/v1/markers', s).then((x) => x.markers ?? [], () => []), ['config'], 30000);
  const ticks = useMemo(() => (marks.data ?? []).filter((m) => !m.labels?.check).map((m) => ({ t: Date.parse(m.at) / 1000, text: m.text })), [marks.data]);
  const panels = d.panels ?? [];
  const golden = panels.filter((p) => p.signal !== 'detail');
  const detail = panels.filter((p) => p.signal === 'detail');
  const missing = (['latency', 'traffic', 'errors', 'saturation'] as const).filter((s) => !panels.some((p) => p.signal === s));
  return (
    <>
      <Sentence state={d.state} text={entitySentence(d)} />
      <p class="lead soft">
        <span class="mono">{idOf(d.labels).join(', ')}</span>, told by {d.sources.join(' and ')}; rates are over {age(d.window_seconds)}.{' '}
        <button class="small" onClick={twin.toggle} title="Charts or tables (t)">
          {twin.on ? 'Show charts' : 'Show tables'}
        </button>
      </p>
      <div class="multiples of-2 signals">
        {golden.map((p, i) => (
          <PanelView key={p.signal + p.title + i} p={p} twin={twin.on} ticks={ticks} big />
        ))}
      </div>
      {missing.length > 0 && <p class="soft missing">No {missing.join(' and no ')} here: nothing that it reports tells of that for sure, and a guess is not shown.</p>}
      {detail.length > 0 && (
        <Section title="In detail" note={range.relative ? undefined : 'of the chosen span'}>
          <div class="multiples of-3 signals">
            {detail.map((p, i) => (
              <PanelView key={p.title + i} p={p} twin={twin.on} ticks={ticks} />
            ))}
          </div>
        </Section>
      )}
    </>
  );
}

interface Filled {
  from: number;
  to: number;
  times: number[];
  series: PromSeries[][]; // by query
}

/** Asks the panel's queries for the shown span, while it is near the window, and again while live. */
function usePanel(p: Panel, step: number): { box: RefObject<HTMLElement | null>; data: Filled | null; error: unknown; busy: boolean; reload: () => void } {
  const r = useSignal(route);
  const box = useRef<HTMLElement>(null);
  const [seen, setSeen] = useState(false);
  const [state, set] = useState<{ key: string; data: Filled | null; error: unknown }>({ key: '', data: null, error: null });
  const [tick, setTick] = useState(0);
  const lastRun = useRef(0);
  const span = ['range', 'from', 'to', 'tenant'].map((k) => r.params.get(k) ?? '').join(' ');
  const key = JSON.stringify([p.promql.map((q) => q.expr), step, span]);

  useEffect(() => {
    const io = new IntersectionObserver((es) => setSeen(es.some((e) => e.isIntersecting)), { rootMargin: '300px' });
    io.observe(box.current!);
    return () => io.disconnect();
  }, []);
  useEffect(() => {
    if (!seen) return;
    const a = new AbortController();
    const range = currentRange();
    const from = Math.ceil(range.from / step) * step;
    const to = Math.floor(range.to / step) * step;
    lastRun.current = Date.now();
    Promise.all(p.promql.map((q) => prom<{ result: PromSeries[] }>('query_range', { query: q.expr, start: String(from), end: String(to), step: String(step) }, a.signal))).then(
      (all) => {
        const n = Math.floor((to - from) / step + 1e-9) + 1;
        set({ key, error: null, data: { from: range.from, to: range.to, times: Array.from({ length: n }, (_, i) => from + i * step), series: all.map((x) => x.data.result ?? []) } });
      },
      (error) => !a.signal.aborted && set((s) => ({ key, error, data: s.key === key ? s.data : null })),
    );
    return () => a.abort();
  }, [key, tick, seen]);
  useEffect(() => {
    const due = () => {
      if (seen && !document.hidden && !paused() && currentRange().relative && Date.now() - lastRun.current >= Math.max(10, Math.min(60, step)) * 1000 - 200) setTick((n) => n + 1);
    };
    const offClock = clock.subscribe(due);
    const offUser = onChange((t) => t.includes('user') && setTick((n) => n + 1));
    return () => {
      offClock();
      offUser();
    };
  }, [step, seen]);
  return { box, data: state.data, error: state.key === key ? state.error : null, busy: seen, reload: () => setTick((n) => n + 1) };
}

function PanelView({ p, twin, ticks, big }: { p: Panel; twin: boolean; ticks: { t: number; text: string }[]; big?: boolean }) {
  const range = currentRange();
  const heat = p.kind === 'heatmap';
  // Cells that a person can tell apart: at most 120 in a row.
  const step = heat ? Math.max(autoStep(range, 120), 10) : autoStep(range, 240);
  const { box, data, error, busy, reload } = usePanel(p, step);
  const [open, setOpen] = useState(false);
  const explore = href(['explore'], { q: p.promql.map((q) => q.expr) });
  const height = big ? 220 : 150;
  return (
    <figure class="signal" ref={box}>
      <figcaption>
        <strong>{p.title}</strong>
        <span class="actions">
          <button class="link" aria-expanded={open} onClick={() => setOpen(!open)}>
            PromQL
          </button>
          <a href={explore}>Explore</a>
        </span>
      </figcaption>
      {open && (
        <ul class="promql">
          {p.promql.map((q) => (
            <li key={q.expr}>
              <span class="soft">{q.legend}</span> <code>{q.expr}</code> <Copy text={q.expr} what={`PromQL of ${q.legend}`} />
            </li>
          ))}
        </ul>
      )}
      {error ? (
        <Problem error={error} reload={reload} />
      ) : !data ? (
        <div class="chart" style={{ minHeight: `${height}px` }} aria-busy={busy} />
      ) : heat ? (
        <HeatPanel p={p} data={data} step={step} height={height} twin={twin} ticks={ticks} />
      ) : (
        <LinePanel p={p} data={data} step={step} height={height} twin={twin} ticks={ticks} />
      )}
    </figure>
  );
}

interface DrawProps {
  p: Panel;
  data: Filled;
  step: number;
  height: number;
  twin: boolean;
  ticks: { t: number; text: string }[];
}

const zoom = (from: number, to: number) => setParams({ from: String(from), to: String(to), range: '' });

function heatOf(data: Filled, step: number): Heat {
  const first = data.series[0] ?? [];
  const native = first.find((s) => s.histograms?.length);
  return native ? nativeHeat(native.histograms!, data.times, step) : classicHeat(first, data.times, step);
}

function HeatPanel({ p, data, step, height, twin, ticks }: DrawProps) {
  const t = useSignal(theme);
  const at = useSignal(cursor);
  const format = valueIn(p.unit);
  const heat = useMemo(() => heatOf(data, step), [data, step]);
  const lines = useMemo(
    () =>
      p.promql.slice(1).map((q, i) => {
        const { rows } = joinRange([{ query: 0, data: { resultType: 'matrix', result: data.series[i + 1] ?? [] } }], data.times[0]!, data.times.at(-1)!, step);
        return { name: q.legend, values: rows[0]?.values ?? data.times.map(() => null) };
      }),
    [data, step],
  );
  if (!heat.rows.length) return <Nothing p={p} height={height} />;
  if (twin) return <HeatTable label={p.title} heat={heat} lines={lines} format={format} />;
  return (
    <Heatmap
      label={p.title}
      heat={heat}
      lines={lines}
      from={data.from}
      to={data.to}
      format={format}
      height={height}
      ticks={ticks}
      cursor={at}
      theme={t}
      onZoom={zoom}
      onBack={() => history.back()}
      onPick={(at) => go(href(['explore'], { q: p.promql.slice(1).map((q) => q.expr), range: '', from: String(at - 20 * step), to: String(at + 20 * step) }))}
    />
  );
}

function LinePanel({ p, data, step, height, twin, ticks }: DrawProps) {
  const t = useSignal(theme);
  const format = valueIn(p.unit);
  const all = useMemo(() => {
    const { rows } = joinRange(data.series.map((result, query) => ({ query, data: { resultType: 'matrix', result } })), data.times[0]!, data.times.at(-1)!, step);
    return rows.map((x) => ({ name: legendOf(p.promql[x.query]!.legend, x.metric), query: x.query, values: x.values, max: x.max ?? 0, last: x.last })).sort((a, b) => a.query - b.query || b.max - a.max);
  }, [data, step]);
  const lines = useMemo(() => all.slice(0, drawn).map((l, i) => ({ ...l, colour: seriesColours[i % seriesColours.length]!, dash: i >= seriesColours.length ? [4, 3] : undefined })), [all]);
  if (!lines.length) return <Nothing p={p} height={height} />;
  if (twin) {
    const idx = data.times.map((_, i) => i).filter((i) => lines.some((l) => l.values[i] !== null)).reverse();
    return (
      <Table
        name="points"
        label={p.title}
        rows={idx.slice(0, 60)}
        keyOf={(i) => String(data.times[i])}
        cols={[
          { id: 't', head: `Time, ${zoneName()}`, cell: (i: number) => stamp(data.times[i]! * 1000) },
          ...lines.map((l, n) => ({ id: String(n), head: l.name, num: true, cell: (i: number) => (l.values[i] === null ? <span class="faint">–</span> : format(l.values[i])) })),
        ]}
      />
    );
  }
  return (
    <>
      <LazyChart
        label={p.title}
        times={data.times}
        lines={lines}
        from={data.from}
        to={data.to}
        format={format}
        height={height}
        // A share of a limit is read against all of it; noise of errors is not blown up.
        top={p.unit !== 'ratio' ? undefined : p.signal === 'saturation' ? 1 : 0.01}
        ticks={ticks}
        sync="signals"
        theme={t}
        onZoom={zoom}
        onBack={() => history.back()}
        onCursor={(i) => (cursor.value = i === null ? null : (data.times[i] ?? null))}
      />
      <ul class="legend">
        {lines.map((l, i) => (
          <li key={l.name + i}>
            <span class="swatch" style={{ background: l.colour }} />
            <span class="clip" title={l.name}>
              {l.name}
            </span>
            <span class="num soft">{format(l.last)}</span>
          </li>
        ))}
        {all.length > lines.length && <li class="soft">and {all.length - lines.length} smaller, in Explore</li>}
      </ul>
    </>
  );
}

function Nothing({ p, height }: { p: Panel; height: number }) {
  return (
    <div class="nothing soft" style={{ minHeight: `${Math.min(height, 90)}px` }}>
      {p.empty ?? (p.signal === 'latency' ? 'No request in this span.' : 'No value in this span.')}
    </div>
  );
}
