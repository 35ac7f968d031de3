import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import { prom, sentence } from '../base/api.ts';
import { byUnit, count, plural, seconds, seriesName, unitNames, type Unit } from '../base/format.ts';
import { useKeys } from '../base/keys.ts';
import { onChange, paused, refreshAll } from '../base/live.ts';
import { href, route, setParams, withParams } from '../base/router.ts';
import { useSignal } from '../base/signal.ts';
import { autoStep, clock, currentRange, hms, parseDuration, rangeWords, stamp, zoneName } from '../base/time.ts';
import type { Editor } from '../editor.ts';
import { theme } from '../shell.tsx';
import { announce } from '../ui/announce.ts';
import { LazyChart } from '../ui/lazychart.tsx';
import { Shape } from '../ui/marks.tsx';
import { Copy, Problem, Section, Sentence, Waiting } from '../ui/parts.tsx';
import { colourOf } from '../ui/series.ts';
import { Table, compareBy, type Column } from '../ui/table.tsx';
import { useTwin } from '../ui/twin.ts';
import { joinInstant, joinRange, unitOf, type Answer, type Part, type Row } from './results.ts';

const drawn = 200;
const letters = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ';

export default function Explore() {
  const r = useSignal(route);
  // Alerts name their expression by expr, as Prometheus does.
  const asked = [...r.params.getAll('q'), ...r.params.getAll('expr')];
  const [draft, setDraft] = useState<string[]>(asked.length ? asked : ['']);
  // The editors keep their own text; a new version puts the draft into them.
  const [version, setVersion] = useState(0);
  const replace = (list: string[]) => {
    setDraft(list);
    setVersion((n) => n + 1);
  };
  const seen = useRef(asked.join('\n'));
  useEffect(() => {
    if (asked.join('\n') !== seen.current) {
      seen.current = asked.join('\n');
      replace(asked.length ? asked : ['']);
    }
  }, [asked.join('\n')]);

  const instant = r.params.get('mode') === 'instant';
  const queries = asked.filter((q) => q.trim());
  const { answer, busy, failed } = useAnswer(queries, instant, r.params.get('step') ?? '', r.params.get('unit') ?? '');

  const run = (list = draft) => {
    const qs = list.map((q) => q.trim()).filter(Boolean);
    seen.current = qs.join('\n');
    if (qs.join('\n') === asked.join('\n')) refreshAll();
    setParams({ q: qs, expr: '', only: '' });
  };
  const now = useRef(draft);
  now.current = draft;

  const range = currentRange();
  const step = parseDuration(r.params.get('step') ?? '') || autoStep(range);
  return (
    <>
      <Headline answer={answer} queries={queries} busy={busy} instant={instant} />
      <form
        class="queries"
        onSubmit={(e) => {
          e.preventDefault();
          run();
        }}
      >
        {draft.map((q, i) => (
          <div class="query" key={i}>
            {draft.length > 1 && <span class="query-letter">{letters[i] ?? i}</span>}
            <QueryField
              text={q}
              version={version}
              label={`Query ${letters[i] ?? i + 1}`}
              onChange={(t) => setDraft((d) => d.map((x, j) => (j === i ? t : x)))}
              onRun={() => run(now.current)}
            />
            {draft.length > 1 && (
              <button
                type="button"
                class="small"
                aria-label={`Remove query ${letters[i]}`}
                onClick={() => {
                  const left = draft.filter((_, j) => j !== i);
                  replace(left);
                  run(left);
                }}
              >
                Remove
              </button>
            )}
          </div>
        ))}
        <div class="toolbar">
          <button type="submit" class="main">
            Run
          </button>
          <button type="button" onClick={() => setDraft([...draft, ''])} disabled={draft.length >= 26}>
            Add query
          </button>
          <span class="seg" role="group" aria-label="Kind of query">
            <button type="button" aria-pressed={!instant} onClick={() => setParams({ mode: '' })}>
              Range
            </button>
            <button type="button" aria-pressed={instant} onClick={() => setParams({ mode: 'instant' })}>
              Instant
            </button>
          </span>
          {!instant && (
            <label class="field">
              <span class="soft">Step</span>
              <input
                size={6}
                placeholder={`auto, ${seconds(step)}`}
                value={r.params.get('step') ?? ''}
                onChange={(e) => {
                  const v = e.currentTarget.value.trim();
                  setParams({ step: parseDuration(v) > 0 ? v : '' }, true);
                }}
              />
            </label>
          )}
          <label class="field">
            <span class="soft">Unit</span>
            <select value={r.params.get('unit') ?? ''} onChange={(e) => setParams({ unit: e.currentTarget.value }, true)}>
              <option value="">guess{answer ? ` (${unitNames[unitOf(queries, '')]})` : ''}</option>
              {(['none', 's', 'bytes', 'perbyte', 'percent'] as Unit[]).map((u) => (
                <option key={u} value={u}>
                  {unitNames[u]}
                </option>
              ))}
            </select>
          </label>
          <span class="push" />
          <Copy text={location.href} label="Copy link" />
          {queries.length > 0 && (
            <a class="soft" href={apiLink(queries[0]!, instant, range.from, range.to, step)} target="_blank" rel="noreferrer">
              JSON
            </a>
          )}
        </div>
      </form>
      {failed ? <Problem error={failed} /> : null}
      {!queries.length ? <Start /> : !answer ? <Waiting what="the answer" /> : <Results answer={answer} queries={queries} instant={instant} />}
    </>
  );
}

