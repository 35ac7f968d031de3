import { getJSON } from '../base/api.ts';
import { count, percent, plural, sig3 } from '../base/format.ts';
import { useResource } from '../base/resource.ts';
import { href, route, setParams, withParams } from '../base/router.ts';
import { useSignal } from '../base/signal.ts';
import type { Cardinality } from '../base/types.ts';
import { Ago } from '../ui/marks.tsx';
import { Facts, Loaded, Section, Sentence, Snippet } from '../ui/parts.tsx';
import { Table } from '../ui/table.tsx';
import { cardinalityPath, cardinalitySentence, growth, headline, hintTitle, pasted, selector } from './cardinalitydata.ts';

export default function CardinalityScreen() {
  const r = useSignal(route);
  const at = { filter: r.params.get('match') ?? '', metric: r.params.get('metric') ?? '', label: r.params.get('label') ?? '' };
  const path = cardinalityPath(at.filter, at.metric, at.label);
  const res = useResource(path, (s) => getJSON<Cardinality>(path, s), ['now', 'itself', 'config'], 30_000);
  return (
    <>
      <Where {...at} />
      <Loaded screen res={res} what="What the series are made of">
        {(d) => <View d={d} {...at} />}
      </Loaded>
    </>
  );
}

interface Place {
  filter: string;
  metric: string;
  label: string;
}

/** The way down: all series, a metric, one of its labels; and the filter. */
function Where({ filter, metric, label }: Place) {
  return (
    <div class="toolbar">
      <nav class="crumbs" aria-label="Part of the series">
        <a href={withParams({ metric: null, label: null })} aria-current={!metric && !label ? 'page' : undefined}>All metrics</a>
        {metric && (
          <>
            {' / '}
            <a class="mono" href={withParams({ label: null })} aria-current={!label ? 'page' : undefined}>{metric}</a>
          </>
        )}
        {label && (
          <>
            {' / '}
            <span class="mono" aria-current="page">{label}</span>
          </>
        )}
      </nav>
      <input
        class="find selector"
        type="search"
        placeholder={'Selector, such as {job="shop"}'}
        aria-label="Only series that match this selector"
        value={filter}
        onChange={(e) => setParams({ match: e.currentTarget.value.trim() })}
      />
    </div>
  );
}

function View({ d, filter, metric, label }: Place & { d: Cardinality }) {
  const s = cardinalitySentence(d);
  const narrow = !!(filter || metric);
  return (
    <>
      <Sentence state={s.state} text={s.text} />
      {narrow && (
        <p class="soft">
          {plural(d.matched, 'series', 'series')} of {plural(d.names, 'metric')} match, {percent(d.series ? d.matched / d.series : 0)} of all.
          {d.partial && ' There are more than are looked at: the counts are at least these.'}
        </p>
      )}
      {!narrow && !label && (
        <div class="headline">
          <Facts of={headline(d)} />
        </div>
      )}
      {!narrow && !label && d.refusals.length > 0 && <Refused d={d} />}
      {d.hints.length > 0 && !label && (
        <Section title="Why so many" note="labels whose values look made for each request, user or moment">
          {d.hints.map((h) => (
            <Snippet key={h.label} title={hintTitle(h)} text={pasted(h.rule)}>
              For example <span class="mono">{h.example}</span>; {plural(h.series, 'series', 'series')} have it
              {h.metrics.length > 0 && h.metrics.length <= 3 ? <>, of <span class="mono">{h.metrics.join(', ')}</span></> : null}.{' '}
              Best is not to send it. This rule drops it; series that differ in nothing else then become one.
            </Snippet>
          ))}
        </Section>
      )}
      {label ? <Values d={d} label={label} metric={metric} /> : <Tables d={d} metric={metric} narrow={narrow} />}
      {!narrow && !label && <Sent d={d} />}
    </>
  );
}

function Share({ of, all }: { of: number; all: number }) {
  const part = all > 0 ? of / all : 0;
  return (
    <span class="share" title={`${percent(part)} of ${count(all)}`}>
      <span class="share-bar" style={{ width: `${Math.min(100, part * 100)}%` }} aria-hidden="true" />
      <span>{percent(part)}</span>
    </span>
  );
}

function Tables({ d, metric, narrow }: { d: Cardinality; metric: string; narrow: boolean }) {
  const grown = (now: number, before: number | null) => {
    const g = growth(now, before);
    return g.by ? g.text : <span class="faint">{g.text}</span>;
  };
  return (
    <>
      {!metric && (
        <Section title="Metrics with most series" note={`${plural(d.names, 'metric')}; a name opens its labels`}>
          <Table
            name="main"
            label="Metrics by number of series"
            rows={d.metrics}
            keyOf={(x) => x.name}
            empty="No series is in memory. Whatever is scraped or sent stands here, the metric with most series first."
            cols={[
              { id: 'name', head: 'Metric', cls: 'wide', by: (x) => x.name, cell: (x) => <a class="name mono" data-open href={withParams({ metric: x.name })}>{x.name}</a> },
              { id: 'series', head: 'Series', num: true, by: (x) => x.series, cell: (x) => x.series.toLocaleString('en-GB') },
              { id: 'share', head: 'Share', num: true, cell: (x) => <Share of={x.series} all={d.matched} /> },
              ...(narrow
                ? []
                : ([['ago_1h', '1 h'], ['ago_24h', '24 h'], ['ago_7d', '7 d']] as const).map(([id, head]) => ({
                    id, head: 'Growth', unit: head, num: true, title: `against ${head} ago; – where there is no history of it`,
                    by: (x: Cardinality['metrics'][number]) => growth(x.series, x[id]).by, cell: (x: Cardinality['metrics'][number]) => grown(x.series, x[id]),
                  }))),
              { id: 'explore', head: '', cell: (x) => <a href={href(['explore'], { q: `count(${selector({ __name__: x.name })})` })}>Explore</a> },
            ]}
          />
        </Section>
      )}
      {d.labels.length > 0 && (
        <div class="columns">
          <Section title="Labels" note="a name opens its values">
            <Table
              name="labels"
              label="Labels by number of values"
              plain
              rows={d.labels}
              keyOf={(x) => x.name}
              empty="No label."
              cols={[
                { id: 'name', head: 'Label', cls: 'wide', by: (x) => x.name, cell: (x) => <a class="name mono" data-open href={withParams({ label: x.name })}>{x.name}</a> },
                { id: 'values', head: 'Values', num: true, by: (x) => x.values, cell: (x) => x.values.toLocaleString('en-GB') },
                { id: 'series', head: 'Series', num: true, by: (x) => x.series, cell: (x) => x.series.toLocaleString('en-GB') },
                { id: 'share', head: 'Share', num: true, cell: (x) => <Share of={x.series} all={d.matched} /> },
              ]}
            />
          </Section>
          <Section title="Label values" note="those that most series have">
            <Pairs name="pairs" label="Label values by number of series" rows={d.pairs} all={d.matched} metric={metric} named />
          </Section>
        </div>
      )}
    </>
  );
}

