import { mayWrite } from '../base/api.ts';
import { plural, seconds } from '../base/format.ts';
import { href } from '../base/router.ts';
import { zoneName } from '../base/time.ts';
import type { Location } from '../base/types.ts';
import { Ago, At, Labels, Mark, Shape } from '../ui/marks.tsx';
import { Section, Sentence, Snippet, Waiting } from '../ui/parts.tsx';
import { Table } from '../ui/table.tsx';
import type { PartProps } from './checks.tsx';

const rank: Record<Location['state'], number> = { silent: 0, never: 1, up: 2, revoked: 3 };

export function placeState(l: Location) {
  if (l.state === 'silent') return <Mark state="unknown" word="silent" />;
  if (l.state === 'never') return <Mark state="silenced" word="never heard" />;
  if (l.state === 'revoked') return <Mark state="silenced" word="revoked" />;
  return <span class="faint">heard</span>;
}

/** The places that run checks, and how to add one. */
export default function Places({ list, tabs }: PartProps) {
  if (!list) return <Waiting what="The places" />;
  const rows = [...list.locations].sort((a, b) => rank[a.state] - rank[b.state] || Number(b.name === 'hub') - Number(a.name === 'hub') || a.name.localeCompare(b.name));
  const silent = rows.filter((l) => l.state === 'silent');
  const up = rows.filter((l) => l.state === 'up');
  const text = silent.length ? `${silent.map((l) => l.name).join(', ')} ${silent.length === 1 ? 'is' : 'are'} silent; ${plural(up.length, 'place')} ${up.length === 1 ? 'is' : 'are'} heard.` : rows.length < 2 ? 'Checks run from this server only.' : `All ${up.length} places that were ever heard are heard.`;
  return (
    <>
      <Sentence state={silent.length ? 'unknown' : 'ok'} text={text} />
      {tabs}
      <Table
        name="main"
        label="Places"
        rows={rows}
        keyOf={(l) => l.name}
        rowClass={(l) => (l.state === 'silent' ? 'breach is-unknown' : l.state === 'revoked' ? 'dim' : '')}
        empty="No place is known."
        cols={[
          { id: 'name', head: 'Place', cls: 'wide', by: (l) => l.name, cell: (l) => <a class="name" data-open href={href(['checks'], { find: '' })}>{l.name}</a> },
          { id: 'state', head: 'State', by: (l) => rank[l.state], cell: placeState },
          { id: 'since', head: 'Since', unit: zoneName(), num: true, cell: (l) => <At t={l.since} /> },
          { id: 'seen', head: 'Last heard', unit: 'ago', num: true, by: (l) => -Date.parse(l.last_seen ?? ''), cell: (l) => (l.name === 'hub' ? <span class="faint">this server</span> : <Ago t={l.last_seen} />) },
          { id: 'checks', head: 'Checks', num: true, by: (l) => l.checks, cell: (l) => l.checks.toLocaleString('en-GB') },
          { id: 'spooled', head: 'Results to come', num: true, title: 'Results that wait on the disk of the place', by: (l) => l.spooled, cell: (l) => (l.spooled ? l.spooled.toLocaleString('en-GB') : <span class="faint">0</span>) },
          {
            id: 'skew',
            head: 'Clock off by',
            num: true,
            title: 'Its clock against the hub’s; more than a second makes times hard to compare',
            by: (l) => Math.abs(l.clock_skew_seconds),
            cell: (l) =>
              l.state === 'never' || l.name === 'hub' ? (
                <span class="faint">–</span>
              ) : Math.abs(l.clock_skew_seconds) >= 1 ? (
                <span class="hot is-warning">
                  <Shape state="warning" /> {seconds(l.clock_skew_seconds)}
                </span>
              ) : (
                seconds(l.clock_skew_seconds)
              ),
          },
          { id: 'version', head: 'Version', by: (l) => l.version, cell: (l) => l.version || <span class="faint">–</span> },
          { id: 'private', head: 'Runs', title: 'A private place runs only checks that name it', cell: (l) => (l.private ? 'only what names it' : <span class="faint">all checks</span>) },
          { id: 'labels', head: 'Labels', cell: (l) => <Labels of={l.labels} /> },
          { id: 'address', head: 'Address', cls: 'note', cell: (l) => <span class="mono soft">{l.address}</span> },
        ]}
      />
      <Section title="Add a place" note="the same program, started on another machine">
        <div class="teach">
          <Snippet title="There" text={`vedette agent --hub ${location.origin} --location NAME --token-file FILE`}>
            NAME is how the place is called here, such as eu-west. FILE holds its token. It connects to this server by itself, so it may stand behind a firewall; while this server is away it keeps its results on disk.
          </Snippet>
          <Snippet title="Checks that run there" text={`# vedette.yml\nchecks:\n  - name: front page\n    url: https://${location.hostname}/\n    locations: [hub, NAME]`}>
            Without <code>locations</code> a check runs from every place that is not private.{mayWrite() ? '' : ' You may read only: ask whoever runs this server.'}
          </Snippet>
        </div>
      </Section>
    </>
  );
}
