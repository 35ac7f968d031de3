import type { ComponentType } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import { getJSON, session } from '../base/api.ts';
import { count, percent, sig3 } from '../base/format.ts';
import { useResource } from '../base/resource.ts';
import { go, href, route, setParams } from '../base/router.ts';
import { useSignal } from '../base/signal.ts';
import { Mark } from '../ui/marks.tsx';
import { Loaded, Problem, Section, Sentence, Snippet, Waiting } from '../ui/parts.tsx';
import { Spark } from '../ui/spark.tsx';
import { Table, type Column } from '../ui/table.tsx';
import { idOf, kindNames, kinds, listSentence, type Entity, type Kind } from './signalsdata.ts';

interface List {
  entities: Entity[];
  times: number[];
  error?: string;
}

export default function SignalsScreen() {
  const r = useSignal(route);
  const kind = kinds.find((k) => k === r.path[1]);
  const id = r.params.getAll('id');
  if (kind && id.length) return <One kind={kind} id={id} key={`${kind} ${id.join()}`} />;
  return <All />;
}

type OneProps = { kind: Kind; id: string[] };

/** The page of one comes in a file of its own, with its charts. */
function One(p: OneProps) {
  const [got, set] = useState<{ C: ComponentType<OneProps> } | null>(null);
  const [error, setError] = useState<unknown>(null);
  useEffect(() => {
    import('./signal.tsx').then((m) => set({ C: m.default }), setError);
  }, []);
  if (error) return <Problem what="This part of Signals could not be loaded." error="The server may have been replaced or stopped" reload={() => location.reload()} />;
  return got ? <got.C {...p} /> : <Waiting what="Signals" />;
}

function All() {
  const res = useResource<List>('signals', (s) => getJSON<List>('/api/v1/signals', s), ['now', 'checks'], 10000);
  return (
    <Loaded screen res={res} what="The signals">
      {(d) => <View d={d} />}
    </Loaded>
  );
}

function View({ d }: { d: List }) {
  const r = useSignal(route);
  const find = (r.params.get('find') ?? '').toLowerCase();
  const only = kinds.find((k) => k === r.params.get('kind'));
  const all = d.entities ?? [];
  const s = listSentence(all);
  const shown = all.filter((e) => (!only || e.kind === only) && (!find || [e.name, ...e.sources, ...Object.values(e.labels)].some((x) => x.toLowerCase().includes(find))));
  return (
    <>
      <Sentence state={s.state} text={s.text} />
      {d.error && <Problem what="Some figures could not be computed." error={d.error} />}
      {all.length > 0 && (
        <div class="toolbar">
          <input class="find" type="search" aria-label="Find by name or source" placeholder="find by name or source" value={r.params.get('find') ?? ''} onInput={(e) => setParams({ find: e.currentTarget.value }, true)} />
          <span class="seg kinds" role="group" aria-label="Kind">
            <button aria-pressed={!only} onClick={() => setParams({ kind: '' }, true)}>
              All
            </button>
            {kinds
              .filter((k) => all.some((e) => e.kind === k))
              .map((k) => (
                <button key={k} aria-pressed={only === k} onClick={() => setParams({ kind: only === k ? '' : k }, true)}>
                  {kindNames[k][1]}
                </button>
              ))}
          </span>
        </div>
      )}
      {kinds.map((k) => {
        const rows = shown.filter((e) => e.kind === k);
        return rows.length > 0 && <KindTable key={k} kind={k} rows={rows} />;
      })}
      {all.length > 0 && !shown.length && <div class="empty">Nothing that reports is named so.</div>}
      {all.every((e) => e.sources.every((x) => x === 'Vedette') || e.kind === 'host') && <Teach some={all.length > 0} />}
    </>
  );
}

const dash = <span class="faint">–</span>;

