import { useState } from 'preact/hooks';
import { getJSON, mayWrite, send, sentence } from '../base/api.ts';
import { age, plural } from '../base/format.ts';
import { useKeys } from '../base/keys.ts';
import { useResource } from '../base/resource.ts';
import { param, route, setParams, withParams } from '../base/router.ts';
import { useSignal } from '../base/signal.ts';
import { fromField, localZone, parseDuration, toField, whenMinute, zoneName } from '../base/time.ts';
import type { Window } from '../base/types.ts';
import { Ago, At, Mark, Shape } from '../ui/marks.tsx';
import { Dialog, Loaded, Problem, Sentence, Snippet } from '../ui/parts.tsx';
import { Table } from '../ui/table.tsx';
import { errorKey } from './checkdata.ts';
import type { CheckList, PartProps } from './checks.tsx';
import { compareWindows, cronWords, stateOf, whatWords, whenWords } from './maintenancedata.ts';

/** Times of planned work: failures in them are recorded and nobody is told. */
export default function Maintenance({ list, tabs }: PartProps) {
  const r = useSignal(route);
  const res = useResource<Window[]>('maintenance', (s) => getJSON<{ windows: Window[] | null }>('/api/v1/maintenance', s).then((x) => x.windows ?? []), ['checks', 'config']);
  const [wrong, setWrong] = useState<unknown>(null);
  const form = r.params.get('window');
  const open = () => setParams({ window: 'new' });
  useKeys({ n: () => void (mayWrite() && open()) });
  const act = async (f: () => Promise<unknown>) => {
    try {
      await f();
      setWrong(null);
      res.reload();
    } catch (e) {
      setWrong(e);
    }
  };
  return (
    <Loaded screen res={res} what="The maintenance windows">
      {(all) => {
        const rows = [...all].sort(compareWindows);
        const active = rows.filter((w) => w.active);
        const next = rows.find((w) => stateOf(w) === 'next');
        const text = active.length
          ? `${active.length === 1 ? `“${active[0]!.name}” is` : `${active.length} windows are`} in force${active[0]!.next_end ? ` until ${whenMinute(Date.parse(active[0]!.next_end))} ${zoneName()}` : ''}.`
          : next
            ? `No maintenance now; “${next.name}” begins ${whenMinute(Date.parse(next.next_start!))} ${zoneName()}.`
            : 'No maintenance is planned.';
        const edited = form && form !== 'new' ? all.find((w) => w.id === form) : undefined;
        return (
          <>
            <Sentence text={text} />
            {tabs}
            <div class="toolbar">
              {mayWrite() && (
                <button onClick={open} title="New window (n)">
                  New window
                </button>
              )}
              <span class="soft">What fails within a window is recorded and nobody is told.</span>
            </div>
            {wrong ? <Problem error={wrong} /> : null}
            {rows.length === 0 ? (
              <Snippet title="Planned work that comes again" text={`# vedette.yml\nmaintenance:\n  - name: weekly database work\n    labels: {team: platform}\n    cron: 0 3 * * 0\n    duration: 1h\n    zone: ${localZone}\n    exclude_from_slo: true`}>
                One-off windows are made with the button above. Here each window would stand with what it covers and when it comes next.
              </Snippet>
            ) : (
              <Table
                name="main"
                label="Maintenance windows"
                rows={rows}
                keyOf={(w) => w.id}
                open={mayWrite() ? (w) => w.source === 'api' && setParams({ window: w.id }) : undefined}
                rowClass={(w) => (stateOf(w) === 'over' ? 'dim' : '')}
                cols={[
                  { id: 'name', head: 'Window', cls: 'wide', by: (w) => w.name, cell: (w) => (w.source === 'api' && mayWrite() ? <a class="name" data-open href={withParams({ window: w.id })} title={`Edit ${w.name}`}>{w.name}</a> : <span class="clip wideclip" title={w.name}>{w.name}</span>) },
                  { id: 'state', head: 'State', by: (w) => stateOf(w), cell: (w) => (w.active ? <Mark state="maintenance" word="in force" /> : <span class="faint">{stateOf(w) === 'over' ? 'over' : 'planned'}</span>) },
                  { id: 'what', head: 'Covers', cell: (w) => whatWords(w) },
                  { id: 'when', head: 'When', cell: (w) => <span class="num">{whenWords(w)}</span> },
                  {
                    id: 'next',
                    head: 'Next',
                    unit: zoneName(),
                    num: true,
                    by: (w) => Date.parse(w.next_start ?? ''),
                    cell: (w) =>
                      w.active ? (
                        <>
                          ends in <Left t={w.next_end ?? w.end} />
                        </>
                      ) : (
                        <At t={w.next_start} minute />
                      ),
                  },
                  { id: 'slo', head: 'Counts in uptime', cell: (w) => (w.exclude_from_slo ? 'no' : 'yes') },
                  { id: 'source', head: 'Source', cell: (w) => <span class="soft">{w.source === 'config' ? 'vedette.yml' : 'made here'}</span> },
                  {
                    id: 'act',
                    head: <span class="sr">Change</span>,
                    cell: (w) =>
                      mayWrite() &&
                      w.source === 'api' && (
                        <span class="row">
                          {w.active && w.end && (
                            <button class="small" onClick={() => act(() => send('PUT', `/api/v1/maintenance/${encodeURIComponent(w.id)}`, { ...body(w), end: new Date().toISOString() }))}>
                              End now
                            </button>
                          )}
                          <button class="small" aria-label={`Delete ${w.name}`} onClick={() => confirm(`Delete “${w.name}”?`) && void act(() => send('DELETE', `/api/v1/maintenance/${encodeURIComponent(w.id)}`))}>
                            Delete
                          </button>
                        </span>
                      ),
                  },
                ]}
              />
            )}
            {form && (form === 'new' || edited) && <Form w={edited} list={list} close={() => setParams({ window: '', check: '' })} done={res.reload} />}
          </>
        );
      }}
    </Loaded>
  );
}

