import { useMemo } from 'preact/hooks';
import { getJSON } from '../base/api.ts';
import { age, plural, sig3, uptime } from '../base/format.ts';
import { useResource } from '../base/resource.ts';
import { href, param, route, setParams } from '../base/router.ts';
import { useSignal } from '../base/signal.ts';
import { stamp, zoneName } from '../base/time.ts';
import type { Report, ReportRow } from '../base/types.ts';
import { Loaded, Sentence } from '../ui/parts.tsx';
import { Table } from '../ui/table.tsx';
import type { PartProps } from './checks.tsx';
import { dayWords, monthName, reportSentence, stepMonth } from './reportdata.ts';

const gap = (s: number | null) => (s ? age(s) : <span class="faint">{s === 0 ? '0' : '–'}</span>);
const ms = (s: number | null) => (s === null ? <span class="faint">–</span> : sig3(s * 1000));

/** Uptime of a month, for people who read it on paper. */
export default function ReportScreen({ tabs }: PartProps) {
  const r = useSignal(route);
  const today = new Date().toISOString().slice(0, 7);
  const month = /^\d{4}-\d\d$/.test(r.params.get('month') ?? '') ? r.params.get('month')! : today;
  const check = r.params.get('check') ?? '';
  const path = `/api/v1/reports/uptime?month=${month}${check ? `&check=${encodeURIComponent(check)}` : ''}`;
  const res = useResource<Report>(`report ${path}`, (s) => getJSON<Report>(path, s), month === today ? ['checks'] : [], 30_000);
  const csv = `${path}&format=csv${param('tenant') ? `&vedette_tenant=${encodeURIComponent(param('tenant'))}` : ''}`;
  const pick = (m: string) => setParams({ month: m === today ? '' : m });
  return (
    <div class="report">
      <Loaded screen res={res} what="The report">
        {(d) => <View tabs={tabs} d={d} month={month} check={check} csv={csv} pick={pick} today={today} />}
      </Loaded>
    </div>
  );
}

