import { useEffect } from 'preact/hooks';
import { getJSON, prom } from '../base/api.ts';
import { age, bytes, count, inDays, percent, plural, seconds, sig3 } from '../base/format.ts';
import { useResource } from '../base/resource.ts';
import { href, route, setParams } from '../base/router.ts';
import { useSignal } from '../base/signal.ts';
import { stamp, zoneName } from '../base/time.ts';
import type { Itself, Pull, State, Target } from '../base/types.ts';
import { Ago, At, Labels, Mark, Shape } from '../ui/marks.tsx';
import { Facts, Loaded, Problem, Section, Sentence } from '../ui/parts.tsx';
import { Table } from '../ui/table.tsx';

export default function ItselfScreen() {
  const section = useSignal(route).params.get('section');
  const res = useResource('itself', (s) => getJSON<Itself>('/api/v1/itself', s), ['now', 'itself', 'config'], 5000);
  const targets = useResource('targets', (s) => prom<{ activeTargets: Target[] | null; droppedTargetCounts?: Record<string, number> | null }>('targets', { state: 'active' }, s).then((x) => x.data), ['now', 'itself', 'config'], 5000);
  // A link may point at one section.
  useEffect(() => {
    if (section && res.data) document.getElementById(section)?.scrollIntoView({ block: 'start' });
  }, [section, !res.data]);
  return (
    <Loaded screen res={res} what="The state of Vedette itself">
      {(d) => (
        <>
          <View d={d} targets={targets.data?.activeTargets ?? []} />
          <Section title="Targets" id="targets" note="what is scraped">
            <Loaded res={targets} what="The targets">{(t) => <Targets all={t.activeTargets ?? []} />}</Loaded>
          </Section>
        </>
      )}
    </Loaded>
  );
}

function long(v: string | number | null | undefined): string {
  if (v === null || v === undefined || v === '') return 'not limited';
  return typeof v === 'number' ? age(v) : v;
}

/** What is wrong with Vedette, worst first; empty when all is well. */
export function troubles(d: Itself, down: number): { state: State; text: string }[] {
  const out: { state: State; text: string }[] = [];
  const st = d.storage;
  if (st.full_in_days !== null && st.full_in_days < 7) out.push({ state: st.full_in_days < 1 ? 'page' : 'warning', text: `the disk is full in ${inDays(st.full_in_days)}` });
  if (!d.config.ok) out.push({ state: 'warning', text: 'the new configuration was refused, the old one runs' });
  if (d.outbox.failed) out.push({ state: 'warning', text: `${plural(d.outbox.failed, 'notification')} did not arrive` });
  if (d.rules.failing) out.push({ state: 'warning', text: `${plural(d.rules.failing, 'rule')} cannot be evaluated` });
  if (down) out.push({ state: 'warning', text: `${plural(down, 'target does', 'targets do')} not answer` });
  const silent = (d.pulls ?? []).filter((p) => p.last && !p.up);
  if (silent.length) out.push({ state: 'warning', text: `${silent.map((p) => p.name).join(', ')} ${silent.length > 1 ? 'give' : 'gives'} no answer` });
  const taken = (d.listeners ?? []).filter((l) => l.state === 'taken');
  if (taken.length) out.push({ state: 'warning', text: `${taken.map((l) => `${l.name} (${l.address})`).join(', ')} could not listen, the address is taken` });
  return out;
}

/** Why a database does not answer, or what it could not tell. */
export function pullTrouble(p: Pull): string {
  if (p.error) return p.error;
  const dropped = Object.entries(p.dropped ?? {}).map(([why, n]) => `${plural(n, 'sample')} left out: ${why}`);
  const faults = Object.entries(p.faults ?? {}).map(([part, why]) => `${part}: ${why}`);
  return [...faults, ...dropped].join('; ');
}

