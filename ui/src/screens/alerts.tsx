import { useState } from 'preact/hooks';
import { getJSON, mayWrite, prom, send, sentence, session } from '../base/api.ts';
import { age, count, plural, seconds } from '../base/format.ts';
import { useResource, type Resource } from '../base/resource.ts';
import { carry, href, route, setParams, withParams } from '../base/router.ts';
import { useSignal } from '../base/signal.ts';
import { hm, parseDuration, stamp, zoneName } from '../base/time.ts';
import type { AmAlert, PromRule, RuleGroup, Silence } from '../base/types.ts';
import { Ago, At, Labels, Mark } from '../ui/marks.tsx';
import { Dialog, Facts, Loaded, Panel, Problem, Sentence, Snippet, Tabs } from '../ui/parts.tsx';
import { Table } from '../ui/table.tsx';
import { OutboxList, SentPanel, type Outbox } from './outbox.tsx';
import { alertSentence, joinAlerts, matcherText, parseMatcher, signOf, type Alert } from './alertdata.ts';

interface All {
  alerts: Alert[];
  groups: RuleGroup[];
  silences: Silence[];
  partial: unknown;
}

export default function AlertsScreen() {
  const r = useSignal(route);
  const tab = r.params.get('tab') ?? 'alerts';
  const res = useResource<All>(
    'alerts',
    async (s) => {
      const [rules, am, sil] = await Promise.allSettled([prom<{ groups: RuleGroup[] | null }>('rules', { type: 'alert' }, s), getJSON<AmAlert[]>('/api/v2/alerts', s), getJSON<Silence[]>('/api/v2/silences', s)]);
      if (rules.status === 'rejected' && am.status === 'rejected') throw rules.reason;
      const groups = rules.status === 'fulfilled' ? (rules.value.data.groups ?? []) : [];
      return {
        groups,
        alerts: joinAlerts(groups, am.status === 'fulfilled' ? (am.value ?? []) : []),
        silences: sil.status === 'fulfilled' ? (sil.value ?? []) : [],
        partial: [rules, am, sil].find((x) => x.status === 'rejected')?.reason,
      };
    },
    ['alerts'],
  );
  const outbox = useResource<Outbox>('outbox', (s) => getJSON<Outbox>('/api/v1/outbox?limit=200', s), ['outbox', 'alerts']);
  return <Loaded screen res={res} what="The alerts">{(d) => <View d={d} tab={tab} reload={res.reload} outbox={outbox} />}</Loaded>;
}

function View({ d, tab, reload, outbox }: { d: All; tab: string; reload: () => void; outbox: Resource<Outbox> }) {
  const r = useSignal(route);
  const [silencing, setSilencing] = useState<Record<string, string> | null>(null);
  // Other screens ask for a silence by its matchers: ?silence=check="front page"
  const asked = r.params.getAll('silence').map(parseMatcher);
  const wish = silencing ?? (asked.length && mayWrite() ? Object.fromEntries(asked.flatMap((m) => (m ? [[m.name, m.value]] : []))) : null);
  const stop = () => {
    setSilencing(null);
    if (asked.length) setParams({ silence: '' }, true);
  };
  const s = alertSentence(d.alerts);
  const live = d.silences.filter((x) => x.status.state !== 'expired');
  const failed = outbox.data?.counts?.failed ?? 0;
  const waiting = (outbox.data?.counts?.pending ?? 0) + (outbox.data?.counts?.sending ?? 0);
  const ruleCount = d.groups.reduce((n, g) => n + g.rules.length, 0);
  const sick = d.groups.some((g) => g.rules.some((x) => x.health === 'err'));
  const openKey = r.params.get('alert');
  // Links from elsewhere know an alert by its name only.
  const open = openKey ? (d.alerts.find((a) => shortKey(a.key) === openKey) ?? d.alerts.find((a) => a.name === openKey)) : undefined;
  const at = (id: string) => withParams({ tab: id === 'alerts' ? '' : id, alert: '', sent: '', rule: '', sort: '' });
  const openRule = tab === 'rules' ? r.params.get('rule') : null;
  const sent = tab === 'outbox' ? outbox.data?.notifications?.find((n) => n.id === r.params.get('sent')) : undefined;
  const found = openRule ? findRule(d.groups, openRule) : undefined;
  const panel = (tab === 'alerts' && open) || sent || found;
  return (
    <div class={panel ? 'split' : ''}>
      <div>
        <Sentence state={s.state} text={s.text} />
        {d.partial ? <Problem what="A part of this screen could not be loaded." error={d.partial} reload={reload} /> : null}
        <Tabs
          label="Parts of Alerts"
          at={tab}
          items={[
            { id: 'alerts', text: 'Alerts', href: at('alerts'), count: d.alerts.length },
            { id: 'silences', text: 'Silences', href: at('silences'), count: live.length },
            { id: 'outbox', text: 'Outbox', href: at('outbox'), count: waiting + failed || undefined, breach: failed ? 'warning' : undefined },
            { id: 'rules', text: 'Rules', href: at('rules'), count: ruleCount, breach: sick ? 'warning' : undefined },
          ]}
        />
        {tab === 'silences' ? (
          <Silences all={d.silences} reload={reload} make={() => setSilencing({})} />
        ) : tab === 'outbox' ? (
          <Loaded res={outbox} what="The outbox">{(o) => <OutboxList o={o} reload={outbox.reload} />}</Loaded>
        ) : tab === 'rules' ? (
          <Rules groups={d.groups} />
        ) : (
          <AlertList all={d.alerts} rules={ruleCount} open={open} silence={(a) => setSilencing(a.labels)} />
        )}
      </div>
      {tab === 'alerts' && open && <AlertPanel key={open.key} a={open} silences={d.silences} silence={() => setSilencing(open.labels)} />}
      {sent && <SentPanel n={sent} reload={outbox.reload} />}
      {found && <RulePanel rule={found.rule} group={found.group} />}
      {wish && <SilenceForm labels={wish} close={stop} done={reload} />}
    </div>
  );
}