function apiLink(q: string, instant: boolean, from: number, to: number, step: number): string {
  const p = instant ? new URLSearchParams({ query: q, time: String(to) }) : new URLSearchParams({ query: q, start: String(from), end: String(to), step: String(step) });
  return `/api/v1/${instant ? 'query' : 'query_range'}?${p}`;
}

/** Runs the queries of the address, again while live and the span moves. */
function useAnswer(queries: string[], instant: boolean, stepWish: string, unitWish: string) {
  const r = useSignal(route);
  const [state, set] = useState<{ key: string; answer: Answer | null; failed: unknown }>({ key: '', answer: null, failed: null });
  const [busy, setBusy] = useState(false);
  const [tick, setTick] = useState(0);
  const span = `${r.params.get('range') ?? ''} ${r.params.get('from') ?? ''} ${r.params.get('to') ?? ''} ${r.params.get('tenant') ?? ''}`;
  const key = JSON.stringify([queries, instant, stepWish, span]);
  const lastRun = useRef(0);

  useEffect(() => {
    if (!queries.length) return;
    const a = new AbortController();
    const range = currentRange();
    const step = parseDuration(stepWish) || autoStep(range);
    const from = Math.ceil(range.from / step) * step;
    const to = Math.floor(range.to / step) * step;
    const began = performance.now();
    lastRun.current = Date.now();
    setBusy(true);
    void Promise.allSettled(
      queries.map((query) =>
        instant
          ? prom<Part['data']>('query', { query, time: String(range.to) }, a.signal)
          : prom<Part['data']>('query_range', { query, start: String(from), end: String(to), step: String(step) }, a.signal),
      ),
    ).then((all) => {
      if (a.signal.aborted) return;
      setBusy(false);
      const parts: Part[] = [];
      const warnings: string[] = [];
      const errors: Answer['errors'] = [];
      all.forEach((x, query) => {
        if (x.status === 'rejected') errors.push({ query, error: x.reason });
        else {
          parts.push({ query, data: x.value.data });
          warnings.push(...x.value.warnings, ...x.value.infos);
        }
      });
      const joined = instant ? joinInstant(parts) : joinRange(parts, from, to, step);
      const answer: Answer = {
        times: 'times' in joined ? joined.times : [],
        rows: joined.rows,
        warnings: [...new Set(warnings)],
        errors,
        type: parts[0]?.data.resultType ?? '',
        seconds: (performance.now() - began) / 1000,
        unit: 'none',
        scalarText: 'text' in joined ? joined.text : undefined,
        from: instant ? range.to : range.from,
        to: range.to,
        step,
      };
      set({ key, answer, failed: null });
    }, (failed) => !a.signal.aborted && set({ key, answer: null, failed }));
    return () => a.abort();
  }, [key, tick]);

  useEffect(() => {
    const due = () => {
      if (document.hidden || paused() || !currentRange().relative) return;
      const range = currentRange();
      const step = parseDuration(stepWish) || autoStep(range);
      if (Date.now() - lastRun.current >= Math.max(5, Math.min(60, step)) * 1000 - 200) setTick((n) => n + 1);
    };
    const offClock = clock.subscribe(due);
    const offUser = onChange((t) => t.includes('user') && setTick((n) => n + 1));
    return () => {
      offClock();
      offUser();
    };
  }, [stepWish]);

  const mine = state.key === key || (state.answer && queries.length);
  const answer = mine ? state.answer : null;
  return { answer: answer && { ...answer, unit: unitOf(queries, unitWish) }, busy, failed: state.failed };
}