function Pairs({ name, label, rows, all, metric, named }: { name: string; label: string; rows: Cardinality['pairs']; all: number; metric: string; named?: boolean }) {
  return (
    <Table
      name={name}
      label={label}
      plain
      rows={rows}
      keyOf={(x) => `${x.name}=${x.value}`}
      empty="No series has it."
      cols={[
        { id: 'value', head: named ? 'Label and value' : 'Value', cls: 'wide', by: (x) => x.value, cell: (x) => <a class="name mono" data-open title={x.value} href={href(['explore'], { q: `count by (__name__) (${selector({ ...(metric ? { __name__: metric } : {}), [x.name]: x.value })})` })}>{named ? `${x.name}=${x.value}` : x.value}</a> },
        { id: 'series', head: 'Series', num: true, by: (x) => x.series, cell: (x) => x.series.toLocaleString('en-GB') },
        { id: 'share', head: 'Share', num: true, cell: (x) => <Share of={x.series} all={all} /> },
      ]}
    />
  );
}

function Values({ d, label, metric }: { d: Cardinality; label: string; metric: string }) {
  const f = d.focus;
  return (
    <Section title={`Values of ${label}`} note={f ? `${plural(f.values, 'value')} in ${plural(f.series, 'series', 'series')}; those with most series first` : undefined}>
      <Pairs name="main" label={`Values of ${label} by number of series`} rows={f?.top ?? []} all={f?.series ?? 0} metric={metric} />
    </Section>
  );
}

function Refused({ d }: { d: Cardinality }) {
  return (
    <Section title="Refused by limits" id="refusals" note="since the start; series that are known go on">
      <Table
        name="refusals"
        stack
        label="Samples refused by limits"
        rows={d.refusals}
        keyOf={(x) => `${x.limit} ${x.metric}`}
        rowClass={() => 'breach is-warning'}
        cols={[
          { id: 'metric', head: 'Metric', cls: 'wide', by: (x) => x.metric, cell: (x) => <span class="mono">{x.metric || 'others'}</span> },
          { id: 'limit', head: 'Limit', by: (x) => x.limit, cell: (x) => <span class="mono">limits.{x.limit}</span> },
          { id: 'count', head: 'Samples', num: true, by: (x) => x.count, cell: (x) => count(x.count) },
          { id: 'last', head: 'Last', unit: 'ago', num: true, by: (x) => Date.parse(x.last), cell: (x) => <Ago t={x.last} /> },
          { id: 'text', head: 'The sender was told', cls: 'why', cell: (x) => x.text },
        ]}
      />
    </Section>
  );
}

function Sent({ d }: { d: Cardinality }) {
  return (
    <Section title="Who sends" note="since the start; after a start every series is new">
      <Table
        name="senders"
        label="Senders by samples"
        rows={d.senders}
        keyOf={(x) => `${x.protocol} ${x.sender}`}
        empty="Nobody has sent a sample yet."
        cols={[
          { id: 'sender', head: 'Sender', cls: 'wide', by: (x) => x.sender, cell: (x) => x.sender },
          { id: 'protocol', head: 'Protocol', by: (x) => x.protocol, cell: (x) => <span class="soft">{x.protocol.replace(/_/g, ' ')}</span> },
          { id: 'rate', head: 'Samples', unit: '/s', num: true, by: (x) => x.samples_per_second, cell: (x) => sig3(x.samples_per_second) },
          { id: 'samples', head: 'Samples', num: true, by: (x) => x.samples, cell: (x) => count(x.samples) },
          { id: 'newrate', head: 'New series', unit: '/min', num: true, by: (x) => x.new_series_per_minute, cell: (x) => sig3(x.new_series_per_minute) },
          { id: 'new', head: 'New series', num: true, by: (x) => x.new_series, cell: (x) => count(x.new_series) },
          { id: 'rejected', head: 'Rejected', num: true, by: (x) => x.rejected, cell: (x) => (x.rejected ? count(x.rejected) : <span class="faint">0</span>) },
          { id: 'last', head: 'Last', unit: 'ago', num: true, by: (x) => Date.parse(x.last), cell: (x) => <Ago t={x.last} /> },
        ]}
      />
    </Section>
  );
}