/** A short stable name of an alert for the address. */
function shortKey(key: string): string {
  let h = 0x811c9dc5;
  for (let i = 0; i < key.length; i++) h = Math.imul(h ^ key.charCodeAt(i), 0x01000193) >>> 0;
  return h.toString(36);
}

const stateWord: Record<Alert['state'], string> = { firing: 'firing', pending: 'pending', silenced: 'silenced', inhibited: 'inhibited', muted: 'muted by time' };

function AlertList({ all, rules, open, silence }: { all: Alert[]; rules: number; open: Alert | undefined; silence: (a: Alert) => void }) {
  const r = useSignal(route);
  const find = (r.params.get('find') ?? '').toLowerCase();
  const name = r.params.get('name') ?? '';
  const state = r.params.get('state') ?? '';
  const rows = all.filter((a) => (!name || a.name === name) && (!state || a.state === state) && (!find || `${a.name} ${Object.entries(a.labels).flat().join(' ')} ${a.annotations.summary ?? ''}`.toLowerCase().includes(find)));
  if (!all.length) {
    return rules ? (
      <div class="empty">
        Nothing fires and nothing is pending. {plural(rules, 'alert rule')} {rules === 1 ? 'is' : 'are'} evaluated; <a href={withParams({ tab: 'rules' })}>see them</a>.
      </div>
    ) : (
      <Snippet
        title="A first alert"
        text={`# vedette.yml\nprometheus: prometheus.yml\n\n# prometheus.yml\nrule_files: [rules.yml]\n\n# rules.yml\ngroups:\n  - name: basics\n    rules:\n      - alert: TargetDown\n        expr: up == 0\n        for: 1m\n        labels: {severity: page}\n        annotations:\n          summary: "{{ $labels.job }} at {{ $labels.instance }} does not answer"`}
      >
        No alert rule is loaded. Prometheus rule files are taken unchanged; here what they find would stand, worst first.
      </Snippet>
    );
  }
  return (
    <>
      <div class="toolbar">
        <input class="find" type="search" placeholder="Filter" aria-label="Filter alerts" value={r.params.get('find') ?? ''} onInput={(e) => setParams({ find: e.currentTarget.value }, true)} />
        {(name || state) && (
          <span>
            only {name || state}{' '}
            <button class="link" onClick={() => setParams({ name: '', state: '' }, true)}>
              show all
            </button>
          </span>
        )}
        {rows.length !== all.length && <span class="soft">{`${rows.length} of ${all.length} shown`}</span>}
      </div>
      <Table
        name="main"
        stack
        label="Alerts, worst first"
        rows={rows}
        keyOf={(a) => shortKey(a.key)}
        open={(a) => setParams({ alert: shortKey(a.key) })}
        selected={open ? shortKey(open.key) : ''}
        rowClass={(a) => {
          const s = signOf(a);
          return s === 'page' || s === 'warning' || s === 'unknown' ? `breach is-${s}` : a.state === 'firing' || a.state === 'pending' ? '' : 'dim';
        }}
        empty="No alert matches the filter."
        cols={[
          { id: 'severity', head: 'Severity', cls: 'sev', by: (a) => ['page', 'warning', 'unknown', 'note'].indexOf(a.severity), cell: (a) => (a.state === 'firing' ? <Mark state={signOf(a)} word={a.labels.severity || a.severity} /> : <span class="soft">{a.labels.severity || a.severity}</span>) },
          { id: 'state', head: 'State', by: (a) => a.state, cell: (a) => (a.state === 'firing' ? 'firing' : <Mark state={signOf(a)} word={stateWord[a.state]} />) },
          {
            id: 'name',
            head: 'Alert',
            cls: 'wide',
            by: (a) => a.name,
            cell: (a) => (
              <a class="name" data-open href={withParams({ alert: shortKey(a.key) })} title={a.name}>
                {a.name}
              </a>
            ),
          },
          { id: 'summary', head: 'Summary', cls: 'why', cell: (a) => a.annotations.summary ?? a.annotations.description ?? a.annotations.message ?? <Labels of={a.labels} skip={['alertname', 'severity']} /> },
          { id: 'labels', head: 'Labels', cls: 'note hide-narrow', cell: (a) => <Labels of={a.labels} skip={['alertname', 'severity']} /> },
          { id: 'since', head: 'Since', unit: zoneName(), num: true, cls: 'hide-narrow', by: (a) => Date.parse(a.since), cell: (a) => <At t={a.since} /> },
          { id: 'for', head: 'For', num: true, cls: 'end', by: (a) => -Date.parse(a.since), cell: (a) => <Ago t={a.since} /> },
          { id: 'value', head: 'Value', num: true, cls: 'hide-narrow', cell: (a) => (a.value ? count(Number(a.value)) : <span class="faint">–</span>) },
          {
            id: 'act',
            head: <span class="sr">Silence</span>,
            cell: (a) =>
              a.state === 'silenced' ? (
                <a class="soft" href={withParams({ tab: 'silences', alert: '' })}>
                  by a silence
                </a>
              ) : (
                mayWrite() && (
                  <button class="small" onClick={() => silence(a)} aria-label={`Silence ${a.name}`}>
                    Silence
                  </button>
                )
              ),
          },
        ]}
      />
    </>
  );
}

