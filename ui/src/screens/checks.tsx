import type { ComponentChildren, ComponentType } from 'preact';
import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import { getJSON, mayWrite } from '../base/api.ts';
import { plural } from '../base/format.ts';
import { useKeys } from '../base/keys.ts';
import { useResource } from '../base/resource.ts';
import { go, href, route, setParams, withParams } from '../base/router.ts';
import { useSignal } from '../base/signal.ts';
import { whenMinute, zoneName } from '../base/time.ts';
import type { Check, Location, Window } from '../base/types.ts';
import { Ago, Shape } from '../ui/marks.tsx';
import { Loaded, Problem, Sentence, Snippet, Tabs, Waiting } from '../ui/parts.tsx';
import { columnsOf, isBreach, labelNames, matrixSentence, wanted, type Wish } from './checkparts.ts';
import { Matrix } from './matrix.tsx';

export interface CheckList {
  checks: Check[];
  locations: Location[];
}

/** What a part gets: the list where it is loaded, and the tabs to show below its sentence. */
export interface PartProps {
  list?: CheckList;
  tabs?: ComponentChildren;
}

/** Parts of Checks that come in files of their own. */
const parts: Record<string, () => Promise<{ default: ComponentType<PartProps> }>> = {
  detail: () => import('./check.tsx'),
  form: () => import('./checkform.tsx'),
  maintenance: () => import('./maintenance.tsx'),
  report: () => import('./report.tsx'),
  places: () => import('./places.tsx'),
};

function Part({ name, list, tabs }: { name: string } & PartProps) {
  const [got, set] = useState<{ name: string; C: ComponentType<PartProps> } | null>(null);
  const [error, setError] = useState<unknown>(null);
  useEffect(() => {
    let gone = false;
    parts[name]!().then(
      (m) => !gone && set({ name, C: m.default }),
      (e) => !gone && setError(e),
    );
    return () => {
      gone = true;
    };
  }, [name]);
  if (error) return <Problem what="This part of Checks could not be loaded." error="The server may have been replaced or stopped" reload={() => location.reload()} />;
  return got?.name === name ? <got.C list={list} tabs={tabs} /> : <Waiting what="Checks" />;
}

export default function ChecksScreen() {
  const r = useSignal(route);
  const tab = r.params.get('tab') ?? '';
  const id = r.path[1];
  if (id) return <Part name={r.params.get('edit') === '1' ? 'form' : 'detail'} key={id} />;
  if (tab === 'new') return <Part name="form" key="new" />;
  return <Parts tab={tab} />;
}

function Parts({ tab }: { tab: string }) {
  // A long list is asked for less often: an eighth of the time at most goes into loading.
  const took = useRef(0);
  const res = useResource<CheckList>(
    'checks',
    async (s) => {
      const t = performance.now();
      const x = await getJSON<{ checks: Check[] | null; locations?: Location[] | null }>('/api/v1/checks?recent=20&hops=0', s);
      took.current = performance.now() - t;
      return { checks: x.checks ?? [], locations: x.locations ?? [] };
    },
    ['checks'],
    Math.max(1000, took.current * 8),
  );
  const windows = useResource<Window[]>('maintenance', (s) => getJSON<{ windows: Window[] | null }>('/api/v1/maintenance', s).then((x) => x.windows ?? []), ['checks', 'config'], 5000);
  useKeys({
    n: () => {
      if (mayWrite()) go(href(['checks'], { tab: 'new' }));
    },
  });
  const active = (windows.data ?? []).filter((w) => w.active);
  const silent = (res.data?.locations ?? []).filter((l) => l.state === 'silent').length;
  const at = (t: string) => href(['checks'], { tab: t });
  const tabs = (
    <Tabs
      label="Parts of Checks"
      at={tab || 'matrix'}
      items={[
        { id: 'matrix', text: 'Checks', href: at(''), count: res.data?.checks.length },
        { id: 'maintenance', text: 'Maintenance', href: at('maintenance'), count: active.length || undefined },
        { id: 'report', text: 'Uptime report', href: at('report') },
        { id: 'places', text: 'Places', href: at('places'), count: res.data?.locations.length || undefined, breach: silent ? 'unknown' : undefined },
      ]}
    />
  );
  if (parts[tab]) {
    return <Part name={tab} list={res.data} tabs={tabs} key={tab} />;
  }
  return (
    <Loaded screen res={res} what="The checks">
      {(d) => (
        <>
          <Head list={d} />
          {tabs}
          <List list={d} active={active} />
        </>
      )}
    </Loaded>
  );
}

function Head({ list }: { list: CheckList }) {
  const s = useMemo(() => matrixSentence(list.checks, list.locations), [list]);
  return list.checks.length ? <Sentence state={s.state} text={s.text} /> : <Sentence text="No check is set up." />;
}

