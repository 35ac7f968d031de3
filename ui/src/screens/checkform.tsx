import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import { ApiError, getJSON, mayWrite, request, sentence } from '../base/api.ts';
import { useKeys } from '../base/keys.ts';
import { useResource } from '../base/resource.ts';
import { go, href, param, route, setParams } from '../base/router.ts';
import { useSignal } from '../base/signal.ts';
import type { CheckDetails, CheckObject, Location, Run } from '../base/types.ts';
import { readYaml, writeYaml } from '../base/yaml.ts';
import { Copy, Loaded, Problem, Sentence } from '../ui/parts.tsx';
import type { YamlEditor } from '../yamleditor.ts';
import { Tries, type Try } from './tries.tsx';
import { alertFields, errorKey, fieldFor, fromField, getPath, headFields, hiddenKeys, kindDef, kindDefs, kindOf, otherKinds, setPath, shownKeys, toField, whenFields, type FieldDef } from './checkdata.ts';

/** Creates a check, edits one made here, or shows how one from a file is written. */
export default function CheckFormScreen() {
  const r = useSignal(route);
  const id = r.path[1] ?? r.params.get('like') ?? '';
  const res = useResource<CheckDetails | null>(`object ${id}`, (s) => (id ? getJSON<CheckDetails>(`/api/v1/checks/${encodeURIComponent(id)}`, s) : Promise.resolve(null)), []);
  if (res.data === undefined && res.error instanceof ApiError && res.error.status === 404) return <Sentence state="unknown" text={`There is no check with the id ${id}.`} />;
  return (
    <Loaded screen res={res} what="The check">
      {(d) => {
        if (!d) return <Form of={{}} />;
        if (!r.path[1]) return <Form of={{ ...d.object, name: `${d.check.name} copy`, id: undefined }} />;
        return d.check.source === 'api' && mayWrite() ? <Form of={d.object} id={id} name={d.check.name} /> : <ReadOnly d={d} />;
      }}
    </Loaded>
  );
}

function ReadOnly({ d }: { d: CheckDetails }) {
  const back = () => go(href(['checks', d.check.id]));
  useKeys({ Escape: back });
  const text = `checks:\n${d.yaml.trimEnd().split('\n').map((l, i) => (l ? `  ${i ? '  ' : '- '}${l}` : l)).join('\n')}\n`;
  return (
    <>
      <p class="crumbs">
        <a href={href(['checks'])}>Checks</a> / <a href={href(['checks', d.check.id])}>{d.check.name}</a> / How it is written
      </p>
      <Sentence text={d.check.source === 'builtin' ? `${d.check.name} is built in and cannot be changed.` : d.check.source === 'config' ? `${d.check.name} comes from vedette.yml; change it there.` : `${d.check.name}, as it is written.`} />
      <div class="toolbar">
        <Copy text={text} label="Copy as YAML" />
        {mayWrite() && (
          <a class="button" href={href(['checks'], { tab: 'new', like: d.check.id })}>
            Make one like it
          </a>
        )}
        <a href={href(['checks', d.check.id])}>Back</a>
      </div>
      <pre class="yamlview" tabIndex={0}>
        {text}
      </pre>
      {d.check.source === 'config' && <p class="soft">Vedette takes a change when the file is saved. Secrets are not shown.</p>}
    </>
  );
}

type Wrong = { key: string; field: string; text: string };

