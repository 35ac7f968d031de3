import { getJSON, prom, session } from '../base/api.ts';
import { byteRate, bytes, percent, plural, sig3, age } from '../base/format.ts';
import { useResource } from '../base/resource.ts';
import { carry, go, href, route, setParams } from '../base/router.ts';
import { useSignal } from '../base/signal.ts';
import { hm, whenMinute, zoneName } from '../base/time.ts';
import type { Location, Now, PromSeries, Service, State, Window } from '../base/types.ts';
import { useTwin } from '../ui/twin.ts';
import { Ago, At, Mark, Shape } from '../ui/marks.tsx';
import { Facts, Loaded, Panel, Section, Sentence, Snippet } from '../ui/parts.tsx';
import { Spark } from '../ui/spark.tsx';
import { Table, type Column } from '../ui/table.tsx';

export default function NowScreen() {
  const res = useResource('now', (s) => getJSON<Now>('/api/v1/now', s), ['now', 'alerts', 'checks']);
  return <Loaded screen res={res} what="The present state">{(d) => <View d={d} />}</Loaded>;
}

const ms = (s: number | null) => (s === null ? <span class="faint">–</span> : sig3(s * 1000));
const mib = (b: number | null) => (b === null ? <span class="faint">–</span> : sig3(b / 1048576));
const or = (n: number | null) => (n === null ? <span class="faint">–</span> : sig3(n));

function columns(): Column<Service>[] {
  return [
    {
      id: 'service',
      head: 'Service',
      cls: 'wide',
      by: (s) => s.name,
      cell: (s) => (
        <a class="name" data-open href={href(['now'], { service: s.name })} title={s.name}>
          {s.name}
        </a>
      ),
    },
    { id: 'state', head: 'State', by: (s) => ['page', 'warning', 'unknown', 'ok'].indexOf(s.state), cell: (s) => (s.state === 'ok' ? <span class="faint">ok</span> : <Mark state={s.state} />) },
    {
      id: 'up',
      head: 'Up',
      num: true,
      title: 'Targets that answer, of all',
      by: (s) => (s.targets_total ? s.targets_up / s.targets_total : null),
      cell: (s) => (s.targets_total ? <span class={s.targets_up < s.targets_total ? 'hot is-' + (s.state === 'ok' ? 'warning' : s.state) : ''}>{`${s.targets_up}/${s.targets_total}`}</span> : <span class="faint">–</span>),
    },
    { id: 'rps', head: 'Requests', unit: '/s', num: true, by: (s) => s.rps, cell: (s) => or(s.rps) },
    { id: 'rps1h', head: <span class="sr">Requests, last hour</span>, cls: 'sparkcol', cell: (s) => <Spark values={s.spark?.rps} /> },
    { id: 'errors', head: 'Errors', unit: '%', num: true, by: (s) => s.error_ratio, cell: (s) => (s.error_ratio === null ? <span class="faint">–</span> : sig3(s.error_ratio * 100)) },
    { id: 'p50', head: 'p50', unit: 'ms', num: true, by: (s) => s.p50, cell: (s) => ms(s.p50) },
    { id: 'p99', head: 'p99', unit: 'ms', num: true, by: (s) => s.p99, cell: (s) => ms(s.p99) },
    { id: 'p991h', head: <span class="sr">p99, last hour</span>, cls: 'sparkcol', cell: (s) => <Spark values={s.spark?.p99} /> },
    { id: 'cpu', head: 'CPU', unit: 'cores', num: true, by: (s) => s.cpu, cell: (s) => or(s.cpu) },
    { id: 'memory', head: 'Memory', unit: 'MiB', num: true, by: (s) => s.memory, cell: (s) => mib(s.memory) },
    { id: 'alerts', head: 'Alerts', num: true, by: (s) => s.alerts, cell: (s) => (s.alerts ? <a href={href(['alerts'], { find: s.name })}>{s.alerts}</a> : <span class="faint">0</span>) },
    { id: 'note', head: 'Note', cls: 'note', cell: (s) => <span class="soft">{s.note || (s.kind !== 'service' ? (s.kind === 'self' ? 'Vedette itself' : s.kind) : '')}</span> },
  ];
}

/** Samples that came in since the start by a protocol, all its versions together. */
function arrived(d: Now, protocol: string): number {
  return Object.entries(d.arrived ?? {}).reduce((n, [k, v]) => (k.startsWith(protocol) ? n + v : n), 0);
}