function KindTable({ kind, rows }: { kind: Kind; rows: Entity[] }) {
  const has = (f: (e: Entity) => unknown) => rows.some((e) => f(e) !== null);
  const hot = (e: Entity, part: string) => (e.state !== 'ok' && e.text.includes(part) ? `hot is-${e.state}` : '');
  const link = (e: Entity) => href(['signals', e.kind], { id: idOf(e.labels) });
  const cols: (Column<Entity> | false)[] = [
    {
      id: 'name',
      head: kindNames[kind][0][0]!.toUpperCase() + kindNames[kind][0].slice(1),
      cls: 'wide',
      by: (e) => e.name,
      cell: (e) => (
        <a class="name" data-open href={link(e)} title={idOf(e.labels).join(', ')}>
          {e.name}
        </a>
      ),
    },
    { id: 'state', head: 'State', by: (e) => ['page', 'warning', 'ok'].indexOf(e.state), cell: (e) => (e.state === 'ok' ? <span class="faint">ok</span> : <Mark state={e.state} />) },
    has((e) => e.rate) && { id: 'rate', head: kind === 'queue' ? 'Taken' : kind === 'database' ? 'Operations' : 'Requests', unit: '/s', num: true, by: (e) => e.rate, cell: (e) => (e.rate === null ? dash : sig3(e.rate)) },
    has((e) => e.rate) && { id: 'rate1h', head: <span class="sr">The same, last hour</span>, cls: 'sparkcol', cell: (e) => <Spark values={e.spark} /> },
    has((e) => e.error_ratio) && { id: 'errors', head: 'Errors', unit: '%', num: true, by: (e) => e.error_ratio, cell: (e) => (e.error_ratio === null ? dash : <span class={hot(e, 'fail')}>{sig3(e.error_ratio * 100)}</span>) },
    has((e) => e.p99) && { id: 'p99', head: 'p99', unit: 'ms', num: true, by: (e) => e.p99, cell: (e) => (e.p99 === null ? dash : sig3(e.p99 * 1000)) },
    has((e) => e.depth) && { id: 'depth', head: 'Waiting', num: true, by: (e) => e.depth, cell: (e) => (e.depth === null ? dash : <span class={hot(e, 'wait')}>{count(e.depth)}</span>) },
    has((e) => e.saturation) && {
      id: 'saturation',
      head: 'Of the limit',
      title: 'The fullest of what has a limit, and what it is',
      num: true,
      by: (e) => e.saturation,
      cell: (e) => (e.saturation === null ? dash : <span class={hot(e, 'of the limit')}>{percent(e.saturation)}</span>),
    },
    has((e) => e.saturation) && { id: 'of', head: <span class="sr">What is fullest</span>, cls: 'hide-narrow', cell: (e) => <span class="soft">{e.saturation_of}</span> },
    { id: 'source', head: 'Told by', cls: 'note', by: (e) => e.sources[0] ?? '', cell: (e) => <span class="soft">{e.sources.join(', ')}</span> },
  ];
  return (
    <Section title={kindNames[kind][1]} note={`${rows.length.toLocaleString('en-GB')}${has((e) => e.rate) ? '; small lines are the last hour' : ''}`}>
      <Table
        name={kind}
        label={kindNames[kind][1]}
        rows={[...rows].sort((a, b) => ['page', 'warning', 'ok'].indexOf(a.state) - ['page', 'warning', 'ok'].indexOf(b.state))}
        cols={cols.filter((c): c is Column<Entity> => c !== false)}
        keyOf={(e) => idOf(e.labels).join()}
        open={(e) => go(link(e))}
        rowClass={(e) => (e.state === 'ok' ? '' : `breach is-${e.state}`)}
      />
    </Section>
  );
}

/** How a service comes to report: nothing is set up here, it only has to send. */
function Teach({ some }: { some: boolean }) {
  const origin = location.origin;
  const auth = session.value?.auth;
  return (
    <Section title={some ? 'Make a service report' : 'What makes this list fill'} note="nothing is set up: whatever reports under a name that is known appears within a minute">
      <div class="teach">
        <Snippet title="A Go service, two lines" text={`m := instrument.New(instrument.Config{Service: "checkout"})\nhttp.ListenAndServe(":8080", golden.Handler(m, mux))`}>
          Packages <code>instrument</code> and <code>instrument/golden</code> of <code>github.com/vedette-sre/vedette</code>; one exporter of <code>instrument/export</code> sends it here, or is scraped.
        </Snippet>
        <Snippet
          title="Any OpenTelemetry SDK or collector"
          text={`export OTEL_EXPORTER_OTLP_METRICS_PROTOCOL=http/protobuf\nexport OTEL_EXPORTER_OTLP_METRICS_ENDPOINT=${origin}/api/v1/otlp/v1/metrics${auth ? '\nexport OTEL_EXPORTER_OTLP_HEADERS="Authorization=Bearer%20YOUR-TOKEN"' : ''}`}
        >
          HTTP and RPC servers, hosts by the collector's hostmetrics.
        </Snippet>
        <Snippet title="Scrape it" text={`# prometheus.yml, named in vedette.yml by prometheus: prometheus.yml\nscrape_configs:\n  - job_name: shop\n    static_configs:\n      - targets: [${location.hostname}:8080]`}>
          Client libraries of Prometheus, Micrometer, gRPC middleware; exporters of hosts, PostgreSQL, MySQL, Redis, Kafka, RabbitMQ; Envoy, ingress-nginx, Traefik, HAProxy.
        </Snippet>
      </div>
    </Section>
  );
}