function Form({ of, id, name }: { of: CheckObject; id?: string; name?: string }) {
  const r = useSignal(route);
  const [o, setO] = useState<CheckObject>(() => clean(of));
  const kind = kindOf(o);
  const def = kindDef(kind);
  const [text, setText] = useState(() => writeYaml(clean(of)));
  // The editor keeps its own text; a new version puts ours into it.
  const [version, setVersion] = useState(0);
  const write = (t: string) => {
    setText(t);
    setVersion((n) => n + 1);
  };
  const asYaml = (r.params.get('as') ?? '') === 'yaml';
  const [wrong, setWrong] = useState<Wrong | null>(null);
  const [tries, setTries] = useState<Try[]>([]);
  const [busy, setBusy] = useState('');
  const locations = useResource<Location[]>('locations', (s) => getJSON<{ locations: Location[] | null }>('/api/v1/locations', s).then((x) => x.locations ?? []), ['checks'], 10_000);
  const shown = useMemo(() => shownKeys(kind), [kind]);
  const hidden = useMemo(() => hiddenKeys(o, kind), [o, kind]);
  const back = () => go(id ? href(['checks', id]) : href(['checks']));
  const form = useRef<HTMLFormElement>(null);

  const read = (): CheckObject | null => {
    try {
      const v = readYaml(text);
      if (!v || typeof v !== 'object' || Array.isArray(v)) throw new Error('Write one check as keys and values, beginning with name.');
      // Pasted from a file, a check stands in a list.
      const list = (v as CheckObject).checks;
      return Array.isArray(list) && list.length === 1 && Object.keys(v).length === 1 ? (list[0] as CheckObject) : (v as CheckObject);
    } catch (e) {
      setWrong({ key: '', field: '', text: `The YAML cannot be read here: ${sentence(e)} It can still be tried and saved as it is.` });
      return null;
    }
  };
  const show = (yaml: boolean) => {
    if (yaml) write(writeYaml(o));
    else {
      const v = read();
      if (!v) return;
      setO(v);
    }
    setWrong(null);
    setParams({ as: yaml ? 'yaml' : '' }, true);
  };
  const set = (d: FieldDef, v: string) => {
    setO((old) => setPath(old, d.key, fromField(d, v)));
    if (wrong?.field === d.key) setWrong(null);
  };
  const setKind = (k: string) => {
    const t = kindDef(k).template;
    if (t) {
      const start = readYaml(t) as CheckObject;
      if (o.name) start.name = o.name;
      setO(start);
      write(writeYaml(start));
      setParams({ as: 'yaml' }, true);
      return;
    }
    // What only the old kind has would be refused by the new one.
    let next = setPath(o, 'kind', k === 'http' ? undefined : k);
    for (const key of shownKeys(kind)) if (!shownKeys(k).includes(key)) next = setPath(next, key, undefined);
    setO(next);
  };

  const post = async (method: string, path: string): Promise<unknown> => {
    const res = await request(path, asYaml ? { method, body: text, headers: { 'Content-Type': 'application/yaml' } } : { method, body: JSON.stringify(o), headers: { 'Content-Type': 'application/json' } });
    const t = await res.text();
    return t ? JSON.parse(t) : null;
  };
  const refused = (e: unknown) => {
    const k = errorKey(e instanceof Error ? e.message : String(e));
    const field = asYaml ? '' : fieldFor(k.key, shown);
    setWrong({ key: k.key, field, text: field ? sentence(k.text) : sentence(e) });
    if (field) setTimeout(() => form.current?.querySelector<HTMLElement>(`[data-field="${field}"]`)?.focus());
  };
  const tryIt = async () => {
    setBusy('try');
    setWrong(null);
    setTries([]);
    try {
      const got = (await post('POST', '/api/v1/checks/try')) as { results: Run[] | null };
      setTries((got.results ?? []).map((run) => ({ location: run.location, run })));
    } catch (e) {
      refused(e);
    } finally {
      setBusy('');
    }
  };
  const save = async () => {
    setBusy('save');
    setWrong(null);
    try {
      const got = (await post(id ? 'PUT' : 'POST', id ? `/api/v1/checks/${encodeURIComponent(id)}` : '/api/v1/checks')) as { id?: string } | null;
      go(href(['checks', got?.id ?? id ?? '']));
    } catch (e) {
      refused(e);
      setBusy('');
    }
  };
  const fields = (list: FieldDef[]) => list.map((d) => <Field key={kind + d.key} d={d} o={o} set={set} wrong={wrong?.field === d.key ? wrong.text : ''} />);
  return (
    <>
      <p class="crumbs">
        <a href={href(['checks'])}>Checks</a> / {id ? <a href={href(['checks', id])}>{name}</a> : 'New check'}
        {id ? ' / Edit' : ''}
      </p>
      <Sentence text={id ? `Edit ${name}.` : 'A new check: what it looks at, and what a good reply is.'} />
      <form
        ref={form}
        class="checkform"
        onSubmit={(e) => {
          e.preventDefault();
          void save();
        }}
      >
        <div class="toolbar">
          <span class="seg" role="group" aria-label="Form or YAML">
            <button type="button" aria-pressed={!asYaml} onClick={() => asYaml && show(false)}>
              Form
            </button>
            <button type="button" aria-pressed={asYaml} onClick={() => !asYaml && show(true)}>
              YAML
            </button>
          </span>
          {asYaml && <Copy text={text} label="Copy as YAML" />}
          {asYaml && <span class="soft">The same object as the form and as under checks: in vedette.yml.</span>}
        </div>
        {asYaml ? (
          <YamlField
            text={text}
            version={version}
            line={wrong && !wrong.field ? Number(/line (\d+)/i.exec(wrong.text)?.[1] ?? 0) : 0}
            onChange={(t) => {
              setText(t);
              setWrong(null);
            }}
          />
        ) : (
          <>
            <fieldset>
              <legend>What it looks at</legend>
              <label class="ff">
                <span>Kind</span>
                <select value={kind} disabled={!!id} onChange={(e) => setKind(e.currentTarget.value)}>
                  {kindDefs.map((k) => (
                    <option key={k.kind} value={k.kind}>
                      {k.name}
                    </option>
                  ))}
                  {[...new Set([...otherKinds, ...(kindDefs.some((k) => k.kind === kind) ? [] : [kind])])].map((k) => (
                    <option key={k}>{k}</option>
                  ))}
                </select>
              </label>
              {def.url && <Field key={kind + 'url'} d={{ key: 'url', label: 'Target', input: 'text', hint: def.url.hint, note: def.url.note, wide: true }} o={o} set={set} wrong={wrong?.field === 'url' ? wrong.text : ''} />}
              {fields(id ? headFields.filter((x) => x.key !== 'id') : headFields)}
            </fieldset>
            {def.expect.length > 0 && (
              <fieldset>
                <legend>What a good reply is</legend>
                {fields(def.expect)}
              </fieldset>
            )}
            <fieldset>
              <legend>Where and how often</legend>
              {fields(whenFields)}
              {locations.data && locations.data.length > 1 && (
                <p class="faint whole">
                  Places: {locations.data.map((l) => `${l.name}${l.private ? ' (private)' : ''}`).join(', ')}
                </p>
              )}
            </fieldset>
            {def.fields.length > 0 && (
              <details open={def.fields.some((x) => getPath(o, x.key) !== undefined) || kind !== 'http'}>
                <summary>How it asks</summary>
                <fieldset>{fields(def.fields)}</fieldset>
              </details>
            )}
            <details open={alertFields.some((x) => getPath(o, x.key) !== undefined)}>
              <summary>When somebody is told</summary>
              <fieldset>{fields(alertFields)}</fieldset>
            </details>
            {(hidden.length > 0 || (!def.fields.length && !def.template)) && (
              <p class="soft">
                {hidden.length > 0 && <>Also set, and kept as it is: {hidden.join(', ')}. </>}
                The form shows the common keys; all others are written{' '}
                <button type="button" class="link" onClick={() => show(true)}>
                  as YAML
                </button>
                .
              </p>
            )}
          </>
        )}
        {wrong && !wrong.field && <Problem error={wrong.text} state="warning" />}
        {tries.length > 0 && <Tries tries={tries} close={() => setTries([])} />}
        <div class="toolbar formend">
          <button type="submit" class="main" disabled={!!busy || !mayWrite()}>
            {busy === 'save' ? 'Saving …' : id ? 'Save' : 'Create'}
          </button>
          <button type="button" disabled={!!busy || !mayWrite()} onClick={tryIt} title="Runs it once from all its places and saves nothing">
            {busy === 'try' ? 'Trying …' : 'Try it'}
          </button>
          <button type="button" onClick={back}>
            Cancel
          </button>
          {!mayWrite() && <span class="soft">You may read only.</span>}
        </div>
      </form>
    </>
  );
}