function View({ d, targets }: { d: Itself; targets: Target[] }) {
  const down = targets.filter((t) => t.health === 'down').length;
  const bad = troubles(d, down);
  const st = d.storage;
  const full = st.full_in_days === null ? `no sign of a full disk${st.held_by ? `, ${st.held_by} holds` : ''}` : `disk full in ${inDays(st.full_in_days)}`;
  const p = d.process;
  const hits = (d.limits ?? []).reduce((n, l) => n + l.hits, 0);
  const text = bad.length ? cap(bad.map((b) => b.text).join('; ')) + '.' : `Vedette is well: ${bytes(p.rss)} of memory, ${sig3(p.cpu_percent)} % of a core, ${st.series.toLocaleString('en-GB')} series; ${full}.`;
  return (
    <>
      <Sentence state={bad[0] ? (bad.some((b) => b.state === 'page') ? 'page' : 'warning') : 'ok'} text={text} />
      {d.config.error && <Problem state="warning" what="Configuration:" error={d.config.error} />}
      <div class="columns">
        <Section title="Process">
          <Facts
            of={[
              ['version', `${p.version}${p.revision ? `, ${p.revision.slice(0, 10)}` : ''}`],
              ['built with', p.go],
              ['process id', p.pid],
              ['started', <At t={p.started_at} zone />],
              ['running for', age(p.uptime_seconds)],
              ['CPU', `${sig3(p.cpu_percent)} % of a core`],
              ['CPU used', seconds(p.cpu_seconds)],
              ['memory', bytes(p.rss)],
              ['heap', bytes(p.heap)],
              ['goroutines', p.goroutines.toLocaleString('en-GB')],
            ]}
          />
        </Section>
        <Section title="Storage" id="storage" note={full} actions={<a href={href(['cardinality'])}>what the series are</a>}>
          <Facts
            of={[
              ['series', st.series.toLocaleString('en-GB')],
              ['chunks', st.chunks.toLocaleString('en-GB')],
              ['write-ahead log', bytes(st.wal_bytes)],
              ['blocks', `${st.blocks}, ${bytes(st.blocks_bytes)}`],
              ['oldest', <At t={st.oldest} zone />],
              ['newest', <At t={st.newest} zone />],
              ['kept for', long(st.retention)],
              ['size limit', st.size_limit ? bytes(st.size_limit) : 'none'],
              ['late samples taken', long(st.out_of_order_window)],
              ['disk free', st.disk_total ? `${bytes(st.disk_free)} of ${bytes(st.disk_total)} (${percent(st.disk_free / st.disk_total)})` : bytes(st.disk_free)],
            ]}
          />
        </Section>
        <Section title="Configuration" id="config" note={d.config.path || 'none: built-in defaults'}>
          <Facts
            of={[
              ['loaded', <At t={d.config.loaded_at} zone />],
              ['state', d.config.ok ? 'in force' : <Mark state="warning" word="the new one was refused" />],
            ]}
          />
          {(d.config.not_served ?? []).length > 0 && (
            <Table
              name="notserved"
              label="Sections that are not served"
              plain
              rows={d.config.not_served!}
              keyOf={(x) => x.section}
              cols={[
                { id: 'section', head: 'Not served', cell: (x) => <span class="mono">{x.section}</span> },
                { id: 'reason', head: 'Reason', cls: 'why', cell: (x) => x.reason },
              ]}
            />
          )}
        </Section>
        <Section title="Rules and telling" id="rules" note={<a href={href(['alerts'], { tab: 'rules' })}>all rules</a>}>
          <Facts
            of={[
              ['rules', `${d.rules.rules} in ${plural(d.rules.groups, 'group')}`],
              ['failing', d.rules.failing ? <Mark state="warning" word={String(d.rules.failing)} /> : '0'],
              ['last evaluation', seconds(d.rules.last_evaluation_seconds)],
              ['outbox waiting', d.outbox.pending],
              ['outbox failed', d.outbox.failed ? <a href={href(['alerts'], { tab: 'outbox', status: 'failed' })}><Mark state="warning" word={String(d.outbox.failed)} /></a> : '0'],
              ['oldest waiting', d.outbox.pending ? age(d.outbox.oldest_pending_seconds) : 'none'],
            ]}
          />
          {(d.rules.slowest ?? []).length > 0 && (
            <Table
              name="slow"
              label="Slowest rule groups"
              plain
              rows={d.rules.slowest!}
              keyOf={(x) => x.file + x.group}
              cols={[
                { id: 'group', head: 'Slowest groups', cls: 'wide', cell: (x) => <span title={x.file}>{x.group}</span> },
                { id: 'took', head: 'Took', unit: 'ms', num: true, cell: (x) => sig3(x.seconds * 1000) },
              ]}
            />
          )}
        </Section>
      </div>
      <Section title="Ingestion" note="since the start">
        <Table
          name="ingestion"
          label="Ingestion by protocol"
          rows={d.ingestion ?? []}
          keyOf={(x) => x.protocol}
          empty="Nothing has come in yet."
          cols={[
            { id: 'protocol', head: 'Protocol', cell: (x) => x.protocol.replace(/_/g, ' ') },
            { id: 'requests', head: 'Requests', num: true, by: (x) => x.requests, cell: (x) => count(x.requests) },
            { id: 'samples', head: 'Samples', num: true, by: (x) => x.samples, cell: (x) => count(x.samples) },
            { id: 'rate', head: 'Samples', unit: '/s', num: true, by: (x) => x.samples_per_second, cell: (x) => sig3(x.samples_per_second) },
            { id: 'rejected', head: 'Rejected', num: true, cell: (x) => count((x.rejected ?? []).reduce((n, y) => n + y.count, 0)) },
            { id: 'why', head: 'Why rejected', cls: 'note', cell: (x) => <span class="soft">{(x.rejected ?? []).filter((y) => y.count).map((y) => `${y.reason} ${count(y.count)}`).join(', ')}</span> },
          ]}
        />
      </Section>
      <Section title="Limits" id="limits" note={hits ? `${plural(hits, 'time')} a limit was hit` : 'none was hit'}>
        <Table
          name="limits"
          label="Limits and how often they were hit"
          rows={[...(d.limits ?? [])].sort((a, b) => Number(b.hits > 0) - Number(a.hits > 0))}
          keyOf={(x) => x.name}
          empty="No limit is set."
          rowClass={(x) => (x.hits ? 'breach is-warning' : '')}
          cols={[
            { id: 'name', head: 'Limit', by: (x) => x.name, cell: (x) => <span class="mono">{x.name}</span> },
            { id: 'value', head: 'Value', num: true, cell: (x) => (typeof x.value === 'number' ? (/bytes/.test(x.name) ? bytes(x.value) : /seconds/.test(x.name) ? seconds(x.value) : count(x.value)) : x.value) },
            { id: 'hits', head: 'Hits', num: true, by: (x) => x.hits, cell: (x) => (x.hits ? <span class="hot is-warning"><Shape state="warning" /> {count(x.hits)}</span> : <span class="faint">0</span>) },
            { id: 'what', head: 'What it does', cls: 'why', cell: (x) => x.what },
          ]}
        />
      </Section>
      {d.pulls?.length ? (
        <Section title="Databases and queues" note="what is asked for its metrics">
          <Table
            name="pulls"
            label="Databases and queues"
            plain
            rows={d.pulls}
            keyOf={(x) => x.name + x.instance}
            empty="None is configured."
            cols={[
              { id: 'name', head: 'Name', cell: (x) => x.name },
              { id: 'kind', head: 'Kind', cell: (x) => <span class="soft">{x.kind}</span> },
              { id: 'state', head: 'State', cell: (x) => (!x.last ? <span class="soft">not asked yet</span> : x.up ? <Mark state="ok" word="answers" /> : <Mark state="warning" word="no answer" />) },
              { id: 'since', head: 'Since', cell: (x) => (x.since ? <Ago t={x.since} /> : null) },
              { id: 'took', head: 'Took', num: true, cell: (x) => (x.last ? seconds(x.seconds) : '') },
              { id: 'samples', head: 'Series', num: true, cell: (x) => count(x.samples) },
              { id: 'what', head: 'What is wrong', cell: (x) => <span class="wrap">{pullTrouble(x)}</span> },
            ]}
          />
        </Section>
      ) : null}
      <div class="columns">
        <Section title="Listeners">
          <Table
            name="listeners"
            label="Listeners"
            plain
            rows={d.listeners ?? []}
            keyOf={(x) => x.name + x.address}
            empty="No listener is reported."
            cols={[
              { id: 'name', head: 'Name', cell: (x) => x.name },
              { id: 'address', head: 'Address', cell: (x) => <span class="mono">{x.address}</span> },
              { id: 'state', head: 'State', cell: (x) => (x.state === 'taken' ? <Mark state="warning" word="taken by another process" /> : <span class="soft">{x.state}</span>) },
            ]}
          />
        </Section>
        <Section title="Tenants">
          <Table
            name="tenants"
            label="Tenants"
            plain
            rows={d.tenants ?? []}
            keyOf={(x) => x.name}
            empty="Only the default tenant."
            cols={[
              { id: 'name', head: 'Tenant', cell: (x) => x.name },
              { id: 'open', head: 'State', cell: (x) => <span class="soft">{x.open ? 'open' : 'closed'}</span> },
              { id: 'series', head: 'Series', num: true, cell: (x) => count(x.series) },
            ]}
          />
        </Section>
      </div>
    </>
  );
}

