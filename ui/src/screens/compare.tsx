import { useState } from 'preact/hooks';
import { mayWrite, prom, send, sentence } from '../base/api.ts';
import { age, sig3 } from '../base/format.ts';
import { useResource } from '../base/resource.ts';
import { route, setParams } from '../base/router.ts';
import { useSignal } from '../base/signal.ts';
import { fromField, stamp, toField, when, zoneName } from '../base/time.ts';
import { phases, type Check, type Marker, type PromSeries } from '../base/types.ts';
import { Loaded, Section } from '../ui/parts.tsx';
import { phaseColours } from '../ui/spark.tsx';
import { changeWords, changed, compareSentence, spreads, type Phases } from './beforeafter.ts';
import { phaseMetric, placesOf, selector } from './checkparts.ts';

const lengths: [string, number][] = [
  ['15 min', 900],
  ['1 h', 3600],
  ['6 h', 21600],
  ['1 d', 86400],
];

/** Two spans of the same length around a marker or any other time. */
export function Compare({ check: c, markers, reload }: { check: Check; markers: Marker[]; reload: () => void }) {
  const r = useSignal(route);
  const at = Number(r.params.get('at')) || 0;
  const place = r.params.get('at_place') ?? '';
  const now = Date.now() / 1000;
  const past = markers.filter((m) => Date.parse(m.at) / 1000 < now - 60);
  const wish = Number(r.params.get('span')) || 0;
  // As long as the time after it allows, at most an hour unless another length is chosen.
  const length = Math.floor(Math.min(wish || 3600, Math.max(60, now - at)));
  const [field, setField] = useState('');
  const [wrong, setWrong] = useState('');
  const pick = (t: number) => setParams({ at: t ? String(Math.round(t)) : '' }, true);
  const chosen = markers.find((m) => Math.abs(Date.parse(m.at) / 1000 - at) < 1);
  return (
    <Section title="Before and after" note={at ? `${chosen ? `${chosen.kind} ${chosen.text}, ` : ''}${stamp(at * 1000)} ${zoneName(at * 1000)}` : 'the same length on both sides of a marker or of any time'}>
      <div class="toolbar">
        <select aria-label="Marker" value={chosen ? chosen.id : at ? 'own' : ''} onChange={(e) => pick(Date.parse(past.find((m) => m.id === e.currentTarget.value)?.at ?? '') / 1000 || 0)}>
          <option value="">{past.length ? 'choose a marker' : 'no marker yet'}</option>
          {past.map((m) => (
            <option key={m.id} value={m.id}>
              {`${m.kind} ${m.text}, ${when(Date.parse(m.at))}`}
            </option>
          ))}
          {at > 0 && !chosen && <option value="own">{`the time ${stamp(at * 1000)}`}</option>}
        </select>
        <form
          class="field"
          onSubmit={(e) => {
            e.preventDefault();
            const t = fromField(field);
            if (!(t > 0 && t < now)) return setWrong('Write a time of the past as 2026-01-31 18:04.');
            setWrong('');
            pick(t);
          }}
        >
          <input class="num" aria-label={`Or a time, ${zoneName()}`} placeholder={`or a time: ${toField(now - 3600).slice(0, 16)}`} size={22} value={field} onInput={(e) => setField(e.currentTarget.value)} />
        </form>
        {at > 0 && (
          <>
            <span class="row wrap" role="group" aria-label="How long before and after">
              {lengths.map(([text, s]) => (
                <button key={s} class="small" aria-pressed={(wish || 3600) === s} onClick={() => setParams({ span: s === 3600 ? '' : String(s) }, true)}>
                  {text}
                </button>
              ))}
            </span>
            {placesOf(c).length > 1 && (
              <select aria-label="From which place" value={place} onChange={(e) => setParams({ at_place: e.currentTarget.value }, true)}>
                <option value="">mean of all places</option>
                {placesOf(c).map((p) => (
                  <option key={p.location} value={p.location}>
                    {p.location}
                  </option>
                ))}
              </select>
            )}
            <button class="link" onClick={() => setParams({ at: '', span: '', at_place: '' }, true)}>
              Close
            </button>
          </>
        )}
        {!at && mayWrite() && <AddMarker check={c} reload={reload} />}
      </div>
      {wrong && (
        <p class="wrong" role="alert">
          {wrong}
        </p>
      )}
      {at > 0 && <Panels check={c} at={at} length={length} place={place} cut={length < (wish || 3600)} />}
    </Section>
  );
}

