import { useEffect, useState } from 'preact/hooks';
import { request } from '../base/api.ts';
import { bytes, seconds, sig3 } from '../base/format.ts';
import { hms, stamp, zoneName } from '../base/time.ts';
import { phases, type Check, type Hop, type Run } from '../base/types.ts';
import { Ago, Mark } from '../ui/marks.tsx';
import { Copy, Facts, Panel } from '../ui/parts.tsx';
import { PhaseLegend, phaseColours } from '../ui/spark.tsx';
import { dot, runKey, runSeconds, unixNanos } from './checkparts.ts';

const phaseSum = (h: Hop) => phases.reduce((a, p) => a + (h.phases?.[p]?.seconds ?? 0), 0);

/** One run opened: hops and phases as a waterfall, then what went wrong and all that is known of it. */
export function RunPanel({ run, check, close }: { run: Run; check: Check; close: () => void }) {
  const t = Date.parse(run.start);
  const facts = Object.entries(run.facts ?? {});
  const hops = run.hops ?? [];
  const marks: [boolean | undefined, string][] = [
    [run.late, 'It reached the hub after its time, because the place had no connection: it is kept and does not vote.'],
    [run.extra, 'It ran outside the schedule: to confirm a failure, or because somebody asked.'],
    [run.maintenance, 'It ran within a maintenance window: nobody is told of it.'],
  ];
  return (
    <Panel title={`Run of ${hms(t)} ${zoneName(t)} from ${run.location}`} close={close} back={runKey(run)}>
      <p>
        {run.success ? (
          <>Ok in {seconds(run.duration_seconds)}.</>
        ) : (
          <>
            <Mark state={run.maintenance ? 'silenced' : 'page'} word={`Failed at ${run.stage || 'an unknown stage'}${run.reason && run.reason !== run.stage ? ` (${run.reason})` : ''}${run.message ? ':' : '.'}`} /> {run.message && dot(run.message)}
          </>
        )}
      </p>
      {marks.map(([on, text]) => on && <p class="soft" key={text}>{text}</p>)}
      <Waterfall run={run} />
      <Facts
        of={[
          ['took', seconds(run.duration_seconds)],
          ['started late by', seconds(run.lag_seconds)],
          ['started', `${stamp(t)} ${zoneName(t)}`],
          ['ago', <Ago t={run.start} />],
        ]}
      />
      {run.trace_id && (
        <div class="traceline">
          <span class="soft">trace</span> <span class="mono">{run.trace_id}</span> <Copy text={run.trace_id} what="trace id" />
        </div>
      )}
      {facts.length > 0 && (
        <>
          <h3>What it found</h3>
          <dl class="found-facts">
            {facts.map(([k, v]) => (
              <div key={k}>
                <dt>{k}</dt>
                <dd>{v}</dd>
              </div>
            ))}
          </dl>
        </>
      )}
      {run.values && run.values.length > 0 && (
        <>
          <h3>Measured</h3>
          <dl class="found-facts">
            {run.values.map((v, i) => (
              <div key={i}>
                <dt class="mono">{v.name + labelText(v.labels)}</dt>
                <dd class="num">{Number.isInteger(v.value) ? String(v.value) : /_seconds$/.test(v.name) ? seconds(v.value) : sig3(v.value)}</dd>
              </div>
            ))}
          </dl>
        </>
      )}
      <Certificates hops={hops} />
      {run.reply && (
        <>
          <div class="panel-head">
            <h3>Reply</h3>
            <Copy text={run.reply} what="reply" />
          </div>
          <pre class="reply" tabIndex={0}>
            {run.reply}
          </pre>
        </>
      )}
      {run.console && run.console.length > 0 && (
        <>
          <h3>Console of the browser</h3>
          <pre class="reply" tabIndex={0}>
            {run.console.join('\n')}
          </pre>
        </>
      )}
      {run.has_screenshot && <Screenshot run={run} check={check} />}
    </Panel>
  );
}

function labelText(labels: string[] | null | undefined): string {
  if (!labels?.length) return '';
  const out: string[] = [];
  for (let i = 0; i + 1 < labels.length; i += 2) out.push(`${labels[i]}=${JSON.stringify(labels[i + 1])}`);
  return `{${out.join(', ')}}`;
}