function cap(s: string): string {
  return s.charAt(0).toUpperCase() + s.slice(1);
}

const rank: Record<string, number> = { down: 0, unknown: 1, up: 2 };

function Targets({ all }: { all: Target[] }) {
  const r = useSignal(route);
  const find = (r.params.get('find') ?? '').toLowerCase();
  const rows = all
    .filter((t) => !find || `${t.scrapePool} ${t.scrapeUrl} ${Object.values(t.labels).join(' ')} ${t.lastError} ${t.health}`.toLowerCase().includes(find))
    .sort((a, b) => (rank[a.health] ?? 1) - (rank[b.health] ?? 1) || a.scrapePool.localeCompare(b.scrapePool) || a.scrapeUrl.localeCompare(b.scrapeUrl));
  return (
    <>
      {all.length > 0 && (
        <div class="toolbar">
          <input class="find" type="search" placeholder="Filter" aria-label="Filter targets" value={r.params.get('find') ?? ''} onInput={(e) => setParams({ find: e.currentTarget.value }, true)} />
          <span class="soft">
            {plural(all.length, 'target')}, {all.filter((t) => t.health === 'up').length.toLocaleString('en-GB')} up
          </span>
        </div>
      )}
      <Table
        name="main"
        label="Targets"
        rows={rows}
        keyOf={(t) => `${t.scrapePool} ${t.scrapeUrl} ${t.labels.instance ?? ''}`}
        rowClass={(t) => (t.health === 'down' ? 'breach is-warning' : '')}
        empty={all.length ? 'No target matches the filter.' : 'No target is scraped. Name a prometheus.yml with scrape_configs in vedette.yml, and its targets stand here with their last error.'}
        cols={[
          { id: 'job', head: 'Job', cls: 'wide', by: (t) => t.scrapePool, cell: (t) => <a class="name" data-open href={href(['explore'], { q: `up{job=${JSON.stringify(t.labels.job ?? t.scrapePool)}}` })}>{t.scrapePool}</a> },
          { id: 'health', head: 'State', by: (t) => rank[t.health] ?? 1, cell: (t) => (t.health === 'up' ? <span class="faint">up</span> : <Mark state={t.health === 'down' ? 'warning' : 'unknown'} word={t.health} />) },
          { id: 'url', head: 'Address', cls: 'note', by: (t) => t.scrapeUrl, cell: (t) => <span class="mono" title={t.scrapeUrl}>{t.scrapeUrl}</span> },
          { id: 'error', head: 'Last error', cls: 'why', cell: (t) => t.lastError },
          { id: 'last', head: 'Scraped', unit: 'ago', num: true, by: (t) => Date.parse(t.lastScrape), cell: (t) => <Ago t={t.lastScrape.startsWith('0001') ? null : t.lastScrape} /> },
          { id: 'took', head: 'Took', unit: 'ms', num: true, by: (t) => t.lastScrapeDuration, cell: (t) => sig3(t.lastScrapeDuration * 1000) },
          { id: 'every', head: 'Every', num: true, cell: (t) => t.scrapeInterval ?? '' },
          { id: 'labels', head: 'Labels', cls: 'note', cell: (t) => <Labels of={t.labels} skip={['job', '__name__']} /> },
        ]}
      />
      {rows.length > 0 && <p class="faint">Times are {zoneName()}; loaded {stamp(Date.now()).slice(11)}.</p>}
    </>
  );
}