function View({ d }: { d: Now }) {
  const r = useSignal(route);
  const services = d.services ?? [];
  const breaches = d.breaches ?? [];
  const alone = services.every((s) => s.kind === 'self') && !arrived(d, 'remote_write') && !arrived(d, 'otlp') && !arrived(d, 'scrape');
  const chosen = services.find((s) => s.name === r.params.get('service'));
  return (
    <div class={chosen ? 'split' : ''}>
      <div>
        <Sentence state={d.state} text={d.sentence} />
        {breaches.length > 0 && (
          <Section title="Breaches" note={`worst first, since in ${zoneName()}`}>
            <Table
              name="breach"
              stack
              label="Breaches, worst first"
              rows={breaches}
              keyOf={(b) => b.id}
              open={(b) => {
                const l = carry(b.link);
                if (l?.startsWith('#')) go(l);
              }}
              cols={[
                { id: 'severity', head: 'Severity', cls: 'sev', cell: (b) => <Mark state={b.severity as State} /> },
                {
                  id: 'name',
                  head: 'What',
                  cls: 'wide',
                  cell: (b) => (
                    <a class="name" data-open href={carry(b.link) ?? href(['alerts'])}>
                      {b.name}
                    </a>
                  ),
                },
                { id: 'text', head: 'Why', cls: 'why', cell: (b) => b.text },
                { id: 'kind', head: 'Kind', cls: 'hide-narrow', cell: (b) => <span class="soft">{b.kind}</span> },
                { id: 'since', head: 'Since', num: true, cls: 'hide-narrow', cell: (b) => <At t={b.since} /> },
                { id: 'for', head: 'For', num: true, cls: 'end', cell: (b) => <Ago t={b.since} /> },
              ]}
            />
          </Section>
        )}
        <Section title="Services" note={services.length ? `${services.length.toLocaleString('en-GB')}, breaches first; small lines are the last hour` : undefined}>
          <Table
            name="main"
            label="Services"
            rows={services}
            cols={columns()}
            keyOf={(s) => s.name}
            open={(s) => setParams({ service: s.name })}
            selected={chosen?.name ?? ''}
            rowClass={(s) => (s.state === 'ok' ? '' : `breach is-${s.state}`)}
            empty="No service reports yet. What to paste stands below; this table fills by itself."
          />
        </Section>
        {alone && <Teach d={d} />}
        <ByPlace />
        <Strips d={d} />
      </div>
      {chosen && <ServicePanel s={chosen} />}
    </div>
  );
}

interface PlaceCount {
  l: Location;
  runs: number | null;
  failing: number;
}

/** Checks by the place that runs them, and the maintenance in force. Nothing where there is one place and none. */
function ByPlace() {
  const res = useResource<{ places: PlaceCount[]; windows: Window[] }>(
    'places of now',
    async (s) => {
      const counted = (q: string) => prom<{ result: PromSeries[] }>('query', { query: q }, s).then((x) => new Map(x.data.result.map((y) => [y.metric.location ?? '', Number(y.value?.[1])])), () => new Map<string, number>());
      const [locations, windows, all, bad] = await Promise.all([
        getJSON<{ locations: Location[] | null }>('/api/v1/locations', s).then((x) => x.locations ?? [], () => []),
        getJSON<{ windows: Window[] | null }>('/api/v1/maintenance', s).then((x) => x.windows ?? [], () => []),
        counted('count by (location) (probe_success{check!=""})'),
        counted('count by (location) (probe_success{check!=""} == 0)'),
      ]);
      return { windows: windows.filter((w) => w.active), places: locations.map((l) => ({ l, runs: all.get(l.name) ?? null, failing: bad.get(l.name) ?? 0 })) };
    },
    ['checks'],
    5000,
  );
  const { places = [], windows = [] } = res.data ?? {};
  if (places.length < 2 && !windows.length) return null;
  return (
    <Section title="Checks by place" note={<a href={href(['checks'])}>checks and places</a>}>
      {windows.map((w) => (
        <p class="strip" key={w.id}>
          <Shape state="maintenance" /> Maintenance: <a href={href(['checks'], { tab: 'maintenance' })}>{w.name}</a>
          {(w.next_end ?? w.end) ? ` until ${whenMinute(Date.parse((w.next_end ?? w.end)!))} ${zoneName()}` : ''}.
        </p>
      ))}
      {places.length > 1 && (
        <Table
          name="places"
          label="Checks by place"
          rows={places}
          keyOf={(p) => p.l.name}
          open={() => go(href(['checks'], { tab: 'places' }))}
          rowClass={(p) => (p.l.state === 'silent' ? 'breach is-unknown' : '')}
          cols={[
            { id: 'place', head: 'Place', cls: 'wide', cell: (p) => <a class="name" data-open href={href(['checks'], { tab: 'places' })}>{p.l.name}</a> },
            { id: 'state', head: 'State', cell: (p) => (p.l.state === 'silent' ? <Mark state="unknown" word="silent" /> : p.l.state === 'up' ? <span class="faint">heard</span> : <Mark state="silenced" word={p.l.state === 'never' ? 'never heard' : p.l.state} />) },
            { id: 'checks', head: 'Checks', num: true, cell: (p) => p.l.checks.toLocaleString('en-GB') },
            { id: 'failing', head: 'Failing now', num: true, cell: (p) => (p.failing ? <span class="hot is-warning"><Shape state="warning" /> {p.failing}</span> : p.runs === null ? <span class="faint">–</span> : <span class="faint">0</span>) },
            { id: 'seen', head: 'Last heard', unit: 'ago', num: true, cell: (p) => (p.l.name === 'hub' ? <span class="faint">this server</span> : <Ago t={p.l.last_seen} />) },
            { id: 'spooled', head: 'Results to come', num: true, cell: (p) => (p.l.spooled ? p.l.spooled.toLocaleString('en-GB') : <span class="faint">0</span>) },
            { id: 'note', head: <span class="sr">Note</span>, cls: 'note', cell: (p) => <span class="soft">{Math.abs(p.l.clock_skew_seconds) >= 1 ? `its clock is off by ${sig3(p.l.clock_skew_seconds)} s` : ''}</span> },
          ]}
        />
      )}
    </Section>
  );
}