function Left({ t }: { t: string | null }) {
  const ms = Date.parse(t ?? '');
  return ms > 0 ? <>{age(Math.max(0, (ms - Date.now()) / 1000))}</> : <Ago t={t} />;
}

/** What the server takes of a window. */
function body(w: Window) {
  return { name: w.name, checks: w.checks ?? [], labels: w.labels ?? {}, locations: w.locations ?? [], start: w.start, end: w.end, cron: w.cron, duration_seconds: w.duration_seconds, zone: w.zone, exclude_from_slo: w.exclude_from_slo };
}

const lengths = ['30m', '1h', '2h', '4h', '8h'];

function Form({ w, list, close, done }: { w?: Window; list?: CheckList; close: () => void; done: () => void }) {
  const now = Math.floor(Date.now() / 60000) * 60; // begins at once
  const [name, setName] = useState(w?.name ?? '');
  const [repeat, setRepeat] = useState(!!w?.cron);
  const [start, setStart] = useState(toField(w?.start ? Date.parse(w.start) / 1000 : now).slice(0, 16));
  const [length, setLength] = useState(w ? `${Math.round(w.cron ? w.duration_seconds / 60 : (Date.parse(w.end ?? '') - Date.parse(w.start ?? '')) / 60000)}m` : '1h');
  const [cron, setCron] = useState(w?.cron || '0 3 * * 0');
  const [tz, setTz] = useState(w?.zone || localZone);
  const [checks, setChecks] = useState((w?.checks ?? [param('check')]).filter(Boolean).join(', '));
  const [labels, setLabels] = useState(Object.entries(w?.labels ?? {}).map(([k, v]) => `${k}=${v}`).join(', '));
  const [places, setPlaces] = useState((w?.locations ?? []).join(', '));
  const [slo, setSlo] = useState(w?.exclude_from_slo ?? true);
  const [wrong, setWrong] = useState<{ key: string; text: string } | null>(null);
  const [busy, setBusy] = useState(false);
  const secs = parseDuration(length);
  const from = fromField(start);
  const split = (s: string) => s.split(/[\s,]+/).filter(Boolean);
  const pairs = split(labels).map((x) => x.split('=') as [string, string]);
  const chosen = split(checks);
  const covered = list && (chosen.length || pairs.length) ? list.checks.filter((c) => chosen.includes(c.id) || (pairs.length > 0 && pairs.every(([k, v]) => c.labels?.[k] === v))).length : list?.checks.length;
  const at = (key: string) =>
    wrong?.key === key && (
      <span class="wrong" role="alert">
        {wrong.text}
      </span>
    );
  return (
    <Dialog title={w ? 'Maintenance window' : 'New maintenance window'} close={close}>
      <form
        class="form"
        onSubmit={async (e) => {
          e.preventDefault();
          if (!name.trim()) return setWrong({ key: 'name', text: 'Give it a name, such as: release 2.5.' });
          const odd = pairs.find((p) => p.length !== 2 || !p[0] || !p[1]);
          if (odd) return setWrong({ key: 'labels', text: `“${odd.join('=')}” is no label; write it as team=shop.` });
          const strange = list && chosen.find((id) => !list.checks.some((c) => c.id === id));
          if (strange) return setWrong({ key: 'checks', text: `There is no check with the id ${strange}.` });
          if (!(secs > 0)) return setWrong({ key: 'duration_seconds', text: `“${length}” is no length of time; write it as 90m, 2h or 1h30m.` });
          if (!repeat && !(from > 0)) return setWrong({ key: 'start', text: 'Write the start as 2026-01-31 18:04.' });
          setBusy(true);
          const o = { name: name.trim(), checks: chosen, labels: Object.fromEntries(pairs), locations: split(places), exclude_from_slo: slo, ...(repeat ? { cron: cron.trim(), duration_seconds: secs, zone: tz.trim() } : { start: new Date(from * 1000).toISOString(), end: new Date((from + secs) * 1000).toISOString() }) };
          try {
            if (w) await send('PUT', `/api/v1/maintenance/${encodeURIComponent(w.id)}`, o);
            else await send('POST', '/api/v1/maintenance', o);
            done();
            close();
          } catch (err) {
            const k = errorKey(sentence(err));
            setWrong({ key: ['name', 'checks', 'labels', 'locations', 'start', 'cron', 'duration_seconds', 'zone'].includes(k.key) ? k.key : '', text: sentence(err) });
            setBusy(false);
          }
        }}
      >
        <label>
          Name
          <input autofocus value={name} placeholder="what is done" onInput={(e) => setName(e.currentTarget.value)} />
          {at('name')}
        </label>
        <div class="seg" role="group" aria-label="Once or again and again">
          <button type="button" aria-pressed={!repeat} onClick={() => setRepeat(false)}>
            Once
          </button>
          <button type="button" aria-pressed={repeat} onClick={() => setRepeat(true)}>
            Again and again
          </button>
        </div>
        {repeat ? (
          <>
            <label>
              Begins, as cron: minute hour day month weekday
              <input class="mono" value={cron} onInput={(e) => setCron(e.currentTarget.value)} />
              <span class="faint">{cronWords(cron) === cron ? '' : cronWords(cron)}</span>
              {at('cron')}
            </label>
            <label>
              In the time zone
              <input value={tz} onInput={(e) => setTz(e.currentTarget.value)} />
              {at('zone')}
            </label>
          </>
        ) : (
          <label>
            Begins, {zoneName()}
            <input class="num" value={start} placeholder="2026-01-31 18:04" onInput={(e) => setStart(e.currentTarget.value)} />
            {at('start')}
          </label>
        )}
        <div class="row wrap" role="group" aria-label="For how long">
          <span class="soft">For</span>
          {lengths.map((l) => (
            <button type="button" class="small" key={l} aria-pressed={l === length} onClick={() => setLength(l)}>
              {l}
            </button>
          ))}
          <input size={6} aria-label="Own length" value={length} onInput={(e) => setLength(e.currentTarget.value)} />
          <span class="soft num">{!repeat && secs > 0 && from > 0 ? `until ${whenMinute((from + secs) * 1000)} ${zoneName((from + secs) * 1000)}` : ''}</span>
          {at('duration_seconds')}
        </div>
        <label>
          Checks, by id; none: all
          <input class="mono" list="check-ids" value={checks} placeholder="checkout, billing" onInput={(e) => setChecks(e.currentTarget.value)} />
          <datalist id="check-ids">{list?.checks.slice(0, 300).map((c) => <option key={c.id} value={c.id} />)}</datalist>
          {at('checks')}
        </label>
        <label>
          And all checks with these labels
          <input class="mono" value={labels} placeholder="team=shop" onInput={(e) => setLabels(e.currentTarget.value)} />
          {at('labels')}
        </label>
        <label>
          Only from these places; none: all
          <input class="mono" value={places} placeholder="eu-west" onInput={(e) => setPlaces(e.currentTarget.value)} />
          {at('locations')}
        </label>
        {covered !== undefined && (
          <p class={covered === list?.checks.length && list.checks.length > 1 ? 'soft' : 'faint'}>
            {covered === list?.checks.length && list.checks.length > 1 ? (
              <>
                <Shape state="maintenance" /> It covers all {plural(covered, 'check')}.
              </>
            ) : (
              `It covers ${plural(covered, 'check')}.`
            )}
          </p>
        )}
        <label class="inline">
          <input type="checkbox" checked={slo} onChange={(e) => setSlo(e.currentTarget.checked)} /> leave this time out of uptime and objectives
        </label>
        {wrong?.key === '' && (
          <p class="wrong" role="alert">
            {wrong.text}
          </p>
        )}
        <div class="row">
          <button type="submit" class="main" disabled={busy}>
            {busy ? 'Saving …' : w ? 'Save' : 'Create'}
          </button>
          <button type="button" onClick={close}>
            Cancel
          </button>
        </div>
      </form>
    </Dialog>
  );
}
