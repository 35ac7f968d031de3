import { useState } from 'preact/hooks';
import { mayWrite, send } from '../base/api.ts';
import { plural, seconds } from '../base/format.ts';
import { route, setParams, withParams } from '../base/router.ts';
import { useSignal } from '../base/signal.ts';
import { zoneName } from '../base/time.ts';
import type { Notification } from '../base/types.ts';
import { At, Labels, Mark } from '../ui/marks.tsx';
import { Facts, Panel, Problem } from '../ui/parts.tsx';
import { Table } from '../ui/table.tsx';

export interface Outbox {
  notifications: Notification[] | null;
  counts: Record<string, number> | null;
}

const outboxRank: Record<Notification['status'], number> = { failed: 0, sending: 1, pending: 2, superseded: 4, delivered: 3 };

async function retry(n: Notification, reload: () => void) {
  await send('POST', `/api/v1/outbox/${encodeURIComponent(n.id)}/retry`);
  reload();
}

export function OutboxList({ o, reload }: { o: Outbox; reload: () => void }) {
  const r = useSignal(route);
  const [wrong, setWrong] = useState<unknown>(null);
  const status = r.params.get('status') ?? '';
  const all = o.notifications ?? [];
  const rows = all.filter((n) => !status || n.status === status).sort((a, b) => Number(b.status === 'failed') - Number(a.status === 'failed') || Date.parse(b.decided_at) - Date.parse(a.decided_at));
  return (
    <>
      <p class="soft lead">
        A notification is written down before it is sent, and tried again until it arrives. {Object.entries(o.counts ?? {})
          .filter(([, n]) => n)
          .sort(([a], [b]) => (outboxRank[a as Notification['status']] ?? 9) - (outboxRank[b as Notification['status']] ?? 9))
          .map(([k, n], i) => (
            <span key={k}>
              {i > 0 && ', '}
              <a href={withParams({ status: status === k ? '' : k })} aria-current={status === k ? 'true' : undefined}>
                {n.toLocaleString('en-GB')} {k}
              </a>
            </span>
          ))}
        {status && (
          <>
            {' '}
            · <a href={withParams({ status: '' })}>all</a>
          </>
        )}
      </p>
      {wrong ? <Problem error={wrong} /> : null}
      <Table
        name="main"
        label="Notifications"
        rows={rows}
        keyOf={(n) => n.id}
        open={(n) => setParams({ sent: n.id })}
        selected={r.params.get('sent') ?? ''}
        rowClass={(n) => (n.status === 'failed' ? 'breach is-warning' : n.status === 'superseded' ? 'dim' : '')}
        empty="No notification was decided yet. When a group of alerts is due for a receiver, it stands here with every attempt to deliver it."
        cols={[
          {
            id: 'decided',
            head: 'Decided',
            unit: zoneName(),
            by: (n) => Date.parse(n.decided_at),
            cell: (n) => (
              <a data-open href={withParams({ sent: n.id })}>
                <At t={n.decided_at} />
              </a>
            ),
          },
          { id: 'status', head: 'Status', by: (n) => outboxRank[n.status], cell: (n) => (n.status === 'failed' ? <Mark state="warning" word="failed" /> : n.status === 'delivered' ? <span class="faint">delivered</span> : n.status) },
          { id: 'receiver', head: 'Receiver', by: (n) => n.receiver, cell: (n) => `${n.receiver} ${n.integration}` },
          { id: 'group', head: 'Group', cls: 'why', cell: (n) => <Labels of={n.group_labels} /> },
          { id: 'firing', head: 'Firing', num: true, by: (n) => n.firing, cell: (n) => n.firing },
          { id: 'resolved', head: 'Resolved', num: true, by: (n) => n.resolved, cell: (n) => n.resolved },
          { id: 'attempts', head: 'Attempts', num: true, by: (n) => n.attempts?.length ?? 0, cell: (n) => n.attempts?.length ?? 0 },
          { id: 'took', head: 'Arrived after', num: true, by: (n) => (n.finished_at ? Date.parse(n.finished_at) - Date.parse(n.decided_at) : null), cell: (n) => (n.finished_at && n.status === 'delivered' ? seconds((Date.parse(n.finished_at) - Date.parse(n.decided_at)) / 1000) : <span class="faint">–</span>) },
          { id: 'error', head: 'Last error', cls: 'note', cell: (n) => <span class="soft" title={lastError(n)}>{n.status === 'delivered' ? '' : lastError(n)}</span> },
          { id: 'next', head: 'Next try', num: true, by: (n) => (n.next_attempt_at ? Date.parse(n.next_attempt_at) : null), cell: (n) => (n.next_attempt_at && (n.status === 'pending' || n.status === 'sending') ? <At t={n.next_attempt_at} /> : <span class="faint">–</span>) },
          {
            id: 'act',
            head: <span class="sr">Retry</span>,
            cell: (n) =>
              (n.status === 'failed' || n.status === 'pending') &&
              mayWrite() && (
                <button class="small" onClick={() => retry(n, reload).then(() => setWrong(null), setWrong)}>
                  Retry
                </button>
              ),
          },
        ]}
      />
    </>
  );
}

function lastError(n: Notification): string {
  return (n.attempts ?? []).filter((a) => a.error).at(-1)?.error ?? '';
}

export function SentPanel({ n, reload }: { n: Notification; reload: () => void }) {
  const [wrong, setWrong] = useState<unknown>(null);
  return (
    <Panel title={`${n.receiver}, ${n.status}`} close={() => setParams({ sent: '' })} back={n.id}>
      <p>
        {n.reason ? `${n.reason.charAt(0).toUpperCase()}${n.reason.slice(1)}: ` : ''}{plural(n.firing, 'alert')} firing, {n.resolved} resolved; decided <At t={n.decided_at} zone />.
      </p>
      {(n.status === 'failed' || n.status === 'pending') && mayWrite() && (
        <p>
          <button class="main" onClick={() => retry(n, reload).then(() => setWrong(null), setWrong)}>
            Retry now
          </button>
        </p>
      )}
      {wrong ? <Problem error={wrong} /> : null}
      <h3>Attempts</h3>
      <table class="twin">
        <thead>
          <tr>
            <th scope="col">At, {zoneName()}</th>
            <th scope="col" class="num">
              Took
            </th>
            <th scope="col">Outcome</th>
          </tr>
        </thead>
        <tbody>
          {(n.attempts ?? []).map((a) => (
            <tr key={a.at}>
              <th scope="row">
                <At t={a.at} />
              </th>
              <td class="num">{seconds(a.seconds)}</td>
              <td class="wrapcell">{a.error || 'taken'}</td>
            </tr>
          ))}
        </tbody>
      </table>
      {!n.attempts?.length && <p class="soft">None yet.</p>}
      <h3>Alerts</h3>
      {(n.alerts ?? []).map((a, i) => (
        <p key={i}>
          <span class="soft">{a.status}</span> {a.annotations?.summary ?? ''} <Labels of={a.labels} />
        </p>
      ))}
      <Facts
        of={[
          ['integration', n.integration],
          ['group', <span class="mono">{n.group_key}</span>],
          ['deduplication key', <span class="mono">{n.dedup_key}</span>],
          ['id', <span class="mono">{n.id}</span>],
        ]}
      />
    </Panel>
  );
}