function Headline({ answer, queries, busy, instant }: { answer: Answer | null; queries: string[]; busy: boolean; instant: boolean }) {
  const range = currentRange();
  if (!queries.length) return <Sentence text="Ask the metrics a question in PromQL." />;
  if (!answer) return <Sentence text={busy ? 'Asking …' : 'No answer yet.'} />;
  const n = answer.rows.length;
  const what = n === 0 ? 'No series answers' : plural(n, 'series', 'series');
  const over = instant ? `at ${stamp(answer.to * 1000).slice(5)} ${zoneName(answer.to * 1000)}` : `over the ${range.relative ? rangeWords(range.relative) : 'chosen span'}, one point each ${seconds(answer.step)}`;
  return <Sentence state={answer.errors.length ? 'unknown' : 'ok'} text={answer.errors.length && !n ? `${answer.errors.length === 1 ? 'The query was' : 'The queries were'} refused.` : `${what} ${over}.`} />;
}

/** The editor takes a moment to load; until then a plain field takes the words. */
function QueryField({ text, version, label, onChange: changed, onRun }: { text: string; version: number; label: string; onChange: (t: string) => void; onRun: () => void }) {
  const box = useRef<HTMLDivElement>(null);
  const ed = useRef<Editor | null>(null);
  const [ready, setReady] = useState(false);
  const fns = useRef({ changed, onRun, text });
  fns.current = { changed, onRun, text };
  useEffect(() => {
    let gone = false;
    import('../editor.ts').then(
      (m) => {
        if (gone || !box.current) return;
        const had = box.current.contains(document.activeElement);
        ed.current = m.openEditor(box.current, fns.current.text, label, (t) => fns.current.changed(t), () => fns.current.onRun());
        setReady(true);
        if (had) ed.current.focus();
      },
      () => undefined,
    );
    return () => {
      gone = true;
      ed.current?.destroy();
      ed.current = null;
    };
  }, []);
  useEffect(() => {
    ed.current?.set(text);
  }, [version]);
  return (
    <div class="editor" ref={box}>
      {!ready && (
        <textarea
          rows={1}
          aria-label={label}
          value={text}
          onInput={(e) => changed(e.currentTarget.value)}
          onKeyDown={(e) => {
            if (e.key === 'Enter' && !e.shiftKey) {
              e.preventDefault();
              onRun();
            }
          }}
        />
      )}
    </div>
  );
}