/** The picture comes by our own request, which carries the tenant and the sign-in. */
function Screenshot({ run, check }: { run: Run; check: Check }) {
  const [src, set] = useState('');
  const [wrong, setWrong] = useState('');
  const path = `/api/v1/checks/${encodeURIComponent(check.id)}/runs/${encodeURIComponent(run.location)}/${unixNanos(run.start)}/screenshot`;
  useEffect(() => {
    const a = new AbortController();
    request(path, { signal: a.signal })
      .then((r) => r.blob())
      .then(
        (b) => {
          const f = new FileReader();
          f.onload = () => !a.signal.aborted && set(String(f.result));
          f.readAsDataURL(b);
        },
        (e) => !a.signal.aborted && setWrong(e instanceof Error ? e.message : String(e)),
      );
    return () => a.abort();
  }, [path]);
  return (
    <>
      <h3>What the page looked like</h3>
      {src ? (
        <a href={path} target="_blank" rel="noopener">
          <img class="screenshot" src={src} alt={`The page as the run from ${run.location} saw it when it failed`} />
        </a>
      ) : (
        <p class="soft">{wrong ? `The picture could not be loaded: ${dot(wrong)}` : 'Loading the picture …'}</p>
      )}
    </>
  );
}

function Certificates({ hops }: { hops: Hop[] }) {
  const seen = new Set<string>();
  const of = hops.filter((h) => h.tls && !seen.has(JSON.stringify(h.tls)) && seen.add(JSON.stringify(h.tls)));
  if (!of.length) return null;
  return (
    <>
      <h3>{of.length === 1 ? 'Certificate' : 'Certificates'}</h3>
      {of.map((h, n) => {
        const end = Date.parse(h.tls!.not_after);
        return (
          <Facts
            key={n}
            of={[
              ['subject', h.tls!.subject],
              ['issuer', h.tls!.issuer],
              ['ends', `${stamp(end, false)} ${zoneName(end)}, in ${Math.floor((end - Date.now()) / 86_400_000)} d`],
              ['TLS', `${h.tls!.version}, ${h.tls!.cipher}${h.tls!.alpn ? `, ${h.tls!.alpn}` : ''}`],
              ['names', (h.tls!.names ?? []).join(', ') || 'none'],
            ]}
          />
        );
      })}
    </>
  );
}

/** Where each hop begins: told by the server, else one behind the other. */
function offsets(hops: Hop[]): number[] {
  let at = 0;
  return hops.map((h, i) => {
    const from = h.offset_seconds === undefined || (i > 0 && h.offset_seconds === 0) ? at : h.offset_seconds;
    at = from + phaseSum(h);
    return from;
  });
}

/** Few hops stand with a line for each phase; many stand as one line each, by step. */
function Waterfall({ run }: { run: Run }) {
  const hops = run.hops ?? [];
  const steps = run.steps ?? [];
  const from = offsets(hops);
  const total = Math.max(runSeconds(run), ...hops.map((h, i) => from[i]! + phaseSum(h))) || 1;
  if (!hops.length && !steps.length) return <p class="soft">No request was made.</p>;
  if (hops.length <= 3 && !steps.length) {
    return (
      <ol class="waterfall">
        {hops.map((h, n) => (
          <li key={n}>
            <HopHead h={h} />
            <PhaseLines h={h} from={from[n]!} total={total} />
          </li>
        ))}
      </ol>
    );
  }
  const groups: { name: string; step?: (typeof steps)[number]; hops: number[] }[] = steps.map((s) => ({ name: s.name, step: s, hops: [] }));
  hops.forEach((h, i) => {
    let g = groups.find((x) => x.name === (h.step ?? ''));
    if (!g) groups.push((g = { name: h.step ?? '', hops: [] }));
    g.hops.push(i);
  });
  return (
    <>
      <PhaseLegend />
      <ol class="waterfall lines">
        {groups.map((g) => (
          <li key={g.name}>
            {g.name && (
              <div class={`step is-${g.step?.state ?? 'ok'}`}>
                {g.step?.state === 'failed' ? <Mark state={run.maintenance ? 'silenced' : 'page'} word={g.name} /> : <strong>{g.name}</strong>}
                <span class="num soft">{g.step ? (g.step.state === 'not_reached' ? 'not reached' : `${g.step.state === 'failed' ? 'failed after ' : ''}${seconds(g.step.duration_seconds)}`) : ''}</span>
              </div>
            )}
            {g.step?.message && <p class="soft">{dot(g.step.message)}</p>}
            {g.hops.map((i) => (
              <HopLine key={i} h={hops[i]!} from={from[i]!} total={total} />
            ))}
          </li>
        ))}
      </ol>
      <div class="ends faint waterfall-ends">
        <span>0 s</span>
        <span>{seconds(total)}</span>
      </div>
    </>
  );
}