/** Without keys that say nothing. */
function clean(o: CheckObject): CheckObject {
  const url = param('url');
  return Object.fromEntries(Object.entries(url && !o.url ? { ...o, url } : o).filter(([, v]) => v !== undefined && v !== null && v !== ''));
}

/** One field; its text is its own, so that what is half written is not tidied away. */
function Field({ d, o, set, wrong }: { d: FieldDef; o: CheckObject; set: (d: FieldDef, v: string) => void; wrong: string }) {
  const value = toField(d, getPath(o, d.key));
  const [text, setText] = useState(value);
  const own = useRef(value);
  useEffect(() => {
    // The value came from elsewhere: the YAML, another kind.
    if (value !== own.current) {
      own.current = value;
      setText(value);
    }
  }, [value]);
  const put = (v: string) => {
    setText(v);
    own.current = toField(d, fromField(d, v));
    set(d, v);
  };
  const id = `f-${d.key}`;
  const common = { id, 'data-field': d.key, 'aria-invalid': wrong ? true : undefined, 'aria-describedby': wrong ? `${id}-wrong` : undefined };
  const error = wrong && (
    <span class="wrong" role="alert" id={`${id}-wrong`}>
      {wrong}
    </span>
  );
  if (d.input === 'bool' || d.input === 'tri') {
    const on = d.input === 'bool' ? text === 'true' : text !== 'false';
    return (
      <label class="ff check">
        <input type="checkbox" {...common} checked={on} onChange={(e) => put(String(e.currentTarget.checked))} /> {d.label}
        {error}
      </label>
    );
  }
  return (
    <label class={`ff${d.wide || d.input === 'area' ? ' whole' : ''}`}>
      <span>{d.label}</span>
      {d.input === 'choice' ? (
        <select {...common} value={text || d.of![0]} onChange={(e) => put(e.currentTarget.value)}>
          {[...new Set([...d.of!, ...(text ? [text] : [])])].map((v) => (
            <option key={v} value={v}>
              {v || 'any'}
            </option>
          ))}
        </select>
      ) : d.input === 'area' || d.input === 'map' ? (
        <textarea {...common} class="mono" rows={Math.max(d.input === 'map' ? 1 : 2, Math.min(8, text.split('\n').length))} spellcheck={false} placeholder={d.hint} value={text} onInput={(e) => put(e.currentTarget.value)} />
      ) : (
        <input {...common} class={d.key === 'url' || /regex|cel/.test(d.key) ? 'mono' : ''} inputMode={d.input === 'number' ? 'decimal' : undefined} autocomplete="off" spellcheck={false} placeholder={d.hint} value={text} onInput={(e) => put(e.currentTarget.value)} />
      )}
      {error || (d.note && <span class="faint">{d.note}</span>)}
    </label>
  );
}

/** The editor takes a moment to load; until then a plain field takes the words. */
function YamlField({ text, version, line, onChange }: { text: string; version: number; line: number; onChange: (t: string) => void }) {
  const box = useRef<HTMLDivElement>(null);
  const ed = useRef<YamlEditor | null>(null);
  const fns = useRef({ onChange, text });
  fns.current = { onChange, text };
  const [ready, setReady] = useState(false);
  useEffect(() => {
    let gone = false;
    import('../yamleditor.ts').then(
      (m) => {
        if (gone || !box.current) return;
        ed.current = m.openYaml(box.current, fns.current.text, 'The check as YAML', (t) => fns.current.onChange(t));
        setReady(true);
      },
      () => undefined,
    );
    return () => {
      gone = true;
      ed.current?.destroy();
    };
  }, []);
  useEffect(() => {
    ed.current?.set(text);
  }, [version]);
  useEffect(() => {
    ed.current?.mark(line);
  }, [line, ready]);
  return (
    <div class="editor yaml" ref={box}>
      {!ready && <textarea rows={18} spellcheck={false} aria-label="The check as YAML" value={text} onInput={(e) => onChange(e.currentTarget.value)} />}
    </div>
  );
}
