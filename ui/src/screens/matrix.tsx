import type { ComponentChildren } from 'preact';
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from 'preact/hooks';
import { plural, seconds, sig3, uptime } from '../base/format.ts';
import { onChange } from '../base/live.ts';
import { go, href, route, setParams } from '../base/router.ts';
import { useSignal } from '../base/signal.ts';
import { zoneName } from '../base/time.ts';
import type { Check, Location, Place } from '../base/types.ts';
import { At, Shape } from '../ui/marks.tsx';
import { Cells } from '../ui/spark.tsx';
import { compareBy, keepOrder } from '../ui/table.tsx';
import { certDays, checkSentence, groupChecks, isBreach, placesOf, signOfPlace, signOfState, toneOf } from './checkparts.ts';

const sorts: Record<string, (c: Check) => number | string | null | undefined> = {
  name: (c) => c.name,
  uptime: (c) => c.uptime_24h,
  took: (c) => Math.max(...placesOf(c).map((p) => p.last?.duration_seconds ?? -1)),
  cert: (c) => certDays(c),
};

type Item = { kind: 'group'; key: string; name: string; checks: number; breaches: number } | { kind: 'row'; key: string; c: Check } | { kind: 'why'; key: string; c: Check };

/** More rows than these are shown by window: only what can be seen is in the page. */
const windowAbove = 150;
const wide = { group: 28, row: 28, why: 22 };
const narrow = { group: 32, row: 74, why: 40 };
const phone = typeof matchMedia === 'undefined' ? null : matchMedia('(max-width: 719px)');

