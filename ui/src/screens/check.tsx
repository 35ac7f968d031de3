import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import { ApiError, getJSON, mayWrite, prom, send, sentence } from '../base/api.ts';
import { plural, seconds, sig3, uptime } from '../base/format.ts';
import { useKeys } from '../base/keys.ts';
import { useResource } from '../base/resource.ts';
import { go, href, param, route, setParams } from '../base/router.ts';
import { useSignal } from '../base/signal.ts';
import { autoStep, currentRange, rangeWords, stamp, when, zoneName } from '../base/time.ts';
import { phases, type Check, type CheckDetails, type Marker, type PhaseName, type PromSeries, type Run } from '../base/types.ts';
import { theme } from '../shell.tsx';
import { LazyChart } from '../ui/lazychart.tsx';
import { Ago, At, Labels, Mark, Shape } from '../ui/marks.tsx';
import { Dialog, Facts, Loaded, Problem, Section, Sentence } from '../ui/parts.tsx';
import { Cells, PhaseBar, PhaseLegend, phaseColours, phaseTotals } from '../ui/spark.tsx';
import { Table } from '../ui/table.tsx';
import { useTwin } from '../ui/twin.ts';
import { Compare } from './compare.tsx';
import { certDays, checkSentence, dot, phaseMetric, placesOf, quorumWords, runFrom, runKey, segments, selector, signOfPlace, signOfState, sinceWords, toneOf } from './checkparts.ts';
import { RunPanel } from './checkrun.tsx';
import { Tries, type Try } from './tries.tsx';

export default function CheckScreen() {
  const r = useSignal(route);
  const id = r.path[1]!;
  const res = useResource<CheckDetails>(`check ${id}`, (s) => getJSON<CheckDetails>(`/api/v1/checks/${encodeURIComponent(id)}`, s), ['checks'], 2000);
  if (res.data === undefined && res.error instanceof ApiError && res.error.status === 404) {
    return (
      <>
        <Sentence state="unknown" text={`There is no check with the id ${id}.`} />
        <p>
          It may have gone with the last change of the configuration. <a href={href(['checks'])}>All checks</a>
        </p>
      </>
    );
  }
  return (
    <Loaded screen res={res} what="The check">
      {(d) => <Detail d={d} reload={res.reload} key={d.check.id} />}
    </Loaded>
  );
}

