import { useState } from 'preact/hooks';
import { getJSON, mayWrite, sentence } from '../base/api.ts';
import { plural, sig3, uptime } from '../base/format.ts';
import { useResource } from '../base/resource.ts';
import { go, href, route, setParams } from '../base/router.ts';
import { useSignal } from '../base/signal.ts';
import type { Check } from '../base/types.ts';
import { Ago, Mark, Shape } from '../ui/marks.tsx';
import { Loaded, Sentence, Snippet } from '../ui/parts.tsx';
import { Cells, PhaseBar, PhaseLegend, phaseTotals } from '../ui/spark.tsx';
import { Table } from '../ui/table.tsx';
import { CheckDetail } from './check.tsx';
import { certDays, runNow, sinceWords } from './checkparts.ts';

export default function ChecksScreen() {
  const r = useSignal(route);
  const res = useResource('checks', (s) => getJSON<{ checks: Check[] | null }>('/api/v1/checks', s).then((x) => x.checks ?? []), ['checks']);
  const id = r.path[1];
  if (id) {
    return (
      <Loaded screen res={res} what="The check">
        {(all) => {
          const c = all.find((x) => x.id === id);
          return c ? (
            <CheckDetail check={c} reload={res.reload} key={c.id} />
          ) : (
            <>
              <Sentence state="unknown" text={`There is no check with the id ${id}.`} />
              <p>
                It may have gone with the last change of the configuration. <a href={href(['checks'])}>All checks</a>
              </p>
            </>
          );
        }}
      </Loaded>
    );
  }
  return <Loaded screen res={res} what="The checks">{(all) => <List all={all} reload={res.reload} />}</Loaded>;
}

const rank = { down: 0, unknown: 1, up: 2 };

function List({ all, reload }: { all: Check[]; reload: () => void }) {
  const r = useSignal(route);
  const [busy, setBusy] = useState('');
  const [said, say] = useState('');
  const find = r.params.get('find') ?? '';
  if (!all.length) return <Empty />;
  const down = all.filter((c) => c.state === 'down');
  const unknown = all.filter((c) => c.state === 'unknown');
  const rows = all
    .filter((c) => !find || `${c.name} ${c.target} ${c.state} ${Object.values(c.labels ?? {}).join(' ')}`.toLowerCase().includes(find.toLowerCase()))
    .sort((a, b) => rank[a.state] - rank[b.state] || a.name.localeCompare(b.name));
  const totals = all.map((c) => phaseTotals(c.last).reduce((x, y) => x + y, 0)).sort((x, y) => x - y);
  const scale = Math.max(1, (totals[Math.floor((totals.length - 1) * 0.95)] ?? 1) * 1.1);
  const text = down.length
    ? `${down.length} of ${plural(all.length, 'check')} ${down.length === 1 ? 'is' : 'are'} down: ${down
        .slice(0, 3)
        .map((c) => `${c.name} ${sinceWords(c)}`)
        .join('; ')}${down.length > 3 ? `; and ${down.length - 3} more` : ''}.`
    : unknown.length
      ? `${plural(all.length - unknown.length, 'check')} of ${all.length} up, ${unknown.length} not known yet.`
      : all.length === 1
        ? 'The one check is up.'
        : `All ${all.length.toLocaleString('en-GB')} checks are up.`;
  return (
    <>
      <Sentence state={down.length ? 'page' : unknown.length ? 'unknown' : 'ok'} text={text} />
      <div class="toolbar">
        <input class="find" type="search" placeholder="Filter" aria-label="Filter checks" value={find} onInput={(e) => setParams({ find: e.currentTarget.value }, true)} />
        <span class="soft">{rows.length === all.length ? '' : `${rows.length} of ${all.length} shown`}</span>
        <PhaseLegend />
      </div>
      {said && (
        <p class="soft" role="status">
          {said}
        </p>
      )}
      <Table
        name="main"
        label="Checks"
        rows={rows}
        keyOf={(c) => c.id}
        open={(c) => go(href(['checks', c.id]))}
        rowClass={(c) => (c.state === 'down' ? 'breach is-page' : c.state === 'unknown' ? 'breach is-unknown' : '')}
        empty={`No check matches “${find}”.`}
        cols={[
          {
            id: 'name',
            head: 'Check',
            cls: 'wide',
            by: (c) => c.name,
            cell: (c) => (
              <a class="name" data-open href={href(['checks', c.id])} title={`${c.name} ${c.target}`}>
                {c.name}
              </a>
            ),
          },
          { id: 'state', head: 'State', by: (c) => rank[c.state], cell: (c) => <CheckState c={c} /> },
          { id: 'for', head: 'For', num: true, by: (c) => -Date.parse(c.since), cell: (c) => <Ago t={c.since} /> },
          { id: 'runs', head: 'Last 60 runs', cls: 'sparkcol', cell: (c) => <Cells runs={c.recent ?? []} cell={3} /> },
          { id: 'phases', head: 'Phases of the last', cls: 'sparkcol', cell: (c) => <PhaseBar ms={phaseTotals(c.last)} scale={scale} failed={c.last ? !c.last.success : false} width={100} /> },
          { id: 'took', head: 'Took', unit: 'ms', num: true, by: (c) => c.last?.duration_seconds, cell: (c) => (c.last ? sig3(c.last.duration_seconds * 1000) : <span class="faint">–</span>) },
          { id: 'uptime', head: 'Uptime 24 h', unit: '%', num: true, by: (c) => c.uptime_24h, cell: (c) => uptime(c.uptime_24h) },
          { id: 'cert', head: 'Certificate', unit: 'days', num: true, title: 'Days until the first certificate of the chain ends', by: (c) => certDays(c.last), cell: (c) => <Cert c={c} /> },
          { id: 'target', head: 'Target', cls: 'note', by: (c) => c.target, cell: (c) => <span class="mono soft" title={c.target}>{c.target}</span> },
          {
            id: 'run',
            head: <span class="sr">Run</span>,
            cell: (c) => mayWrite() && (
              <button
                class="small"
                disabled={busy === c.id}
                onClick={async () => {
                  setBusy(c.id);
                  try {
                    say(await runNow(c));
                    reload();
                  } catch (e) {
                    say(`${c.name} could not be run. ${sentence(e)}`);
                  } finally {
                    setBusy('');
                  }
                }}
              >
                {busy === c.id ? 'Running …' : 'Run now'}
              </button>
            ),
          },
        ]}
      />
    </>
  );
}

export function CheckState({ c }: { c: Check }) {
  if (c.state === 'up') return <span class="faint">up</span>;
  if (c.state === 'unknown') return <Mark state="unknown" />;
  return <Mark state="page" word={`down${c.last?.stage ? ` at ${c.last.stage}` : ''}`} />;
}

function Cert({ c }: { c: Check }) {
  const d = certDays(c.last);
  if (d === null) return <span class="faint">–</span>;
  const state = d < 3 ? 'page' : d < 14 ? 'warning' : '';
  return state ? (
    <span class={`hot is-${state}`}>
      <Shape state={state} /> {Math.floor(d)}
    </span>
  ) : (
    <>{Math.floor(d)}</>
  );
}

function Empty() {
  return (
    <>
      <Sentence text="No check is set up." />
      <p class="soft">Here each check would stand with its state, its last 60 runs and the five phases of the last one.</p>
      <Snippet title="A first check" text={`# vedette.yml\nchecks:\n  - name: front page\n    url: https://${location.hostname}/\n    interval: 30s`}>
        Vedette takes the change when the file is saved.
      </Snippet>
    </>
  );
}