/** Checks down, places across. Worst first; the order stays until the person asks for a new one. */
export function Matrix({ checks, places, locations, group, epochKey, empty }: { checks: Check[]; places: string[]; locations: Location[]; group: string; epochKey: string; empty: ComponentChildren }) {
  const r = useSignal(route);
  const wish = r.params.get('sort') ?? '';
  const [epoch, setEpoch] = useState(0);
  useEffect(() => onChange((t) => t.includes('user') && setTimeout(() => setEpoch((n) => n + 1), 300)), []);

  const groups = useMemo(() => {
    const out = groupChecks(checks, group);
    const by = sorts[wish.replace(/^-/, '')];
    if (by) for (const g of out) g.checks.sort(compareBy(by, wish.startsWith('-')));
    return out;
  }, [checks, group, wish]);

  const memory = useRef<{ key: string; keys: string[] }>({ key: '', keys: [] });
  const key = `${epochKey} ${group} ${wish} ${epoch}`;
  const natural = groups.flatMap((g) => g.checks.map((c) => c.id));
  const keys = memory.current.key === key && memory.current.keys.length ? keepOrder(natural, memory.current.keys) : natural;
  memory.current = { key, keys };
  const moved = !wish && keys.some((k, i) => k !== natural[i]);

  const items: Item[] = [];
  const byId = new Map(checks.map((c) => [c.id, c]));
  const at = new Map(keys.map((k, i) => [k, i]));
  for (const g of groups) {
    if (group) items.push({ kind: 'group', key: `g ${g.name}`, name: g.name, checks: g.checks.length, breaches: g.breaches });
    const ids = moved ? g.checks.map((c) => c.id).sort((a, b) => at.get(a)! - at.get(b)!) : g.checks.map((c) => c.id);
    for (const id of ids) {
      const c = byId.get(id)!;
      items.push({ kind: 'row', key: id, c });
      if (isBreach(c) || (c.state === 'unreachable' && c.text) || (c.state === 'up' && c.slow?.length)) items.push({ kind: 'why', key: `w ${id}`, c });
    }
  }

  const many = items.length > windowAbove;
  const small = phone?.matches ? narrow : wide;
  const tops = useMemo(() => {
    if (!many) return [];
    const out = new Float64Array(items.length + 1);
    items.forEach((x, i) => (out[i + 1] = out[i]! + small[x.kind]));
    return out;
  }, [many, items.length, items[0]?.key, small, checks, group]);
  const body = useRef<HTMLTableSectionElement>(null);
  const [span, setSpan] = useState<[number, number]>([0, 80]);
  useLayoutEffect(() => {
    if (!many) return;
    let frame = 0;
    const find = (y: number) => {
      let a = 0;
      let b = tops.length - 1;
      while (a < b) {
        const m = (a + b) >> 1;
        if (tops[m]! < y) a = m + 1;
        else b = m;
      }
      return a;
    };
    const measure = () => {
      frame = 0;
      const top = -(body.current?.getBoundingClientRect().top ?? 0);
      // In steps, so that a small movement changes nothing in the page.
      const a = Math.max(0, Math.floor((find(top) - 14) / 10) * 10);
      const b = Math.ceil((find(top + innerHeight) + 14) / 10) * 10;
      setSpan((s) => (s[0] === a && s[1] === b ? s : [a, b]));
    };
    const soon = () => {
      frame ||= requestAnimationFrame(measure);
    };
    measure();
    addEventListener('scroll', soon, { passive: true, capture: true });
    addEventListener('resize', soon);
    return () => {
      removeEventListener('scroll', soon, { capture: true });
      removeEventListener('resize', soon);
      cancelAnimationFrame(frame);
    };
  }, [many, tops]);

  if (!checks.length) return <div class="empty">{empty}</div>;
  const [a, b] = many ? [Math.min(span[0], Math.max(0, items.length - 10)), Math.min(items.length, span[1])] : [0, items.length];
  const cols = places.length + 4;
  const sort = (id: string, down: boolean, text: ComponentChildren) => {
    const on = wish.replace(/^-/, '') === id;
    const first = down ? '-' + id : id;
    return (
      <button class="sort" onClick={() => setParams({ sort: wish === first ? (down ? id : '-' + id) : on ? '' : first }, true)}>
        {text}
        <span class="arrow" aria-hidden="true">
          {on ? (wish.startsWith('-') ? '↓' : '↑') : ''}
        </span>
      </button>
    );
  };
  return (
    <div class={`table-wrap matrix${many ? ' many' : ''}${places.length > 3 ? ' crowded' : ''}${places.length > 4 ? ' scrolls' : ''}`}>
      {moved && (
        <div class="moved">
          The order has changed.{' '}
          <button class="link" onClick={() => setEpoch((n) => n + 1)}>
            Sort again
          </button>
        </div>
      )}
      <table aria-rowcount={checks.length + 1}>
        <caption class="sr">Checks and the places that run them</caption>
        <thead>
          <tr>
            <th scope="col">{sort('name', false, 'Check')}</th>
            <th scope="col">
              State, since <span class="unit">{zoneName()}</span>
            </th>
            <th scope="col" class="num" title="Share of the runs of the last 24 hours that were well">
              {sort('uptime', false, <>Up 24 h <span class="unit">%</span></>)}
            </th>
            <th scope="col" class="num certcol" title="Days until the first certificate of the chain ends">
              {sort('cert', false, <>Cert. <span class="unit">d</span></>)}
            </th>
            {places.map((p, i) => {
              const l = locations.find((x) => x.name === p);
              return (
                <th key={p} scope="col" class="place" title={l?.state === 'silent' ? `${p} is silent` : `Last runs from ${p} and how long the last one took`}>
                  {l?.state === 'silent' && <Shape state="unknown" />} {i === 0 ? sort('took', true, p) : p}
                </th>
              );
            })}
          </tr>
        </thead>
        <tbody ref={body}>
          {a > 0 && (
            <tr aria-hidden="true" class="spacer" key="\u0000top">
              <td colSpan={cols} style={{ height: `${tops[a]}px` }} />
            </tr>
          )}
          {items.slice(a, b).map((x, i) =>
            x.kind === 'group' ? (
              <tr key={x.key} class="grouprow">
                <th colSpan={cols} scope="rowgroup">
                  <strong>{x.name || `without ${group}`}</strong>{' '}
                  <span class="soft">
                    {plural(x.checks, 'check')}
                    {x.breaches ? `, ${x.breaches.toLocaleString('en-GB')} in breach` : ''}
                  </span>
                </th>
              </tr>
            ) : x.kind === 'why' ? (
              <tr key={x.key} class={`whyrow breach is-${toneOf(x.c) || 'none'}`}>
                <td colSpan={cols}>
                  <div title={x.c.text}>
                    {checkSentence(x.c)}
                    {x.c.children?.length ? <span class="soft"> It explains {plural(x.c.children.length, 'other check')}.</span> : null}
                  </div>
                </td>
              </tr>
            ) : (
              <Row key={x.key} c={x.c} places={places} why={items[a + i + 1]?.kind === 'why'} />
            ),
          )}
          {b < items.length && (
            <tr aria-hidden="true" class="spacer" key="\u0000end">
              <td colSpan={cols} style={{ height: `${tops[items.length]! - tops[b]!}px` }} />
            </tr>
          )}
        </tbody>
      </table>
    </div>
  );
}