function Strips({ d }: { d: Now }) {
  const h = d.host;
  const c = d.checks;
  return (
    <div class="strips">
      <Section title="Checks" note={<a href={href(['checks'])}>all checks</a>}>
        <Facts
          of={[
            ['up', c.up.toLocaleString('en-GB')],
            ['down', c.down ? <span class="hot is-page">{c.down}</span> : '0'],
            ['unknown', c.unknown ? <span class="hot is-unknown">{c.unknown}</span> : '0'],
            ['in all', c.total.toLocaleString('en-GB')],
          ]}
        />
      </Section>
      {h && (
        <Section title="Host" note={h.name}>
          <Facts
            of={[
              ['CPU', <Gauge text={percent(h.cpu)} values={h.spark?.cpu} max={1} />],
              ['memory', <Gauge text={percent(h.memory)} values={h.spark?.memory} max={1} />, `${bytes(h.memory_bytes)} of ${bytes(h.memory_total)}`],
              ['disk', `${percent(h.disk)}, ${bytes(h.disk_free)} free`],
              ['received', <Gauge text={byteRate(h.net_rx)} values={h.spark?.net_rx} />],
              ['sent', <Gauge text={byteRate(h.net_tx)} values={h.spark?.net_tx} />],
              ['load, 1 min', sig3(h.load1)],
              ['running for', age(h.uptime_seconds)],
            ]}
          />
        </Section>
      )}
      <Section title="Vedette itself" note={<a href={href(['itself'])}>more</a>}>
        <Facts
          of={[
            ['CPU', d.self.cpu === null ? '–' : `${sig3(d.self.cpu)} cores`],
            ['memory', bytes(d.self.memory)],
            ['series', d.self.series.toLocaleString('en-GB')],
            ['samples', d.self.samples_per_second === null ? '–' : `${sig3(d.self.samples_per_second)} /s`],
            ['goroutines', d.self.goroutines.toLocaleString('en-GB')],
            ['running for', age(d.self.uptime_seconds)],
          ]}
        />
      </Section>
    </div>
  );
}

function Gauge({ text, values, max }: { text: string; values?: (number | null)[] | null; max?: number }) {
  return (
    <>
      {values && values.length > 1 && <Spark values={values} max={max} width={56} height={14} />} {text}
    </>
  );
}