function Detail({ d, reload }: { d: CheckDetails; reload: () => void }) {
  const r = useSignal(route);
  const c = d.check;
  const range = currentRange();
  const span = Math.max(7 * 86400, range.to - range.from);
  const markers = useResource<Marker[]>(
    `markers ${range.relative || `${range.from}-${range.to}`}`,
    (s) => {
      const w = currentRange();
      return getJSON<{ markers: Marker[] | null }>(`/api/v1/markers?from=${new Date((w.to - span) * 1000).toISOString()}&to=${new Date(w.to * 1000).toISOString()}`, s).then((x) => x.markers ?? []);
    },
    ['checks', 'config'],
    10_000,
  );
  const failedOnly = r.params.get('failed') === '1';
  const from = r.params.get('place') ?? '';
  const query = `limit=100${failedOnly ? '&failed=1' : ''}${from ? `&location=${encodeURIComponent(from)}` : ''}`;
  const base = `/api/v1/checks/${encodeURIComponent(c.id)}/runs`;
  const runs = useResource(`runs ${c.id} ${query}`, (s) => getJSON<{ runs: Run[] | null }>(`${base}?${query}`, s).then((x) => x.runs ?? []), ['checks'], 2000);
  const [older, setOlder] = useState<{ of: string; runs: Run[]; end: boolean; error?: unknown }>({ of: query, runs: [], end: false });
  const more = older.of === query ? older : { of: query, runs: [] as Run[], end: false, error: undefined };
  const have = new Set((runs.data ?? []).map(runKey));
  const all = [...(runs.data ?? []), ...more.runs.filter((x) => !have.has(runKey(x)))];
  const openAt = r.params.get('run') ?? '';
  const openFrom = r.params.get('from_place') ?? '';
  const listed = openAt ? all.find((x) => x.start === openAt && (!openFrom || x.location === openFrom)) : undefined;
  const single = useResource<Run | null>(
    `run ${c.id} ${listed || !openAt || !runs.data ? '' : `${openAt} ${openFrom}`}`,
    async (s) => {
      if (listed || !openAt || !runs.data) return null;
      const before = new Date(Date.parse(openAt) + 1).toISOString();
      const got = await getJSON<{ runs: Run[] | null }>(`${base}?limit=20&before=${encodeURIComponent(before)}${openFrom ? `&location=${encodeURIComponent(openFrom)}` : ''}`, s);
      return got.runs?.find((x) => x.start === openAt && (!openFrom || x.location === openFrom)) ?? null;
    },
    [],
  );
  const open = listed ?? single.data ?? undefined;
  const shut = () => setParams({ run: '', from_place: '' });
  return (
    <div class={open ? 'split widepanel' : ''}>
      <div>
        <p class="crumbs">
          <a href={href(['checks'])}>Checks</a> / {c.name}
        </p>
        <Sentence state={toneOf(c) || 'ok'} text={checkSentence(c)} />
        <Actions d={d} reload={reload} runsReload={runs.reload} />
        <Header c={c} />
        <PhaseCharts check={c} runs={all} markers={markers.data ?? []} />
        <Compare check={c} markers={markers.data ?? []} reload={markers.reload} />
        <History d={d} />
        <Section
          title="Runs"
          note={`newest first, times in ${zoneName()}`}
          actions={
            <>
              {placesOf(c).length > 1 && (
                <select class="small" aria-label="Runs of which place" value={from} onChange={(e) => setParams({ place: e.currentTarget.value }, true)}>
                  <option value="">all places</option>
                  {placesOf(c).map((p) => (
                    <option key={p.location} value={p.location}>
                      {p.location}
                    </option>
                  ))}
                </select>
              )}
              <label class="field">
                <input type="checkbox" checked={failedOnly} onChange={(e) => setParams({ failed: e.currentTarget.checked ? '1' : '' }, true)} /> failed only
              </label>
            </>
          }
        >
          <Loaded res={runs} what="The runs">
            {() => (
              <>
                <RunTable c={c} all={all} failedOnly={failedOnly} openKey={open ? runKey(open) : ''} />
                {all.length >= 100 && !more.end && (
                  <p>
                    <button
                      class="small"
                      onClick={async () => {
                        const last = all[all.length - 1]!;
                        try {
                          const got = (await getJSON<{ runs: Run[] | null }>(`${base}?${query}&before=${encodeURIComponent(last.start)}`)).runs ?? [];
                          setOlder({ of: query, runs: [...more.runs, ...got], end: got.length < 100 });
                        } catch (error) {
                          setOlder({ ...more, error });
                        }
                      }}
                    >
                      Older runs
                    </button>
                  </p>
                )}
                {more.error ? <Problem what="Older runs could not be loaded." error={more.error} /> : null}
              </>
            )}
          </Loaded>
        </Section>
        <Written d={d} />
      </div>
      {open && <RunPanel run={open} check={c} close={shut} />}
    </div>
  );
}

const links = (ids: string[]) =>
  ids.map((id, i) => (
    <span key={id}>
      {i ? ', ' : ''}
      <a href={href(['checks', id])}>{id}</a>
    </span>
  ));