function Panels({ check: c, at, length, place, cut }: { check: Check; at: number; length: number; place: string; cut: boolean }) {
  const rough = Math.floor(length / 30); // a span that still grows is not asked for each second
  const res = useResource<{ before: Phases; after: Phases }>(
    `compare ${c.id} ${at} ${rough} ${place}`,
    async (s) => {
      const of = `${phaseMetric(c.kind)}${selector(c.name, place ? `, location=${JSON.stringify(place)}` : '')}[${length}s]`;
      const ask = (q: number, time: number) => prom<{ result: PromSeries[] }>('query', { query: `avg by (phase) (quantile_over_time(${q}, ${of}))`, time: String(time) }, s).then((x) => x.data.result);
      const [m0, p0, m1, p1] = await Promise.all([ask(0.5, at), ask(0.95, at), ask(0.5, at + length), ask(0.95, at + length)]);
      return { before: spreads(m0!, p0!), after: spreads(m1!, p1!) };
    },
    [],
  );
  return (
    <Loaded res={res} what="The comparison">
      {({ before, after }) => {
        const top = Math.max(0.001, ...[before, after].flatMap((x) => phases.map((p) => x[p]?.p95 ?? x[p]?.median ?? 0)));
        return (
          <>
            <p class="saying" role="status">
              {compareSentence(before, after)}
            </p>
            <div class="compare">
              <Side title={`${age(length)} before`} of={before} top={top} />
              <Side title={`${age(length)} after${cut ? ', all there is so far' : ''}`} of={after} other={before} top={top} />
            </div>
            <p class="hint faint">Solid bar: the median. Thin bar: 95 % of the runs were faster. Both panels have the same scale.</p>
          </>
        );
      }}
    </Loaded>
  );
}

function Side({ title, of, other, top }: { title: string; of: Phases; other?: Phases; top: number }) {
  const ms = (s: number | null | undefined) => (s === null || s === undefined ? <span class="faint">–</span> : sig3(s * 1000));
  return (
    <table class="twin side">
      <caption>{title}</caption>
      <thead>
        <tr>
          <th scope="col">Phase</th>
          <th scope="col" class="bars" aria-hidden="true" />
          <th scope="col" class="num">
            Median <span class="unit">ms</span>
          </th>
          <th scope="col" class="num">
            p95 <span class="unit">ms</span>
          </th>
          {other && (
            <th scope="col" class="num">
              Change
            </th>
          )}
        </tr>
      </thead>
      <tbody>
        {phases.map((p, i) => {
          const v = of[p];
          const o = other?.[p];
          return (
            <tr key={p}>
              <th scope="row">{p}</th>
              <td class="bars" aria-hidden="true">
                <span class="spread">
                  {v?.p95 ? <span class="far" style={{ width: `${(v.p95 / top) * 100}%`, background: phaseColours[i] }} /> : null}
                  {v?.median ? <span class="mid" style={{ width: `max(1px, ${(v.median / top) * 100}%)`, background: phaseColours[i] }} /> : null}
                </span>
              </td>
              <td class="num">{ms(v?.median)}</td>
              <td class="num">{ms(v?.p95)}</td>
              {other && <td class="num">{changed(o?.median, v?.median) ? changeWords(o!.median!, v!.median!) : <span class="faint">{v && o ? 'same' : '–'}</span>}</td>}
            </tr>
          );
        })}
      </tbody>
    </table>
  );
}

/** A note for all charts: what happened now. */
function AddMarker({ check: c, reload }: { check: Check; reload: () => void }) {
  const [open, set] = useState(false);
  const [text, setText] = useState('');
  const [kind, setKind] = useState('note');
  const [wrong, setWrong] = useState('');
  if (!open) {
    return (
      <button class="link" onClick={() => set(true)}>
        Mark the present
      </button>
    );
  }
  return (
    <form
      class="field"
      onSubmit={async (e) => {
        e.preventDefault();
        try {
          await send('POST', '/api/v1/markers', { text: text.trim(), kind, labels: { check: c.id } });
          set(false);
          setText('');
          setWrong('');
          reload();
        } catch (err) {
          setWrong(sentence(err));
        }
      }}
    >
      <select aria-label="Kind of marker" value={kind} onChange={(e) => setKind(e.currentTarget.value)}>
        <option>note</option>
        <option>release</option>
        <option>change</option>
      </select>
      <input autofocus aria-label="What happened" placeholder="what happened" value={text} onInput={(e) => setText(e.currentTarget.value)} />
      <button type="submit">Mark</button>
      {wrong && <span class="wrong">{wrong}</span>}
    </form>
  );
}