function ServicePanel({ s }: { s: Service }) {
  const twin = useTwin();
  const times = s.spark?.times ?? [];
  const rps = s.spark?.rps ?? [];
  const p99 = s.spark?.p99 ?? [];
  return (
    <Panel title={s.name} close={() => setParams({ service: '' })} back={s.name}>
      <p>
        {s.state === 'ok' ? 'No breach.' : <Mark state={s.state} />} {s.note}
      </p>
      <Facts
        of={[
          ['requests', s.rps === null ? 'not known' : `${sig3(s.rps)} /s`],
          ['errors', s.error_ratio === null ? 'not known' : percent(s.error_ratio)],
          ['p50', s.p50 === null ? 'not known' : `${sig3(s.p50 * 1000)} ms`],
          ['p99', s.p99 === null ? 'not known' : `${sig3(s.p99 * 1000)} ms`],
          ['targets up', `${s.targets_up} of ${s.targets_total}`],
          ['memory', s.memory === null ? 'not known' : bytes(s.memory)],
        ]}
      />
      {times.length > 1 &&
        (twin.on ? (
          <table class="twin">
            <caption>Last hour</caption>
            <thead>
              <tr>
                <th scope="col">Time, {zoneName()}</th>
                <th scope="col" class="num">
                  Requests <span class="unit">/s</span>
                </th>
                <th scope="col" class="num">
                  p99 <span class="unit">ms</span>
                </th>
              </tr>
            </thead>
            <tbody>
              {times.map((t, i) => (
                <tr key={t}>
                  <th scope="row">{hm(t * 1000)}</th>
                  <td class="num">{sig3(rps[i])}</td>
                  <td class="num">{p99[i] === null || p99[i] === undefined ? '–' : sig3(p99[i]! * 1000)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        ) : (
          <>
            <Figure title="Requests" unit="/s" values={rps} times={times} scale={1} />
            <Figure title="p99" unit="ms" values={p99} times={times} scale={1000} />
          </>
        ))}
      {times.length > 1 && (
        <p>
          <button class="small" onClick={twin.toggle} title="Chart or table (t)">
            {twin.on ? 'Show charts' : 'Show as table'}
          </button>
        </p>
      )}
      <ul class="links">
        <li>
          <a href={href(['explore'], { q: `up{job="${s.name}"}` })}>Targets in Explore</a>
        </li>
        <li>
          <a href={href(['explore'], { q: `count by (__name__) ({job="${s.name}"})`, view: 'table', mode: 'instant' })}>All its metrics</a>
        </li>
        <li>
          <a href={href(['alerts'], { find: s.name })}>Its alerts</a>
        </li>
      </ul>
    </Panel>
  );
}

function Figure({ title, unit, values, times, scale }: { title: string; unit: string; values: (number | null)[]; times: number[]; scale: number }) {
  const nums = values.filter((v): v is number => v !== null && Number.isFinite(v)).map((v) => v * scale);
  if (!nums.length) return null;
  return (
    <figure class="figure">
      <figcaption>
        {title} <span class="unit">{unit}</span>
        <span class="soft num">
          {' '}
          max {sig3(Math.max(...nums))}, last {sig3(nums[nums.length - 1])}
        </span>
      </figcaption>
      <Spark values={values} width={320} height={56} label={`${title} over the last hour, at most ${sig3(Math.max(...nums))} ${unit}`} />
      <div class="ends faint">
        <span>{hm(times[0]! * 1000)}</span>
        <span>
          {hm(times[times.length - 1]! * 1000)} {zoneName()}
        </span>
      </div>
    </figure>
  );
}

/** What to paste so that the table above fills, and what came in so far. */
function Teach({ d }: { d: Now }) {
  const origin = location.origin;
  const auth = session.value?.auth;
  const cred = auth ? '\n    authorization:\n      credentials: YOUR-TOKEN' : '';
  const got = (n: number) => (n > 0 ? `${plural(n, 'sample')} so far` : 'nothing yet');
  return (
    <Section title="Make it watch your system" note="each block works as it stands; this part goes away when data comes">
      <div class="teach">
        <Snippet
          title="A Prometheus that you have"
          text={`# prometheus.yml of your Prometheus\nremote_write:\n  - url: ${origin}/api/v1/write${cred}`}
        >
          Remote write 1.0 or 2.0: {got(arrived(d, 'remote_write'))}.
        </Snippet>
        <Snippet
          title="Scrape a service"
          text={`# vedette.yml\nprometheus: prometheus.yml\n\n# prometheus.yml, unchanged from what you may have\nscrape_configs:\n  - job_name: shop\n    static_configs:\n      - targets: [${location.hostname}:8080]`}
        >
          Start with <code>vedette run --config vedette.yml</code>. Scraped: {got(arrived(d, 'scrape'))}.
        </Snippet>
        <Snippet title="Check an address" text={`# vedette.yml\nchecks:\n  - name: front page\n    url: https://${location.hostname}/\n    interval: 30s`}>
          Every phase is timed, from looking up the name to the last byte. {plural(d.checks.total, 'check')} so far.
        </Snippet>
        <Snippet
          title="OpenTelemetry"
          text={`export OTEL_EXPORTER_OTLP_METRICS_PROTOCOL=http/protobuf\nexport OTEL_EXPORTER_OTLP_METRICS_ENDPOINT=${origin}/api/v1/otlp/v1/metrics${auth ? '\nexport OTEL_EXPORTER_OTLP_HEADERS="Authorization=Bearer%20YOUR-TOKEN"' : ''}`}
        >
          OTLP metrics: {got(arrived(d, 'otlp'))}.
        </Snippet>
      </div>
    </Section>
  );
}