function Header({ c }: { c: Check }) {
  const days = certDays(c);
  const certTone = days === null ? '' : days < 3 ? 'page' : days < 14 ? 'warning' : '';
  const places = placesOf(c);
  return (
    <>
      <Facts
        of={[
          ['state', `${c.state} ${sinceWords(c.since)}`.trim()],
          ['seen down', quorumWords(c)],
          ['uptime 24 h', c.uptime_24h === null ? 'not known' : `${uptime(c.uptime_24h)} % of ${plural(c.runs_24h, 'run')}`],
          ['every', seconds(c.interval_seconds)],
          ['kind', c.kind],
          ['target', <Target t={c.target} />],
          ['certificate', days === null ? 'none' : <span class={certTone ? `hot is-${certTone}` : ''}>{certTone && <Shape state={certTone} />} ends in {Math.floor(days)} d</span>],
          ['alert', c.severity === 'none' ? 'none is sent' : (c.severity ?? 'page')],
          ...(c.depends_on?.length ? ([['depends on', <span>{links(c.depends_on)}</span>]] as [string, preact.JSX.Element][]) : []),
          ...(c.parents?.length ? ([['explained by', <span>{links(c.parents)}</span>]] as [string, preact.JSX.Element][]) : []),
          ...(c.children?.length ? ([['explains', <span>{links(c.children)}</span>]] as [string, preact.JSX.Element][]) : []),
          ...(c.runbook && /^https?:/.test(c.runbook) ? ([['runbook', <a href={c.runbook} rel="noreferrer noopener" target="_blank">{c.runbook.replace(/^https?:\/\//, '')}</a>]] as [string, preact.JSX.Element][]) : []),
          ...(c.window ? ([['maintenance', <a href={href(['checks'], { tab: 'maintenance' })}>{c.window}</a>]] as [string, preact.JSX.Element][]) : []),
          ['source', c.source === 'config' ? 'vedette.yml: read-only here' : c.source === 'builtin' ? 'built in' : 'made here or by the API'],
          ['labels', <Labels of={c.labels} />],
        ]}
      />
      {(c.slow ?? []).map((s) => (
        <p class="slowline" key={s.location + s.phase}>
          <span class="mark is-warning">
            <Shape state="pending" />
            <span>slow</span>
          </span>{' '}
          {s.phase} from {s.location} takes {seconds(s.now_seconds)}, usually {seconds(s.usual_seconds)}, {sinceWords(s.since)}.
        </p>
      ))}
      <div class="table-wrap placetable">
        <table>
          <caption class="sr">The check from each place</caption>
          <thead>
            <tr>
              <th scope="col">Place</th>
              <th scope="col">State</th>
              <th scope="col" class="num">
                For
              </th>
              <th scope="col">Last 60 runs</th>
              <th scope="col" class="num">
                Took <span class="unit">ms</span>
              </th>
              <th scope="col" class="num">
                Uptime 24 h <span class="unit">%</span>
              </th>
              <th scope="col" class="note">
                Last run
              </th>
            </tr>
          </thead>
          <tbody>
            {places.map((p) => {
              const sign = signOfPlace(c, p.state);
              return (
                <tr key={p.location}>
                  <th scope="row">
                    <a class="name" href={href(['checks', c.id], { place: p.location, failed: param('failed') })} title={`Runs from ${p.location}`}>
                      {p.location}
                    </a>
                  </th>
                  <td>{p.state === 'up' ? <span class="faint">up</span> : <Mark state={sign} word={p.state === 'failing' ? 'failing, not yet down' : p.state} />}</td>
                  <td class="num">
                    <Ago t={p.since} />
                  </td>
                  <td class="sparkcol">
                    <Cells runs={p.recent ?? []} cell={3} failed={c.state === 'maintenance' || c.state === 'unreachable' ? 'calm' : 'page'} />
                  </td>
                  <td class="num">{p.last ? sig3(p.last.duration_seconds * 1000) : <span class="faint">–</span>}</td>
                  <td class="num">{uptime(p.uptime_24h)}</td>
                  <td class="note">{p.last ? p.last.success ? <span class="faint">ok</span> : <span title={p.last.message}>{`${p.last.stage ?? 'failed'}: ${p.last.message ?? p.last.reason ?? ''}`}</span> : <span class="faint">none yet</span>}</td>
                </tr>
              );
            })}
          </tbody>
        </table>
      </div>
    </>
  );
}

function Target({ t }: { t: string }) {
  return /^https?:/.test(t) ? (
    <a class="mono" href={t} rel="noreferrer noopener" target="_blank">
      {t}
    </a>
  ) : (
    <span class="mono">{t}</span>
  );
}

function Actions({ d, reload, runsReload }: { d: CheckDetails; reload: () => void; runsReload: () => void }) {
  const c = d.check;
  const [tries, setTries] = useState<Try[]>([]);
  const [busy, setBusy] = useState(false);
  const [wrong, setWrong] = useState('');
  const [deleting, setDeleting] = useState(false);
  const gone = useRef(false);
  useEffect(() => () => void (gone.current = true), []);
  const own = c.source === 'api';
  const write = mayWrite();
  // One request a place: each result stands as soon as it is there.
  const runAll = async () => {
    if (busy) return;
    const at = placesOf(c).map((p) => p.location);
    setBusy(true);
    setTries(at.map((location) => ({ location })));
    await Promise.all(
      at.map(async (location, i) => {
        let t: Try = { location };
        try {
          t.run = await runFrom(c.id, location);
        } catch (error) {
          t = { location, error };
        }
        if (!gone.current) setTries((old) => old.map((x, j) => (j === i ? t : x)));
      }),
    );
    if (gone.current) return;
    setBusy(false);
    reload();
    runsReload();
  };
  const edit = () => go(href(['checks', c.id], { edit: '1' }));
  useKeys({
    w: () => void (write && runAll()),
    e: () => void edit(),
  });
  const pause = async () => {
    setWrong('');
    try {
      await send('PUT', `/api/v1/checks/${encodeURIComponent(c.id)}`, { ...d.object, paused: c.state === 'paused' || c.paused ? undefined : true });
      reload();
    } catch (e) {
      setWrong(sentence(e));
    }
  };
  const isPaused = c.paused || c.state === 'paused';
  const [taken, setTaken] = useState(false);
  const broken = c.state === 'down' || c.state === 'flapping' || c.state === 'degraded';
  const acknowledge = async () => {
    setWrong('');
    try {
      await send('POST', `/api/v1/checks/${encodeURIComponent(c.id)}/acknowledge`, {});
      setTaken(true);
      reload();
    } catch (e) {
      setWrong(sentence(e));
    }
  };
  return (
    <>
      <div class="toolbar">
        {write && broken && !taken && (
          <button class="main" onClick={acknowledge} title="Say that you take care of it; its alerts stay quiet for 4 h">
            Acknowledge
          </button>
        )}
        {taken && <span role="status">Acknowledged: quiet for 4 h.</span>}
        {write && (
          <button class={broken && !taken ? '' : 'main'} disabled={busy} onClick={runAll} title="Run now from all places (w)">
            {busy ? 'Running …' : placesOf(c).length > 1 ? 'Run now from all places' : 'Run now'}
          </button>
        )}
        {write && (
          <a class="button" href={href(['alerts'], { tab: 'silences', silence: `check=${JSON.stringify(c.name)}` })}>
            Silence
          </a>
        )}
        {write && own && <button onClick={pause}>{isPaused ? 'Resume' : 'Pause'}</button>}
        <a class="button" href={href(['checks', c.id], { edit: '1' })} title={own && write ? 'Edit (e)' : 'See how it is written (e)'}>
          {own && write ? 'Edit' : 'How it is written'}
        </a>
        {write && own && <button onClick={() => setDeleting(true)}>Delete</button>}
        {write && !own && <span class="soft">{c.source === 'builtin' ? 'Built in: read-only.' : 'From vedette.yml: read-only here.'}</span>}
      </div>
      {wrong && (
        <p class="wrong" role="alert">
          {wrong}
        </p>
      )}
      {tries.length > 0 && <Tries tries={tries} close={() => setTries([])} />}
      {deleting && <Delete c={c} close={() => setDeleting(false)} />}
    </>
  );
}

function Delete({ c, close }: { c: Check; close: () => void }) {
  const [wrong, setWrong] = useState('');
  return (
    <Dialog title={`Delete ${c.name}?`} close={close}>
      <p>Its schedule ends at once. The runs and metrics that were kept stay until their time is over.</p>
      {wrong && (
        <p class="wrong" role="alert">
          {wrong}
        </p>
      )}
      <div class="row dialogend">
        <button
          class="main"
          onClick={async () => {
            try {
              await send('DELETE', `/api/v1/checks/${encodeURIComponent(c.id)}`);
              go(href(['checks']));
            } catch (e) {
              setWrong(sentence(e));
            }
          }}
        >
          Delete
        </button>
        <button onClick={close} autofocus>
          Keep it
        </button>
      </div>
    </Dialog>
  );
}

interface PlacePhases {
  location: string;
  parts: Record<PhaseName, (number | null)[]>;
}

/** The phases of each place in a chart of its own, all on the same scale and cursor. */
function PhaseCharts({ check: c, runs, markers }: { check: Check; runs: Run[]; markers: Marker[] }) {
  const r = useSignal(route);
  useSignal(theme);
  const twin = useTwin();
  const range = currentRange();
  const step = Math.max(autoStep(range, 240), Math.min(60, Math.ceil(c.interval_seconds)));
  const key = range.relative || `${range.from}-${range.to}`;
  const query = `sum by (location, phase) (${phaseMetric(c.kind)}${selector(c.name)})`;
  const res = useResource(
    `phases ${c.id} ${key} ${r.params.get('tenant') ?? ''}`,
    async (s) => {
      const w = currentRange();
      const from = Math.floor(w.from / step) * step;
      const to = Math.ceil(w.to / step) * step;
      const { data } = await prom<{ result: PromSeries[] }>('query_range', { query, start: String(from), end: String(to), step: String(step) }, s);
      const times: number[] = [];
      for (let t = from; t <= to; t += step) times.push(t);
      const names = [...new Set(data.result.map((x) => x.metric.location ?? ''))];
      const order = placesOf(c).map((p) => p.location);
      names.sort((a, b) => ((order.indexOf(a) + 1 || 99) - (order.indexOf(b) + 1 || 99)) || a.localeCompare(b));
      let top = 0;
      const places = names.map((location): PlacePhases => {
        const parts = {} as PlacePhases['parts'];
        for (const p of phases) {
          const vals = new Map(data.result.find((x) => x.metric.phase === p && (x.metric.location ?? '') === location)?.values?.map(([t, v]) => [Math.round(t), Number(v)]));
          parts[p] = times.map((t) => vals.get(t) ?? null);
        }
        for (let i = 0; i < times.length; i++) top = Math.max(top, phases.reduce((a, p) => a + (parts[p][i] ?? 0), 0));
        return { location, parts };
      });
      return { times, places, top, from: w.from, to: w.to };
    },
    ['checks'],
    5000,
  );
  const failed = useMemo(() => {
    const out = new Map<string, { t: number; text: string }[]>();
    for (const x of runs) {
      if (x.success) continue;
      const list = out.get(x.location) ?? [];
      list.push({ t: Date.parse(x.start) / 1000, text: x.stage ?? '' });
      out.set(x.location, list);
    }
    return out;
  }, [runs]);
  const at = Number(r.params.get('at'));
  const ticks = useMemo(() => [...markers.map((m) => ({ t: Date.parse(m.at) / 1000, text: m.text })), ...(at ? [{ t: at, text: 'compared' }] : [])], [markers, at]);
  const own = r.params.get('scale') === 'own';
  const zoom = (from: number, to: number) => setParams({ from: String(from), to: String(to), range: '' });
  return (
    <Section
      title="Phases over time"
      note={range.relative ? rangeWords(range.relative) : ''}
      actions={
        <>
          {placesOf(c).length > 1 && !twin.on && (
            <button class="small" onClick={() => setParams({ scale: own ? '' : 'own' }, true)} title="Charts that are read side by side have one scale">
              {own ? 'One scale for all' : 'A scale for each'}
            </button>
          )}
          <a href={href(['explore'], { q: query })}>Explore</a>{' '}
          <button class="small" onClick={twin.toggle} title="Chart or table (t)">
            {twin.on ? 'Charts' : 'Table'}
          </button>
        </>
      }
    >
      <PhaseLegend />
      <Loaded res={res} what="The phases">
        {(d) =>
          !d.places.length ? (
            <div class="empty">No phase was measured in this range. The runs below are kept apart from the metrics and may reach further back.</div>
          ) : twin.on ? (
            <PhaseTable times={d.times} places={d.places} />
          ) : (
            <>
              <div class={`multiples of-${Math.min(3, d.places.length)}`}>
                {d.places.map((p) => {
                  const place = placesOf(c).find((x) => x.location === p.location);
                  const sign = place ? signOfPlace(c, place.state) : 'up';
                  return (
                    <figure key={p.location}>
                      <figcaption>
                        {sign !== 'up' && (
                          <span class={`mark is-${sign}`}>
                            <Shape state={sign} />
                          </span>
                        )}{' '}
                        <strong>{p.location || 'this place'}</strong> {place && place.state !== 'up' && <span class="soft">{place.state}</span>}
                      </figcaption>
                      <LazyChart
                        label={`Phases of ${c.name} from ${p.location}`}
                        times={d.times}
                        lines={phases.map((n, i) => ({ name: n, colour: phaseColours[i]!, values: p.parts[n] }))}
                        from={d.from}
                        to={d.to}
                        top={own ? undefined : d.top}
                        format={(n) => sig3(n * 1000)}
                        unit="ms"
                        stacked
                        height={d.places.length > 1 ? 180 : 220}
                        markers={failed.get(p.location)}
                        ticks={ticks}
                        theme={theme.value}
                        sync="check"
                        onZoom={zoom}
                        onBack={() => history.back()}
                        onPick={(t) => setParams({ at: String(Math.round(t)) }, true)}
                      />
                    </figure>
                  );
                })}
              </div>
              <p class="hint faint">Drag to zoom in, double click to go back, click to compare before and after that time. Triangles are failed runs.</p>
            </>
          )
        }
      </Loaded>
    </Section>
  );
}

function PhaseTable({ times, places }: { times: number[]; places: PlacePhases[] }) {
  const rows = places.flatMap((pl) => times.map((t, i) => ({ t, place: pl.location, v: phases.map((p) => pl.parts[p][i] ?? null) }))).filter((x) => x.v.some((y) => y !== null)).sort((a, b) => b.t - a.t);
  return (
    <Table
      name="twin"
      label="Phases over time"
      rows={rows}
      keyOf={(x) => `${x.t} ${x.place}`}
      plain
      cols={[
        { id: 't', head: `Time, ${zoneName()}`, cell: (x) => stamp(x.t * 1000) },
        { id: 'place', head: 'Place', cell: (x) => x.place },
        ...phases.map((p, i) => ({ id: p, head: p, unit: 'ms', num: true, cell: (x: { v: (number | null)[] }) => (x.v[i] === null ? <span class="faint">–</span> : sig3(x.v[i]! * 1000)) })),
        { id: 'all', head: 'In all', unit: 'ms', num: true, cell: (x) => sig3(x.v.reduce((a: number, b) => a + (b ?? 0), 0) * 1000) },
      ]}
    />
  );
}

/** The states of the range as a strip, and the changes as a list. */
function History({ d }: { d: CheckDetails }) {
  const r = useSignal(route);
  const range = currentRange();
  const changes = d.history ?? [];
  const from = range.from * 1000;
  const to = range.to * 1000;
  const strip = segments(changes, d.check.state, from, Math.min(to, Date.now()));
  const all = r.params.get('changes') === 'all';
  const shown = all ? changes : changes.slice(0, 5);
  const pct = (t: number) => ((t - from) / (to - from)) * 100;
  return (
    <Section title="Changes of state" note={`${range.relative ? rangeWords(range.relative) : 'chosen span'}, times in ${zoneName()}`}>
      <div class="statestrip" role="img" aria-label={strip.map((s) => `${s.state} ${when(s.from)} to ${when(s.to)}`).join('; ')}>
        {strip.map((s) => (
          <span key={s.from} class={`is-${s.state}`} style={{ left: `${pct(s.from)}%`, width: `${Math.max(0.3, pct(s.to) - pct(s.from))}%` }} title={`${s.state}, ${when(s.from)} to ${when(s.to)}`}>
            {pct(s.to) - pct(s.from) > 8 ? s.state : ''}
          </span>
        ))}
      </div>
      <div class="ends faint">
        <span>{when(from)}</span>
        <span>
          {when(to)} {zoneName(to)}
        </span>
      </div>
      {changes.length === 0 ? (
        <div class="empty">No change was recorded yet.</div>
      ) : (
        <ol class="changes">
          {shown.map((c) => (
            <li key={c.at}>
              <span class="num soft">
                <At t={c.at} />
              </span>
              <span class={`mark is-${signOfState(c.to)}`}>
                <Shape state={signOfState(c.to)} />
                <span>{c.to}</span>
              </span>
              <span class="soft changetext">
                {c.text ? dot(c.text) : `From ${c.from} to ${c.to}.`} {c.locations?.length && !c.text ? c.locations.join(', ') : ''}
              </span>
            </li>
          ))}
        </ol>
      )}
      {changes.length > 5 && (
        <button class="link" onClick={() => setParams({ changes: all ? '' : 'all' }, true)}>
          {all ? 'Only the last five' : `All ${changes.length} changes`}
        </button>
      )}
    </Section>
  );
}

function RunTable({ c, all, failedOnly, openKey }: { c: Check; all: Run[]; failedOnly: boolean; openKey: string }) {
  const scale = useMemo(() => {
    const t = all.filter((x) => x.success).map((x) => phaseTotals(x).reduce((a, b) => a + b, 0)).sort((a, b) => a - b);
    return Math.max(1, (t[Math.floor(t.length * 0.95)] ?? 1000) * 1.2);
  }, [all]);
  const http = all.some((x) => x.hops?.some((h) => h.status));
  const steps = all.some((x) => x.steps?.length);
  const marked = all.some((x) => x.late || x.extra || x.maintenance);
  return (
    <Table
      name="runs"
      label={`Runs of ${c.name}`}
      rows={all}
      keyOf={runKey}
      open={(x) => setParams({ run: x.start, from_place: x.location })}
      selected={openKey}
      rowClass={(x) => (x.success ? '' : x.maintenance ? 'dim' : 'breach is-page')}
      empty={failedOnly ? 'No failed run is kept.' : c.state === 'paused' ? 'The check is paused: nothing runs.' : 'No run is kept yet.'}
      cols={[
        {
          id: 'start',
          head: 'Started',
          cell: (x) => (
            <a data-open href={href(['checks', c.id], { run: x.start, from_place: x.location, failed: param('failed'), place: param('place'), at: param('at') })}>
              <At t={x.start} />
            </a>
          ),
        },
        { id: 'place', head: 'From', cell: (x) => x.location },
        { id: 'result', head: 'Result', cell: (x) => (x.success ? <span class="faint">ok</span> : <Mark state={x.maintenance ? 'silenced' : 'page'} word={`${x.stage ?? 'failed'}${x.reason && x.reason !== x.stage ? `: ${x.reason}` : ''}`} />) },
        ...(http ? [{ id: 'status', head: 'Status', num: true, cell: (x: Run) => x.hops?.at(-1)?.status || <span class="faint">–</span> }] : []),
        { id: 'took', head: 'Took', unit: 'ms', num: true, cell: (x) => sig3(x.duration_seconds * 1000) },
        { id: 'phases', head: 'Phases', cls: 'sparkcol', cell: (x) => <PhaseBar ms={phaseTotals(x)} scale={scale} failed={!x.success} width={140} /> },
        steps ? { id: 'steps', head: 'Steps', num: true, cell: (x) => `${x.steps?.filter((s) => s.state === 'ok').length ?? 0}/${x.steps?.length ?? 0}` } : { id: 'hops', head: 'Hops', num: true, cell: (x) => x.hops?.length ?? 0 },
        ...(marked ? [{ id: 'marks', head: 'Marks', cell: (x: Run) => <RunMarks run={x} /> }] : []),
        { id: 'message', head: 'Message', cls: 'note', cell: (x) => <span class="soft" title={x.message}>{x.message}</span> },
      ]}
    />
  );
}

function RunMarks({ run: x }: { run: Run }) {
  const w = [x.late && 'late', x.extra && 'extra', x.maintenance && 'maintenance'].filter(Boolean);
  return w.length ? <span class="soft">{w.join(', ')}</span> : <span class="faint">–</span>;
}

function Written({ d }: { d: CheckDetails }) {
  return (
    <p class="soft">
      The same as data: <a href={`/api/v1/checks/${encodeURIComponent(d.check.id)}`}>this check</a>, <a href={`/api/v1/checks/${encodeURIComponent(d.check.id)}/runs?limit=100`}>its runs</a>, <a href={`/api/v1/checks/${encodeURIComponent(d.check.id)}/history`}>its changes</a>.
    </p>
  );
}