function Results({ answer, queries, instant }: { answer: Answer; queries: string[]; instant: boolean }) {
  const r = useSignal(route);
  const t = useSignal(theme);
  const twin = useTwin();
  const [hover, setHover] = useState<string | null>(null);
  const [cursor, setCursor] = useState<number | null>(null);
  const only = new Set(r.params.getAll('only'));
  const fmt = byUnit(answer.unit);
  const histograms = answer.rows.filter((x) => x.histogram).length;

  // The chart draws the rows in the order of the table, the largest last value first.
  const rows = useMemo(() => [...answer.rows].sort(compareBy<Row>((x) => x.last ?? x.max ?? x.histogram?.count, true)), [answer.rows]);
  const plotted = useMemo(() => rows.filter((x) => x.values.length).slice(0, drawn), [rows]);
  const place = useMemo(() => new Map(plotted.map((x, i) => [x.key, i])), [plotted]);
  const shared = useMemo(() => sharedLabels(rows), [rows]);
  const short = (x: Row) => {
    const rest: Record<string, string> = {};
    for (const [k, v] of Object.entries(x.metric)) if (!(k in shared)) rest[k] = v;
    const { __name__: name = '', ...labels } = rest;
    const s = [name, ...Object.keys(labels).sort().map((k) => `${k}=${labels[k]}`)].filter(Boolean).join(' ');
    return (queries.length > 1 ? letters[x.query] + ' ' : '') + (s || x.metric.__name__ || queries[x.query] || 'value');
  };
  const names = useMemo(() => plotted.map(short), [plotted, shared]);
  const isolate = (x: Row) => {
    const next = new Set(only);
    if (next.has(x.key)) next.delete(x.key);
    else next.add(x.key);
    setParams({ only: [...next] }, true);
  };
  useKeys({ Escape: () => (only.size ? setParams({ only: '' }, true) : false) });
  const crowd = plotted.length > 8;
  const onlyIdx = new Set([...only].map((k) => place.get(k)).filter((i): i is number => i !== undefined));
  const lit = hover ? place.get(hover) : undefined;
  const colour = (x: Row, i: number) => (crowd ? (only.has(x.key) || hover === x.key || (i === 0 && !only.size && !hover) ? 'var(--accent-line)' : 'var(--crowd)') : colourOf(i, plotted.length));
  const lines = useMemo(
    () =>
      plotted.map((x, i) => ({
        name: names[i]!,
        colour: colour(x, i),
        values: x.values,
        width: crowd && (hover === x.key || only.has(x.key)) ? 2 : undefined,
      })),
    [plotted, names, crowd, crowd ? hover : '', [...only].join()],
  );

  const cols: Column<Row>[] = [
    {
      id: 'series',
      head: 'Series',
      cls: 'wide series',
      by: (x) => x.name,
      cell: (x) => {
        const i = place.get(x.key);
        return (
          <button class="link series-name" data-open onClick={() => isolate(x)} aria-pressed={only.has(x.key)} title={only.has(x.key) ? 'Show the others again' : 'Show this alone'}>
            {!instant && !twin.on && <span class="swatch" style={{ background: i === undefined ? 'transparent' : colour(x, i) }} />}
            <SeriesText metric={x.metric} shared={shared} letter={queries.length > 1 ? letters[x.query] : ''} fallback={queries[x.query] ?? ''} />
          </button>
        );
      },
    },
  ];
  const num = (id: string, head: string, get: (x: Row) => number | null): Column<Row> => ({ id, head, num: true, by: get, cell: (x) => (get(x) === null ? <span class="faint">–</span> : fmt(get(x))) });
  const numbers = answer.rows.length > histograms;
  if (instant && numbers) {
    cols.push(num('last', 'Value', (x) => x.last));
  } else if (numbers) {
    cols.push(num('last', 'Last', (x) => x.last), num('min', 'Min', (x) => x.min), num('avg', 'Avg', (x) => x.avg), num('max', 'Max', (x) => x.max));
    if (!twin.on) {
      cols.push({
        id: 'cursor',
        head: cursor !== null && answer.times[cursor] ? hms(answer.times[cursor]! * 1000) : 'At cursor',
        num: true,
        cls: 'atcursor',
        cell: (x) => (cursor !== null && x.values.length ? fmt(x.values[cursor] ?? null) : <span class="faint">–</span>),
      });
    }
  }
  if (histograms) {
    cols.push(
      { id: 'hcount', head: 'Count', num: true, by: (x) => x.histogram?.count, cell: (x) => (x.histogram ? count(x.histogram.count) : <span class="faint">–</span>) },
      { id: 'hsum', head: 'Sum', num: true, by: (x) => x.histogram?.sum, cell: (x) => (x.histogram ? count(x.histogram.sum) : <span class="faint">–</span>) },
      { id: 'hmean', head: 'Mean', num: true, by: (x) => (x.histogram?.count ? x.histogram.sum / x.histogram.count : null), cell: (x) => (x.histogram?.count ? fmt(x.histogram.sum / x.histogram.count) : <span class="faint">–</span>) },
    );
  }

  const said = useRef('');
  useEffect(() => {
    const s = answer.errors.map((e) => sentence(e.error)).join(' ');
    if (s && s !== said.current) announce(s);
    said.current = s;
  }, [answer]);

  return (
    <>
      {answer.errors.map((e) => (
        <Problem key={e.query} what={queries.length > 1 ? `Query ${letters[e.query]}.` : undefined} error={e.error} />
      ))}
      {answer.warnings.map((w) => (
        <p class="warning" key={w}>
          <Shape state="unknown" /> {sentence(w)}
        </p>
      ))}
      {histograms > 0 && !instant && (
        <p class="soft">
          {plural(histograms, 'series is a native histogram', 'series are native histograms')}: counted in the table, not drawn. To draw one, ask for <code>histogram_quantile(0.99, rate(…[5m]))</code> or <code>histogram_avg(…)</code>.
        </p>
      )}
      {answer.scalarText !== undefined && <p class="mono">{answer.scalarText}</p>}
      {!answer.rows.length && !answer.errors.length && answer.scalarText === undefined && (
        <div class="empty">
          No series has a value here. The name may be misspelt, the labels may not occur together, or nothing came in during this span. <a href={href(['itself'])}>What arrives</a> stands on Itself; a longer range may help
          {currentRange().relative ? (
            '.'
          ) : (
            <>
              : <a href={withParams({ from: '', to: '', range: '' })}>the last hour</a>.
            </>
          )}
        </div>
      )}
      {!instant && plotted.length > 0 && !twin.on && (
        <>
          <LazyChart
            label={queries.join('; ')}
            times={answer.times}
            lines={lines}
            from={answer.from}
            to={answer.to}
            format={fmt}
            unit={answer.unit === 'none' ? '' : unitNames[answer.unit]}
            height={300}
            focus={lit}
            only={onlyIdx}
            theme={t}
            onZoom={(from, to) => setParams({ from: String(from), to: String(to), range: '' })}
            onBack={() => history.back()}
            onCursor={setCursor}
          />
          <p class="hint faint">
            {rows.length > plotted.length + histograms ? `Drawn are the ${drawn} with the largest last value; the table has all ${rows.length.toLocaleString('en-GB')}. ` : ''}
            {only.size ? (
              <button class="link" onClick={() => setParams({ only: '' }, true)}>
                Show all again
              </button>
            ) : (
              'Drag to zoom, double click to go back.'
            )}
          </p>
        </>
      )}
      {rows.length > 0 && (
        <Section
          title={instant ? 'Values' : 'Series'}
          note={Object.keys(shared).length > 0 && rows.length > 1 ? <span>all with <span class="mono">{seriesName(shared)}</span></span> : undefined}
          actions={
            !instant && numbers ? (
              <button class="small" onClick={twin.toggle} title="Chart or table (t)">
                {twin.on ? 'Show chart' : 'Table of points'}
              </button>
            ) : undefined
          }
        >
          {twin.on && !instant ? (
            <Points answer={answer} rows={plotted.filter((x) => !only.size || only.has(x.key))} name={short} fmt={fmt} />
          ) : (
            <Table name="main" sortBy="-last" label="Series with their values" rows={rows} cols={cols} keyOf={(x) => x.key} hover={(x) => setHover(x?.key ?? null)} rowClass={(x) => (only.size && !only.has(x.key) ? 'dim' : '')} />
          )}
        </Section>
      )}
    </>
  );
}