function View({ tabs, d, month, check, csv, pick, today }: PartProps & { d: Report; month: string; check: string; csv: string; pick: (m: string) => void; today: string }) {
  const r = useSignal(route);
  const find = (r.params.get('find') ?? '').toLowerCase();
  const all = d.checks ?? [];
  const rows = useMemo(
    () =>
      all
        .filter((c) => !find || `${c.name} ${c.id} ${Object.entries(c.labels ?? {}).map(([k, v]) => `${k}=${v}`).join(' ')}`.toLowerCase().includes(find))
        .sort((a, b) => (a.uptime ?? 2) - (b.uptime ?? 2) || a.name.localeCompare(b.name)),
    [all, find],
  );
  return (
    <>
      <Sentence text={reportSentence(month, d.partial, rows)} />
      {tabs}
      <div class="toolbar noprint">
        <span class="seg" role="group" aria-label="Month">
          <button aria-label="The month before" onClick={() => pick(stepMonth(month, -1))}>
            ‹
          </button>
          <button aria-label="The month after" disabled={month >= today} onClick={() => pick(stepMonth(month, 1))}>
            ›
          </button>
        </span>
        <input type="month" aria-label="Month" value={month} max={today} onChange={(e) => e.currentTarget.value && pick(e.currentTarget.value)} />
        <input class="find" type="search" placeholder="Filter by name, label" aria-label="Filter the report" value={r.params.get('find') ?? ''} onInput={(e) => setParams({ find: e.currentTarget.value }, true)} />
        {check && (
          <span>
            only {check}{' '}
            <button class="link" onClick={() => setParams({ check: '' })}>
              show all
            </button>
          </span>
        )}
        <span class="push" />
        <button onClick={() => print()}>Print</button>
        <a class="button" href={csv} download={`uptime-${month}.csv`}>
          CSV
        </a>
      </div>
      <Table
        name="report"
        label={`Uptime in ${monthName(month)}`}
        rows={rows}
        keyOf={(c) => c.id}
        empty={all.length ? 'No check matches the filter.' : `No check ran in ${monthName(month)}.`}
        cols={[
          { id: 'name', head: 'Check', cls: 'wide', by: (c) => c.name, cell: (c) => <a class="name" data-open href={href(['checks', c.id])} title={c.name}>{c.name}</a> },
          { id: 'uptime', head: 'Uptime', unit: '%', num: true, by: (c) => c.uptime, cell: (c) => (c.uptime === null ? <span class="faint">not known</span> : <strong>{uptime(c.uptime)}</strong>) },
          { id: 'days', head: 'Days', cls: 'sparkcol', title: 'A bar a day: full height is a day without a fault', cell: (c) => <Days c={c} month={month} /> },
          { id: 'down', head: 'Down', num: true, by: (c) => c.down_seconds, cell: (c) => gap(c.down_seconds) },
          { id: 'incidents', head: 'Incidents', num: true, by: (c) => c.incidents, cell: (c) => c.incidents || <span class="faint">0</span> },
          { id: 'mtta', head: 'MTTA', num: true, title: 'Mean time to acknowledge', by: (c) => c.mtta_seconds, cell: (c) => gap(c.mtta_seconds) },
          { id: 'mttr', head: 'MTTR', num: true, title: 'Mean time to recover', by: (c) => c.mttr_seconds, cell: (c) => gap(c.mttr_seconds) },
          { id: 'p50', head: 'p50', unit: 'ms', num: true, by: (c) => c.p50_seconds, cell: (c) => ms(c.p50_seconds) },
          { id: 'p95', head: 'p95', unit: 'ms', num: true, by: (c) => c.p95_seconds, cell: (c) => ms(c.p95_seconds) },
          { id: 'failed', head: 'Failed runs', num: true, by: (c) => c.failed, cell: (c) => (c.failed ? <span title={`of ${c.runs.toLocaleString('en-GB')}`}>{c.failed.toLocaleString('en-GB')}</span> : <span class="faint">0</span>) },
          { id: 'unknown', head: 'Not known', num: true, by: (c) => c.unknown_seconds, cell: (c) => gap(c.unknown_seconds) },
          { id: 'maintenance', head: 'Maintenance', num: true, by: (c) => c.maintenance_seconds, cell: (c) => gap(c.maintenance_seconds) },
        ]}
      />
      <p class="hint faint">
        From {stamp(Date.parse(d.from), false)} to {stamp(Math.min(Date.parse(d.to), Date.now()), false)} {zoneName(Date.parse(d.from))}. Days are those of the server. MTTA is the mean time until somebody acknowledged, MTTR until it was up again. Time that is not known is left out of the uptime.
      </p>
    </>
  );
}

/** A bar a day: a full grey one is a day without a fault, what is missing at the top was down. */
function Days({ c, month }: { c: ReportRow; month: string }) {
  const days = c.days ?? [];
  const n = new Date(Date.UTC(Number(month.slice(0, 4)), Number(month.slice(5)), 0)).getUTCDate();
  const step = 4;
  const h = 16;
  const byDay = new Map(days.map((d) => [Number(d.day.slice(8)), d]));
  const bad = days.filter((d) => (d.uptime ?? 1) < 1).length;
  const words = `${plural(days.filter((d) => d.uptime !== null).length, 'day')}, ${bad ? `${bad} with a fault` : 'none with a fault'}`;
  return (
    <svg class="daybars" width={31 * step} height={h} viewBox={`0 0 ${31 * step} ${h}`} role="img" aria-label={words}>
      {Array.from({ length: n }, (_, i) => {
        const d = byDay.get(i + 1);
        const x = i * step;
        if (!d || d.uptime === null) return <rect key={i} class="none" x={x} y={h - 1} width={step - 1} height={1}><title>{d ? dayWords(d) : ''}</title></rect>;
        // A fault is seen however short it was: at least a fifth of the bar is cut off.
        const cut = d.uptime >= 1 ? 0 : Math.min(h, Math.max(h / 5, (1 - d.uptime) * 20 * h));
        return (
          <g key={i}>
            <title>{dayWords(d)}</title>
            <rect class="good" x={x} y={cut} width={step - 1} height={h - cut} />
            {cut > 0 && <rect class="bad" x={x} y={0} width={step - 1} height={cut} />}
          </g>
        );
      })}
    </svg>
  );
}
