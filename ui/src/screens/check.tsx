import { useMemo, useState } from 'preact/hooks';
import { getJSON, mayWrite, prom, sentence } from '../base/api.ts';
import { bytes, plural, seconds, sig3, uptime } from '../base/format.ts';
import { useResource } from '../base/resource.ts';
import { href, param, route, setParams } from '../base/router.ts';
import { useSignal } from '../base/signal.ts';
import { autoStep, currentRange, hms, rangeWords, stamp, zoneName } from '../base/time.ts';
import { phases, type Check, type PhaseName, type PromSeries, type Run } from '../base/types.ts';
import { theme } from '../shell.tsx';
import { LazyChart } from '../ui/lazychart.tsx';
import { Ago, At, Labels, Mark } from '../ui/marks.tsx';
import { Copy, Facts, Loaded, Panel, Section, Sentence } from '../ui/parts.tsx';
import { Cells, PhaseBar, PhaseLegend, phaseColours, phaseTotals } from '../ui/spark.tsx';
import { Table } from '../ui/table.tsx';
import { useTwin } from '../ui/twin.ts';
import { certDays, runNow, stateWords } from './checkparts.ts';

export function CheckDetail({ check: c, reload }: { check: Check; reload: () => void }) {
  const r = useSignal(route);
  const failedOnly = r.params.get('failed') === '1';
  const runs = useResource(`runs ${c.id} ${failedOnly}`, (s) => getJSON<{ runs: Run[] | null }>(`/api/v1/checks/${encodeURIComponent(c.id)}/runs?limit=100${failedOnly ? '&failed=1' : ''}`, s).then((x) => x.runs ?? []), ['checks'], 2000);
  const [busy, setBusy] = useState(false);
  const [said, say] = useState('');
  const [older, setOlder] = useState<Run[]>([]);
  const all = [...(runs.data ?? []), ...older.filter((o) => !runs.data?.some((x) => x.start === o.start))];
  const openAt = r.params.get('run');
  const open = openAt ? all.find((x) => x.start === openAt) : undefined;
  const scale = Math.max(1, ...all.map((x) => phaseTotals(x).reduce((a, b) => a + b, 0)));
  const days = certDays(c.last);
  return (
    <div class={open ? 'split' : ''}>
      <div>
        <p class="crumbs">
          <a href={href(['checks'])}>Checks</a> / {c.name}
        </p>
        <Sentence state={c.state === 'down' ? 'page' : c.state === 'unknown' ? 'unknown' : 'ok'} text={stateWords(c)} />
        <div class="toolbar">
          <button
            class="main"
            hidden={!mayWrite()}
            disabled={busy}
            onClick={async () => {
              setBusy(true);
              try {
                say(await runNow(c));
                reload();
                runs.reload();
              } catch (e) {
                say(`The check could not be run. ${sentence(e)}`);
              } finally {
                setBusy(false);
              }
            }}
          >
            {busy ? 'Running …' : 'Run now'}
          </button>
          <a class="mono" href={/^https?:/.test(c.target) ? c.target : undefined} rel="noreferrer noopener" target="_blank">
            {c.target}
          </a>
          {said && <span role="status">{said}</span>}
        </div>
        <Facts
          of={[
            ['uptime 24 h', c.uptime_24h === null ? 'not known' : `${uptime(c.uptime_24h)} % of ${plural(c.runs_24h, 'run')}`],
            ['every', seconds(c.interval_seconds)],
            ['in a row', `${plural(c.consecutive, 'run')} ${c.state === 'down' ? 'failed' : 'alike'}`],
            ['certificate', days === null ? 'none' : `ends in ${Math.floor(days)} d`],
            ['from', c.location],
            ['kind', c.kind],
            ['source', c.source],
            ['labels', <Labels of={c.labels} />],
          ]}
        />
        <Phases check={c} runs={all} />
        <Section
          title="Runs"
          note={`newest first, times in ${zoneName()}`}
          actions={
            <label class="field">
              <input type="checkbox" checked={failedOnly} onChange={(e) => setParams({ failed: e.currentTarget.checked ? '1' : '' }, true)} /> failed only
            </label>
          }
        >
          <div class="cells-big">
            <Cells runs={c.recent ?? []} cell={6} height={24} />
          </div>
          <Loaded res={runs} what="The runs">
            {() => (
              <>
                <Table
                  name="runs"
                  label={`Runs of ${c.name}`}
                  rows={all}
                  keyOf={(x) => x.start}
                  open={(x) => setParams({ run: x.start })}
                  selected={openAt ?? ''}
                  rowClass={(x) => (x.success ? '' : 'breach is-page')}
                  empty={failedOnly ? 'No failed run is kept.' : 'No run is kept yet.'}
                  cols={[
                    {
                      id: 'start',
                      head: 'Started',
                      cell: (x) => (
                        <a data-open href={href(['checks', c.id], { run: x.start, failed: param('failed') })}>
                          <At t={x.start} />
                        </a>
                      ),
                    },
                    { id: 'result', head: 'Result', cell: (x) => (x.success ? <span class="faint">ok</span> : <Mark state="page" word={`${x.stage ?? 'failed'}${x.reason ? `: ${x.reason}` : ''}`} />) },
                    { id: 'status', head: 'Status', num: true, cell: (x) => x.hops?.at(-1)?.status || <span class="faint">–</span> },
                    { id: 'took', head: 'Took', unit: 'ms', num: true, cell: (x) => sig3(x.duration_seconds * 1000) },
                    { id: 'phases', head: 'Phases', cls: 'sparkcol', cell: (x) => <PhaseBar ms={phaseTotals(x)} scale={scale} failed={!x.success} width={180} /> },
                    { id: 'hops', head: 'Hops', num: true, cell: (x) => x.hops?.length ?? 0 },
                    { id: 'message', head: 'Message', cls: 'note', cell: (x) => <span class="soft" title={x.message}>{x.message}</span> },
                  ]}
                />
                {all.length >= 100 && (
                  <p>
                    <button
                      class="small"
                      onClick={async () => {
                        const last = all[all.length - 1]!;
                        const more = await getJSON<{ runs: Run[] | null }>(`/api/v1/checks/${encodeURIComponent(c.id)}/runs?limit=100&before=${encodeURIComponent(last.start)}${failedOnly ? '&failed=1' : ''}`).catch(() => ({ runs: [] }));
                        setOlder([...older, ...(more.runs ?? [])]);
                      }}
                    >
                      Older runs
                    </button>
                  </p>
                )}
              </>
            )}
          </Loaded>
        </Section>
      </div>
      {open && <RunPanel run={open} check={c} />}
    </div>
  );
}