function List({ list, active }: { list: CheckList; active: Window[] }) {
  const r = useSignal(route);
  const all = list.checks;
  const q = (n: string) => r.params.get(n) ?? '';
  const wish: Wish = { find: q('find').trim(), state: q('state'), kind: q('kind'), label: q('label') };
  const group = q('group');
  const known = useMemo(() => ({ labels: labelNames(all), kinds: [...new Set(all.map((c) => c.kind))].sort(), values: labelValues(all) }), [all]);
  const rows = useMemo(() => all.filter((c) => wanted(c, wish)), [all, wish.find, wish.state, wish.kind, wish.label]);
  const places = useMemo(() => columnsOf(rows.length ? rows : all, list.locations), [rows, all, list.locations]);
  if (!all.length || (all.length === 1 && all[0]!.source === 'builtin')) {
    return (
      <>
        {all.length > 0 && <Matrix checks={all} places={places} locations={list.locations} group="" epochKey="" empty="" />}
        <Empty />
      </>
    );
  }
  const filtered = wish.find || wish.state || wish.kind || wish.label;
  const breaches = all.filter(isBreach).length;
  return (
    <>
      <PlaceStrip locations={list.locations} />
      {active.map((w) => (
        <p class="strip" key={w.id}>
          <Shape state="maintenance" /> Maintenance: <a href={href(['checks'], { tab: 'maintenance' })}>{w.name}</a>
          {w.next_end ?? w.end ? ` until ${whenMinute(Date.parse((w.next_end ?? w.end)!))} ${zoneName()}` : ''}; what fails in it is recorded and nobody is told.
        </p>
      ))}
      <div class="toolbar">
        <input class="find" type="search" placeholder="Filter by name, target, label" aria-label="Filter checks" value={q('find')} onInput={(e) => setParams({ find: e.currentTarget.value }, true)} />
        <Choice name="state" label="State" at={wish.state} of={[['', 'any state'], ['breach', `breaches (${breaches})`], ...['down', 'degraded', 'flapping', 'unknown', 'unreachable', 'maintenance', 'paused', 'up'].map((s): [string, string] => [s, s === 'unreachable' ? 'explained by another' : s]), ['slow', 'slower than usual']]} />
        {known.kinds.length > 1 && <Choice name="kind" label="Kind" at={wish.kind} of={[['', 'any kind'], ...known.kinds.map((k): [string, string] => [k, k])]} />}
        {known.values.length > 0 && <Choice name="label" label="Label" at={wish.label} of={[['', 'any label'], ...known.values.map((v): [string, string] => [v, v])]} />}
        <Choice name="group" label="Groups" at={group} of={[['', 'no groups'], ...known.labels.map((l): [string, string] => [l, `by ${l}`]), ['kind', 'by kind'], ['state', 'by state']]} />
        <span class="soft">{rows.length === all.length ? '' : `${rows.length.toLocaleString('en-GB')} of ${all.length.toLocaleString('en-GB')} shown`}</span>
        {filtered && (
          <button class="link" onClick={() => setParams({ find: '', state: '', kind: '', label: '' }, true)}>
            Show all
          </button>
        )}
        <span class="push" />
        {mayWrite() && (
          <a class="button" href={href(['checks'], { tab: 'new' })} title="New check (n)">
            New check
          </a>
        )}
      </div>
      <Matrix checks={rows} places={places} locations={list.locations} group={group} epochKey={JSON.stringify(wish)} empty="No check matches the filter." />
    </>
  );
}

/** label=value pairs to choose from; those of labels with very many values are left to the filter. */
function labelValues(all: Check[]): string[] {
  const out = new Map<string, Set<string>>();
  for (const c of all) {
    for (const [k, v] of Object.entries(c.labels ?? {})) {
      let s = out.get(k);
      if (!s) out.set(k, (s = new Set()));
      if (s.size <= 50) s.add(v);
    }
  }
  return [...out].filter(([, s]) => s.size <= 50).flatMap(([k, s]) => [...s].map((v) => `${k}=${v}`)).sort();
}

function Choice({ name, label, at, of }: { name: string; label: string; at: string; of: [string, string][] }) {
  const known = of.some(([v]) => v === at) ? of : [...of, [at, at] as [string, string]];
  return (
    <select aria-label={label} value={at} onChange={(e) => setParams({ [name]: e.currentTarget.value }, true)}>
      {known.map(([v, text]) => (
        <option key={v} value={v}>
          {text}
        </option>
      ))}
    </select>
  );
}

/** The places in one line: who is heard, who is not. */
function PlaceStrip({ locations }: { locations: Location[] }) {
  if (locations.length < 2) return null;
  const up = locations.filter((l) => l.state === 'up');
  const rest = locations.filter((l) => l.state !== 'up');
  return (
    <p class="strip">
      <a href={href(['checks'], { tab: 'places' })}>{plural(locations.length, 'place')}</a>: {up.map((l) => `${l.name}${l.spooled ? ` (${l.spooled.toLocaleString('en-GB')} results to come)` : ''}`).join(', ')}
      {rest.map((l) => (
        <span key={l.name}>
          ;{' '}
          <span class={`mark is-${l.state === 'silent' ? 'unknown' : 'silenced'}`}>
            <Shape state={l.state === 'silent' ? 'unknown' : 'silenced'} />
            <span>
              {l.name} {l.state === 'silent' ? <>silent for <Ago t={l.since ?? l.last_seen} /></> : l.state === 'never' ? 'never heard' : 'revoked'}
            </span>
          </span>
        </span>
      ))}
    </p>
  );
}

function Empty() {
  return (
    <>
      <p class="soft lead">Here each check would stand with its state, its uptime, and a cell for each place that runs it: its last runs, how long the last one took, and the stage at which it fails.</p>
      <div class="teach">
        <Snippet title="A first check" text={`# vedette.yml\nchecks:\n  - name: front page\n    url: https://${location.hostname}/\n    interval: 30s`}>
          Vedette takes the change when the file is saved.{' '}
          {mayWrite() && (
            <>
              Or <a href={withParams({ tab: 'new' })}>make it here</a>.
            </>
          )}
        </Snippet>
        <Snippet title="A second place to look from" text={`vedette agent --hub ${location.origin} --location eu-west --token-file agent.token`}>
          The same program, started elsewhere. With two or more places a fault of the line is told apart from a fault of the target.
        </Snippet>
      </div>
    </>
  );
}