function HopHead({ h }: { h: Hop }) {
  return (
    <div class="hop-head">
      <span class="mono">{h.url}</span>
      <span class="soft">{[h.address, h.status ? `${h.proto ?? ''} ${h.status}`.trim() : h.proto ? 'no reply' : '', h.bytes ? bytes(h.bytes) : '', h.location ? `to ${h.location}` : ''].filter(Boolean).join(', ')}</span>
    </div>
  );
}

function PhaseLines({ h, from, total }: { h: Hop; from: number; total: number }) {
  let at = from;
  return (
    <>
      {phases.map((p, i) => {
        const ph = h.phases?.[p] ?? { state: 'not_reached', seconds: 0 };
        const left = (at / total) * 100;
        const width = (ph.seconds / total) * 100;
        at += ph.seconds;
        return (
          <div class={`wf is-${ph.state}`} key={p}>
            <span class="wf-name">{p}</span>
            <span class="wf-track">{ph.state === 'done' || ph.state === 'failed' ? <span class="wf-bar" style={{ left: `${Math.min(99.5, left)}%`, width: `max(2px, ${width}%)`, background: phaseColours[i] }} /> : null}</span>
            <span class="wf-time num">{ph.state === 'done' ? seconds(ph.seconds) : ph.state === 'failed' ? `failed, ${seconds(ph.seconds)}` : ph.state === 'skipped' ? 'none' : 'not reached'}</span>
          </div>
        );
      })}
    </>
  );
}

/** One hop in a line; opened, its phases. */
function HopLine({ h, from, total }: { h: Hop; from: number; total: number }) {
  const [open, set] = useState(false);
  const failed = phases.some((p) => h.phases?.[p]?.state === 'failed') || (h.status ?? 0) >= 400;
  let at = from;
  const words = phases.map((p) => ((h.phases?.[p]?.seconds ?? 0) > 0 ? `${p} ${seconds(h.phases[p].seconds)}` : '')).filter(Boolean).join(', ');
  return (
    <div class={`hopline${failed ? ' is-failed' : ''}`}>
      <button class="quiet" aria-expanded={open} onClick={() => set(!open)} title={`${h.url}\nfrom ${seconds(from)}: ${words || 'nothing'}`}>
        <span class="hop-name">
          {h.type && <span class="faint">{h.type} </span>}
          <span class="mono">{shortUrl(h.url)}</span>
        </span>
        <span class="wf-track">
          {phases.map((p, i) => {
            const s = h.phases?.[p]?.seconds ?? 0;
            const left = (at / total) * 100;
            at += s;
            return s > 0 ? <span key={p} class="wf-bar" style={{ left: `${Math.min(99.5, left)}%`, width: `max(1px, ${(s / total) * 100}%)`, background: phaseColours[i] }} /> : null;
          })}
        </span>
        <span class="wf-time num">
          {h.status ? <span class={failed ? 'hot is-page' : 'faint'}>{h.status}</span> : ''} {seconds(phaseSum(h))}
        </span>
      </button>
      {open && (
        <div class="hop-open">
          <HopHead h={h} />
          <PhaseLines h={h} from={from} total={total} />
        </div>
      )}
    </div>
  );
}

/** The path, with the host before it where it says more. */
function shortUrl(u: string): string {
  try {
    const x = new URL(u);
    return x.pathname === '/' ? x.host + '/' : x.pathname + x.search;
  } catch {
    return u;
  }
}