/** Labels that every row has alike; they are told once above the table. */
function sharedLabels(rows: Row[]): Record<string, string> {
  if (rows.length < 2) return {};
  const out = { ...rows[0]!.metric };
  for (const x of rows) for (const k of Object.keys(out)) if (x.metric[k] !== out[k]) delete out[k];
  return out;
}

function SeriesText({ metric, shared, letter, fallback }: { metric: Record<string, string>; shared: Record<string, string>; letter?: string; fallback: string }) {
  const keys = Object.keys(metric).filter((k) => k !== '__name__' && !(k in shared)).sort();
  const name = metric.__name__ && !('__name__' in shared) ? metric.__name__ : '';
  return (
    <span class="mono">
      {letter && <span class="query-letter">{letter}</span>}
      {(name || !keys.length) && <span class="series-metric">{name || (metric.__name__ ?? fallback)}</span>}
      {keys.map((k) => (
        <span class="label" key={k}>
          <span class="k">{k}=</span>
          {metric[k] || '""'}
        </span>
      ))}
    </span>
  );
}

/** The table twin: every drawn point, newest first, at most 12 series wide. */
function Points({ answer, rows, name, fmt }: { answer: Answer; rows: Row[]; name: (x: Row) => string; fmt: (n: number | null) => string }) {
  const wide = rows.slice(0, 12);
  const idx = answer.times.map((_, i) => i).filter((i) => wide.some((x) => x.values[i] !== null)).reverse();
  return (
    <>
      {rows.length > wide.length && <p class="soft">The first 12 of {rows.length} series; isolate others in the table of series to see them here.</p>}
      <Table
        name="points"
        label="Points of the chart"
        rows={idx}
        keyOf={(i) => String(answer.times[i])}
        cols={[
          { id: 't', head: `Time, ${zoneName()}`, cell: (i: number) => stamp(answer.times[i]! * 1000) },
          ...wide.map((x) => ({ id: x.key, head: <span class="mono clip" title={x.name}>{name(x)}</span>, num: true, cell: (i: number) => (x.values[i] === null ? <span class="faint">–</span> : fmt(x.values[i]!)) })),
        ]}
      />
    </>
  );
}

function Start() {
  const examples: [string, string][] = [
    ['Which targets answer', 'up'],
    ['What Vedette takes in, samples a second', 'sum by (protocol) (rate(vedette_ingest_samples_total[5m]))'],
    ['Phases of every check', 'sum by (check, phase) (probe_http_duration_seconds)'],
    ['CPU of each process, cores', 'sum by (job) (rate(process_cpu_seconds_total[5m]))'],
    ['Memory of each process', 'sum by (job) (process_resident_memory_bytes)'],
    ['The ten largest metrics by series', 'topk(10, count by (__name__) ({__name__!=""}))'],
  ];
  return (
    <Section title="To begin with" note="each is a link; the expression can be changed">
      <ul class="examples">
        {examples.map(([what, q]) => (
          <li key={q}>
            <a href={href(['explore'], { q, mode: q.startsWith('topk') ? 'instant' : undefined })}>{what}</a>
            <code>{q}</code>
          </li>
        ))}
      </ul>
      <p class="soft">
        <kbd>Enter</kbd> runs, <kbd>Shift</kbd>+<kbd>Enter</kbd> breaks the line, <kbd>Ctrl</kbd>+<kbd>Space</kbd> completes.
      </p>
    </Section>
  );
}