/** http(s) addresses in annotations become links; all else stays text. */
function Value({ v }: { v: string }) {
  return /^https?:\/\/\S+$/.test(v) ? (
    <a href={v} target="_blank" rel="noreferrer noopener">
      {v}
    </a>
  ) : (
    <>{v}</>
  );
}

function AlertPanel({ a, silences, silence }: { a: Alert; silences: Silence[]; silence: () => void }) {
  const by = silences.filter((s) => a.silencedBy.includes(s.id));
  const gen = carry(a.generator);
  return (
    <Panel title={a.name} close={() => setParams({ alert: '' })} back={shortKey(a.key)}>
      <p>
        <Mark state={signOf(a)} word={`${stateWord[a.state]}, ${a.labels.severity || a.severity}`} /> for <Ago t={a.since} />, since <At t={a.since} zone />.
      </p>
      {Object.entries(a.annotations).map(([k, v]) => (
        <p key={k}>
          <span class="faint">{k}</span>
          <br />
          <Value v={v} />
        </p>
      ))}
      <p>
        {a.state !== 'silenced' && mayWrite() && (
          <button class="main" onClick={silence}>
            Silence
          </button>
        )}
      </p>
      <h3>Labels</h3>
      <Facts of={Object.keys(a.labels).sort().map((k) => [k, <span class="mono">{a.labels[k]}</span>])} />
      {by.map((s) => (
        <p key={s.id}>
          Silenced by {s.createdBy} until <At t={s.endsAt} zone />: {s.comment}
        </p>
      ))}
      {a.inhibitedBy.length > 0 && <p>Inhibited: {plural(a.inhibitedBy.length, 'other alert')} with a higher severity already tells it.</p>}
      <Facts
        of={[
          ['told to', a.receivers.join(', ') || 'nobody yet'],
          ['value', a.value || 'not known'],
        ]}
      />
      {a.rule && <RuleText rule={a.rule} group={a.group ?? ''} />}
      <ul class="links">
        {a.rule && (
          <li>
            <a href={href(['explore'], { q: a.rule.query })}>The rule's expression in Explore</a>
          </li>
        )}
        {gen && !a.rule && (
          <li>
            <a href={gen} rel="noreferrer noopener" target="_blank">
              Where it was made
            </a>
          </li>
        )}
        <li>
          <a href={href(['explore'], { q: `ALERTS{alertname=${JSON.stringify(a.name)}}` })}>Its history in Explore</a>
        </li>
      </ul>
    </Panel>
  );
}