interface PhaseData {
  times: number[];
  parts: Record<PhaseName, (number | null)[]>;
}

function Phases({ check: c, runs }: { check: Check; runs: Run[] }) {
  const r = useSignal(route);
  useSignal(theme);
  const twin = useTwin();
  const range = currentRange();
  const step = Math.max(autoStep(range), Math.min(60, Math.ceil(c.interval_seconds)));
  const key = range.relative || `${range.from}-${range.to}`;
  const query = `sum by (phase) (probe_http_duration_seconds{check=${JSON.stringify(c.name)}})`;
  const res = useResource(
    `phases ${c.id} ${key} ${r.params.get('tenant') ?? ''}`,
    async (s) => {
      const w = currentRange();
      const from = Math.floor(w.from / step) * step;
      const to = Math.ceil(w.to / step) * step;
      const { data } = await prom<{ result: PromSeries[] }>('query_range', { query, start: String(from), end: String(to), step: String(step) }, s);
      const times: number[] = [];
      for (let t = from; t <= to; t += step) times.push(t);
      const parts = {} as PhaseData['parts'];
      for (const p of phases) {
        const vals = new Map(data.result.find((x) => x.metric.phase === p)?.values?.map(([t, v]) => [Math.round(t), Number(v)]));
        parts[p] = times.map((t) => vals.get(t) ?? null);
      }
      return { times, parts, found: data.result.length > 0, from: w.from, to: w.to };
    },
    ['checks'],
    5000,
  );
  const failed = useMemo(() => runs.filter((x) => !x.success).map((x) => ({ t: Date.parse(x.start) / 1000, text: x.stage ?? '' })), [runs]);
  const zoom = (from: number, to: number) => setParams({ from: String(from), to: String(to), range: '' });
  return (
    <Section
      title="Phases over time"
      note={range.relative ? rangeWords(range.relative) : ''}
      actions={
        <>
          <a href={href(['explore'], { q: query })}>Explore</a>{' '}
          <button class="small" onClick={twin.toggle} title="Chart or table (t)">
            {twin.on ? 'Chart' : 'Table'}
          </button>
        </>
      }
    >
      <PhaseLegend />
      <Loaded res={res} what="The phases">
        {(d) =>
          !d.found ? (
            <div class="empty">No phase was measured in this range. The runs below are kept apart from the metrics and may reach further back.</div>
          ) : twin.on ? (
            <PhaseTable d={d} />
          ) : (
            <LazyChart
              label={`Phases of ${c.name}`}
              times={d.times}
              lines={phases.map((p, i) => ({ name: p, colour: phaseColours[i]!, values: d.parts[p] }))}
              from={d.from}
              to={d.to}
              format={(n) => sig3(n * 1000)}
              unit="ms"
              stacked
              height={220}
              markers={failed}
              theme={theme.value}
              sync="check"
              onZoom={zoom}
              onBack={() => history.back()}
            />
          )
        }
      </Loaded>
    </Section>
  );
}