function Row({ c, places, why }: { c: Check; places: string[]; why: boolean }) {
  const tone = toneOf(c);
  const of = new Map(placesOf(c).map((p) => [p.location, p]));
  const days = certDays(c);
  const certTone = days === null ? '' : days < 3 ? 'page' : days < 14 ? 'warning' : '';
  const open = href(['checks', c.id]);
  return (
    <tr
      data-row={c.id}
      tabIndex={-1}
      class={`opens ${tone ? `breach is-${tone}` : ''} ${why ? 'has-why' : ''} ${c.state === 'paused' ? 'dim' : ''}`}
      onClick={(e) => {
        if ((e.target as Element).closest('a, button') || String(getSelection())) return;
        go(open);
      }}
    >
      <th scope="row" class="wide">
        <span class="rowhead">
          <a class="name" data-open href={open} title={`${c.name} ${c.target}`}>
            {c.name}
          </a>
          <span class="faint kind">{c.kind}</span>
        </span>
      </th>
      <td class="state">
        <StateMark c={c} />{' '}
        <span class={tone ? '' : 'faint'}>
          <At t={c.since} minute />
        </span>
      </td>
      <td class="num uptimecol">{uptime(c.uptime_24h)}</td>
      <td class="num certcol">
        {days === null ? (
          <span class="faint">–</span>
        ) : certTone ? (
          <span class={`hot is-${certTone}`}>
            <Shape state={certTone} /> {Math.floor(days)}
          </span>
        ) : (
          Math.floor(days)
        )}
      </td>
      {places.map((p) => {
        const x = of.get(p);
        return x ? (
          <td key={p} class="place">
            <PlaceCell p={x} c={c} slots={places.length > 3 ? 12 : 20} />
          </td>
        ) : (
          <td key={p} class="place none">
            <span class="sr">not run from {p}</span>
          </td>
        );
      })}
    </tr>
  );
}

const words: Partial<Record<Check['state'], string>> = { unreachable: 'explained', unknown: 'not known' };

export function StateMark({ c }: { c: Check }) {
  const sign = signOfState(c.state, c.severity ?? 'page');
  const slow = c.state === 'up' && !!c.slow?.length;
  return (
    <span class={`mark is-${slow ? 'warning' : sign}`}>
      <Shape state={slow ? 'pending' : sign} />
      <span>{slow ? 'up, slow' : (words[c.state] ?? c.state)}</span>
    </span>
  );
}

/** One place of a check: the sign, the last runs, and what the last one took or where it failed. */
function PlaceCell({ p, c, slots }: { p: Place; c: Check; slots: number }) {
  const calm = c.state === 'maintenance' || c.state === 'unreachable' || c.state === 'paused';
  const sign = signOfPlace(c, p.state);
  const slow = c.slow?.find((s) => s.location === p.location);
  const took = p.last ? seconds(p.last.duration_seconds) : '';
  const bad = p.last && !p.last.success;
  const stage = bad ? p.last!.stage || 'failed' : '';
  const text = slow && !bad ? `${slow.phase} ${sig3(slow.now_seconds / slow.usual_seconds)}×` : stage;
  const title = `${p.location}: ${p.state}${stage ? ` at ${stage}` : ''}${took ? `, last run ${took}` : ''}${slow ? `; ${slow.phase} takes ${seconds(slow.now_seconds)}, usually ${seconds(slow.usual_seconds)}` : ''}`;
  return (
    <span class={`placecell mark is-${slow && !bad ? 'warning' : sign}`} title={title}>
      <Shape state={slow && !bad ? 'pending' : sign} />
      <span class="placename">{p.location}</span>
      <Cells runs={p.recent ?? []} slots={slots} cell={3} height={14} failed={calm ? 'calm' : 'page'} />
      <span class="took num">{p.state === 'silent' ? 'silent' : took || <span class="faint">no run</span>}</span>
      {text && <span class="stage">{text}</span>}
      <span class="sr">{p.state}</span>
    </span>
  );
}