function RuleText({ rule, group }: { rule: PromRule; group: string }) {
  return (
    <>
      <h3>Rule</h3>
      <pre class="expr" tabIndex={0}>
        {rule.query}
      </pre>
      <Facts
        of={[
          ['for', rule.duration ? seconds(rule.duration) : 'at once'],
          ['keeps firing for', rule.keepFiringFor ? seconds(rule.keepFiringFor) : 'no longer'],
          ['group', group],
          ['evaluated', <Ago t={rule.lastEvaluation} suffix=" ago" />],
          ['took', seconds(rule.evaluationTime)],
        ]}
      />
      {rule.health === 'err' && <Problem error={rule.lastError ?? 'the last evaluation failed'} />}
    </>
  );
}

const ruleKey = (g: RuleGroup, i: number) => `${g.file} ${g.name} ${i}`;

function findRule(groups: RuleGroup[], key: string) {
  for (const g of groups) for (let i = 0; i < g.rules.length; i++) if (shortKey(ruleKey(g, i)) === key) return { rule: g.rules[i]!, group: g.name };
  return undefined;
}

function Rules({ groups }: { groups: RuleGroup[] }) {
  const r = useSignal(route);
  const name = r.params.get('name') ?? '';
  const find = (r.params.get('find') ?? '').toLowerCase();
  const all = groups.flatMap((g) => g.rules.map((rule, i) => ({ key: shortKey(ruleKey(g, i)), rule, g })));
  const rows = all.filter((x) => (!name || x.rule.name === name) && (!find || `${x.rule.name} ${x.rule.query} ${x.g.name}`.toLowerCase().includes(find)));
  const rank: Record<string, number> = { firing: 0, pending: 1, inactive: 2 };
  rows.sort((a, b) => Number(b.rule.health === 'err') - Number(a.rule.health === 'err') || (rank[a.rule.state ?? ''] ?? 3) - (rank[b.rule.state ?? ''] ?? 3));
  return (
    <>
      <div class="toolbar">
        <input class="find" type="search" placeholder="Filter" aria-label="Filter rules" value={r.params.get('find') ?? ''} onInput={(e) => setParams({ find: e.currentTarget.value }, true)} />
        {name && (
          <span>
            only {name}{' '}
            <button class="link" onClick={() => setParams({ name: '' }, true)}>
              show all
            </button>
          </span>
        )}
      </div>
      <Table
        name="main"
        label="Alert rules"
        rows={rows}
        keyOf={(x) => x.key}
        open={(x) => setParams({ rule: x.key })}
        selected={r.params.get('rule') ?? ''}
        rowClass={(x) => (x.rule.health === 'err' ? 'breach is-warning' : '')}
        empty={all.length ? 'No rule matches the filter.' : 'No alert rule is loaded. Name rule files under rule_files in prometheus.yml.'}
        cols={[
          {
            id: 'name',
            head: 'Rule',
            cls: 'wide',
            by: (x) => x.rule.name,
            cell: (x) => (
              <a class="name" data-open href={withParams({ rule: x.key })}>
                {x.rule.name}
              </a>
            ),
          },
          { id: 'state', head: 'State', by: (x) => rank[x.rule.state ?? ''] ?? 3, cell: (x) => (x.rule.state === 'firing' ? 'firing' : x.rule.state === 'pending' ? <Mark state="pending" word="pending" /> : <span class="faint">quiet</span>) },
          { id: 'health', head: 'Health', by: (x) => x.rule.health, cell: (x) => (x.rule.health === 'err' ? <Mark state="warning" word="fails" /> : <span class="faint">{x.rule.health}</span>) },
          { id: 'alerts', head: 'Alerts', num: true, by: (x) => x.rule.alerts?.length ?? 0, cell: (x) => x.rule.alerts?.length ?? 0 },
          { id: 'for', head: 'For', unit: 's', num: true, by: (x) => x.rule.duration, cell: (x) => count(x.rule.duration ?? 0) },
          { id: 'took', head: 'Took', unit: 'ms', num: true, by: (x) => x.rule.evaluationTime, cell: (x) => count((x.rule.evaluationTime ?? 0) * 1000) },
          { id: 'group', head: 'Group', by: (x) => x.g.name, cell: (x) => <span class="soft" title={x.g.file}>{x.g.name}</span> },
          { id: 'expr', head: 'Expression', cls: 'note', cell: (x) => <a class="mono soft" href={href(['explore'], { q: x.rule.query })} title={x.rule.query}>{x.rule.query}</a> },
        ]}
      />
    </>
  );
}