function PhaseTable({ d }: { d: PhaseData }) {
  const rows = d.times.map((t, i) => ({ t, v: phases.map((p) => d.parts[p][i] ?? null) })).filter((x) => x.v.some((y) => y !== null)).reverse();
  return (
    <Table
      name="twin"
      label="Phases over time"
      rows={rows}
      keyOf={(x) => String(x.t)}
      plain
      cols={[
        { id: 't', head: `Time, ${zoneName()}`, cell: (x) => stamp(x.t * 1000) },
        ...phases.map((p, i) => ({ id: p, head: p, unit: 'ms', num: true, cell: (x: { v: (number | null)[] }) => (x.v[i] === null ? <span class="faint">–</span> : sig3(x.v[i]! * 1000)) })),
        { id: 'all', head: 'In all', unit: 'ms', num: true, cell: (x) => sig3(x.v.reduce((a: number, b) => a + (b ?? 0), 0) * 1000) },
      ]}
    />
  );
}

/** One run opened: hops and phases as a waterfall, then what went wrong. */
function RunPanel({ run, check }: { run: Run; check: Check }) {
  const hops = run.hops ?? [];
  const total = Math.max(run.duration_seconds, hops.reduce((s, h) => s + phases.reduce((a, p) => a + (h.phases?.[p]?.seconds ?? 0), 0), 0)) || 1;
  let at = 0;
  const t = Date.parse(run.start);
  return (
    <Panel title={`Run of ${hms(t)} ${zoneName(t)}`} close={() => setParams({ run: '' })} back={run.start}>
      <p>
        {run.success ? (
          <>Ok in {seconds(run.duration_seconds)}.</>
        ) : (
          <>
            <Mark state="page" word={`Failed at ${run.stage || 'an unknown stage'}${run.reason ? ` (${run.reason})` : ''}`} />
            {run.message && <> {run.message.replace(/\.?$/, '.')}</>}
          </>
        )}
      </p>
      <ol class="waterfall">
        {hops.map((h, n) => (
          <li key={n}>
            <div class="hop-head">
              <span class="mono">{h.url}</span>
              <span class="soft">
                {[h.address, h.status ? `${h.proto ?? ''} ${h.status}`.trim() : 'no reply', bytes(h.bytes), h.location ? `to ${h.location}` : ''].filter(Boolean).join(', ')}
              </span>
            </div>
            {phases.map((p, i) => {
              const ph = h.phases?.[p] ?? { state: 'not_reached', seconds: 0 };
              const left = (at / total) * 100;
              const width = (ph.seconds / total) * 100;
              at += ph.seconds;
              return (
                <div class={`wf is-${ph.state}`} key={p}>
                  <span class="wf-name">{p}</span>
                  <span class="wf-track">
                    {ph.state === 'done' || ph.state === 'failed' ? <span class="wf-bar" style={{ left: `${Math.min(99.5, left)}%`, width: `max(2px, ${width}%)`, background: phaseColours[i] }} /> : null}
                  </span>
                  <span class="wf-time num">{ph.state === 'done' ? seconds(ph.seconds) : ph.state === 'failed' ? `failed, ${seconds(ph.seconds)}` : ph.state === 'skipped' ? 'none' : 'not reached'}</span>
                </div>
              );
            })}
          </li>
        ))}
      </ol>
      {!hops.length && <p class="soft">No request was made.</p>}
      <Facts
        of={[
          ['took', seconds(run.duration_seconds)],
          ['started late by', seconds(run.lag_seconds)],
          ['from', run.location],
          ['ago', <Ago t={run.start} />],
          ...(run.trace_id ? ([['trace', <span class="mono">{run.trace_id}</span>]] as [string, preact.JSX.Element][]) : []),
        ]}
      />
      {hops.some((h) => h.tls) && (
        <>
          <h3>Certificate</h3>
          {hops.map(
            (h, n) =>
              h.tls && (
                <Facts
                  key={n}
                  of={[
                    ['subject', h.tls.subject],
                    ['issuer', h.tls.issuer],
                    ['ends', `${stamp(Date.parse(h.tls.not_after), false)} ${zoneName(Date.parse(h.tls.not_after))}`],
                    ['TLS', `${h.tls.version}, ${h.tls.cipher}${h.tls.alpn ? `, ${h.tls.alpn}` : ''}`],
                    ['names', (h.tls.names ?? []).join(', ') || 'none'],
                  ]}
                />
              ),
          )}
        </>
      )}
      {run.reply && (
        <>
          <div class="panel-head">
            <h3>Reply</h3>
            <Copy text={run.reply} what="reply" />
          </div>
          <pre class="reply" tabIndex={0}>
            {run.reply}
          </pre>
        </>
      )}
      <p class="soft">
        The same as data: <a href={`/api/v1/checks/${encodeURIComponent(check.id)}/runs?limit=100`}>runs as JSON</a>
      </p>
    </Panel>
  );
}