function RulePanel({ rule, group }: { rule: PromRule; group: string }) {
  return (
    <Panel title={rule.name} close={() => setParams({ rule: '' })}>
      <RuleText rule={rule} group={group} />
      {Object.entries(rule.annotations ?? {}).map(([k, v]) => (
        <p key={k}>
          <span class="faint">{k}</span>
          <br />
          {v}
        </p>
      ))}
      <h3>Labels it adds</h3>
      <p>
        <Labels of={rule.labels} />
      </p>
      <ul class="links">
        <li>
          <a href={href(['explore'], { q: rule.query })}>Open in Explore</a>
        </li>
        {rule.alerts?.length ? (
          <li>
            <a href={href(['alerts'], { name: rule.name })}>{plural(rule.alerts.length, 'alert')} of it</a>
          </li>
        ) : null}
      </ul>
    </Panel>
  );
}

function Silences({ all, reload, make }: { all: Silence[]; reload: () => void; make: () => void }) {
  const r = useSignal(route);
  const [wrong, setWrong] = useState<unknown>(null);
  const past = r.params.get('past') === '1';
  const rank: Record<string, number> = { active: 0, pending: 1, expired: 2 };
  const rows = all.filter((s) => past || s.status.state !== 'expired').sort((a, b) => (rank[a.status.state] ?? 3) - (rank[b.status.state] ?? 3) || Date.parse(a.endsAt) - Date.parse(b.endsAt));
  return (
    <>
      <div class="toolbar">
        {mayWrite() && <button onClick={make}>New silence</button>}
        <label class="field">
          <input type="checkbox" checked={past} onChange={(e) => setParams({ past: e.currentTarget.checked ? '1' : '' }, true)} /> ended ones too
        </label>
      </div>
      {wrong ? <Problem error={wrong} /> : null}
      <Table
        name="main"
        label="Silences"
        rows={rows}
        keyOf={(s) => s.id}
        empty="No silence is in force. Press Silence beside an alert to make one."
        rowClass={(s) => (s.status.state === 'expired' ? 'dim' : '')}
        cols={[
          { id: 'matchers', head: 'Matches', cls: 'wide', cell: (s) => <span class="mono">{s.matchers.map(matcherText).join(', ')}</span> },
          { id: 'state', head: 'State', by: (s) => rank[s.status.state] ?? 3, cell: (s) => (s.status.state === 'active' ? 'active' : <span class="soft">{s.status.state === 'expired' ? 'ended' : s.status.state}</span>) },
          { id: 'ends', head: 'Ends', unit: zoneName(), num: true, by: (s) => Date.parse(s.endsAt), cell: (s) => <At t={s.endsAt} /> },
          { id: 'left', head: 'Left', num: true, by: (s) => Date.parse(s.endsAt), cell: (s) => (s.status.state === 'expired' ? <span class="faint">–</span> : age((Date.parse(s.endsAt) - Date.now()) / 1000)) },
          { id: 'by', head: 'By', by: (s) => s.createdBy, cell: (s) => s.createdBy },
          { id: 'comment', head: 'Comment', cls: 'note', cell: (s) => <span title={s.comment}>{s.comment}</span> },
          {
            id: 'act',
            head: <span class="sr">End</span>,
            cell: (s) =>
              s.status.state !== 'expired' &&
              mayWrite() && (
                <button
                  class="small"
                  onClick={async () => {
                    try {
                      await send('DELETE', `/api/v2/silence/${encodeURIComponent(s.id)}`);
                      setWrong(null);
                      reload();
                    } catch (e) {
                      setWrong(e);
                    }
                  }}
                >
                  End now
                </button>
              ),
          },
        ]}
      />
    </>
  );
}

const lengths = ['30m', '1h', '2h', '8h', '1d', '3d'];

/** Prefilled so that Create is the second click. */
function SilenceForm({ labels, close, done }: { labels: Record<string, string>; close: () => void; done: () => void }) {
  const [text, setText] = useState(() => Object.keys(labels).sort((a, b) => Number(b === 'alertname') - Number(a === 'alertname') || a.localeCompare(b)).map((k) => matcherText({ name: k, value: labels[k]!, isRegex: false })));
  const [length, setLength] = useState('2h');
  const [comment, setComment] = useState('');
  const [by, setBy] = useState(session.value?.user ?? '');
  const [wrong, setWrong] = useState('');
  const [busy, setBusy] = useState(false);
  const secs = parseDuration(length);
  const end = Date.now() + (secs > 0 ? secs : 0) * 1000;
  const lines = text.length ? text : [''];
  const set = (i: number, v: string) => setText(lines.map((x, j) => (j === i ? v : x)));
  return (
    <Dialog title="Silence" close={close}>
      <form
        class="form"
        onSubmit={async (e) => {
          e.preventDefault();
          const filled = lines.filter((l) => l.trim());
          const matchers = filled.map(parseMatcher);
          const bad = filled[matchers.indexOf(null)];
          if (bad !== undefined) return setWrong(`“${bad}” is no matcher; write it as name="value", or =~ for a regular expression.`);
          if (!matchers.length) return setWrong('Give at least one matcher, or the silence would match nothing.');
          if (!(secs > 0)) return setWrong(`“${length}” is no length of time; write it as 90m, 2h or 3d.`);
          setBusy(true);
          try {
            const now = Date.now();
            await send('POST', '/api/v2/silences', { matchers, startsAt: new Date(now).toISOString(), endsAt: new Date(now + secs * 1000).toISOString(), createdBy: by.trim() || 'somebody at the console', comment: comment.trim() || 'no comment given' });
            done();
            close();
          } catch (err) {
            setWrong(sentence(err));
            setBusy(false);
          }
        }}
      >
        <fieldset>
          <legend>Alerts with all of these labels</legend>
          {lines.map((m, i) => (
            <div class="row" key={i}>
              <input class="mono grow" aria-label={`Matcher ${i + 1}`} value={m} placeholder={'alertname="…"'} onInput={(e) => set(i, e.currentTarget.value)} />
              <button type="button" class="small" aria-label={`Remove matcher ${i + 1}`} onClick={() => setText(lines.filter((_, j) => j !== i))} disabled={lines.length < 2}>
                Remove
              </button>
            </div>
          ))}
          <button type="button" class="link" onClick={() => setText([...lines, ''])}>
            Add a matcher
          </button>
        </fieldset>
        <div class="row wrap" role="group" aria-label="For how long">
          <span class="soft">For</span>
          {lengths.map((l) => (
            <button type="button" class="small" key={l} aria-pressed={l === length} onClick={() => setLength(l)}>
              {l}
            </button>
          ))}
          <input size={6} aria-label="Own length" value={length} onInput={(e) => setLength(e.currentTarget.value)} />
          <span class="soft num">{secs > 0 ? `until ${secs > 72000 ? stamp(end, false) : hm(end)} ${zoneName(end)}` : ''}</span>
        </div>
        <label>
          Comment
          <input value={comment} placeholder="why, for those who come after" onInput={(e) => setComment(e.currentTarget.value)} />
        </label>
        <label>
          By
          <input value={by} placeholder="your name" autocomplete="name" onInput={(e) => setBy(e.currentTarget.value)} />
        </label>
        {wrong && (
          <p class="wrong" role="alert">
            {wrong}
          </p>
        )}
        <div class="row">
          <button type="submit" class="main" autofocus disabled={busy}>
            {busy ? 'Creating …' : 'Create'}
          </button>
          <button type="button" onClick={close}>
            Cancel
          </button>
        </div>
      </form>
    </Dialog>
  );
}
