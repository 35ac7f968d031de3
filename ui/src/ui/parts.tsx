import type { ComponentChildren } from 'preact';
import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks';
import { sentence } from '../base/api.ts';
import { useKeys } from '../base/keys.ts';
import type { Resource } from '../base/resource.ts';
import { announce } from './announce.ts';
import { Shape } from './marks.tsx';

/** The first line of a screen. Spoken when it changes, not on every refresh. */
export function Sentence({ state = 'ok', children, text }: { state?: string; children?: ComponentChildren; text?: string }) {
  const said = useRef('');
  useEffect(() => {
    if (text && said.current && said.current !== text) announce(text);
    said.current = text ?? '';
  }, [text]);
  return (
    <h1 class={`sentence is-${state}`}>
      {state !== 'ok' && <Shape state={state} />}
      <span>{children ?? text}</span>
    </h1>
  );
}

export function Section({ title, note, actions, children, id }: { title: string; note?: ComponentChildren; actions?: ComponentChildren; children: ComponentChildren; id?: string }) {
  return (
    <section class="section" aria-label={title} id={id}>
      <div class="section-head">
        <h2>{title}</h2>
        {note && <span class="soft">{note}</span>}
        {actions && <span class="actions">{actions}</span>}
      </div>
      {children}
    </section>
  );
}

/** An error as a sentence with the way on. */
export function Problem({ error, reload, what, state = 'unknown' }: { error: unknown; reload?: () => void; what?: string; state?: 'unknown' | 'warning' }) {
  return (
    <div class={`problem is-${state}`} role="alert">
      <Shape state={state} />
      <div>
        {what && <strong>{what} </strong>}
        {sentence(error)}
        {reload && (
          <>
            {' '}
            <button class="link" onClick={reload}>
              Try again
            </button>
          </>
        )}
      </div>
    </div>
  );
}

/** Loading, failure, stale data or data: the four states of everything shown. */
export function Loaded<T>({ res, what, screen, children }: { res: Resource<T>; what: string; screen?: boolean; children: (data: T) => ComponentChildren }) {
  if (res.data === undefined) {
    if (res.error && screen) {
      return (
        <>
          <Sentence state="unknown" text={`${what} could not be loaded.`} />
          <Problem error={res.error} reload={res.reload} />
        </>
      );
    }
    if (res.error) return <Problem error={res.error} reload={res.reload} what={`${what} could not be loaded.`} />;
    return <Waiting what={what} />;
  }
  return (
    <>
      {res.error ? <Problem error={res.error} reload={res.reload} what={`${what}: the last load failed, older data is shown.`} /> : null}
      {children(res.data)}
    </>
  );
}

/** Says nothing for the first moment, so that a fast answer does not flash. */
export function Waiting({ what }: { what: string }) {
  const [late, set] = useState(false);
  useEffect(() => {
    const t = setTimeout(() => set(true), 250);
    return () => clearTimeout(t);
  }, []);
  return (
    <div class="waiting" aria-busy="true">
      {late ? `Loading ${what.toLowerCase()} …` : ''}
    </div>
  );
}

export async function copyText(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Plain http on a foreign host has no clipboard API; a selection still copies.
    const area = document.createElement('textarea');
    area.value = text;
    area.style.position = 'fixed';
    area.style.opacity = '0';
    document.body.append(area);
    area.select();
    const ok = document.execCommand('copy');
    area.remove();
    return ok;
  }
}

export function Copy({ text, label = 'Copy', what }: { text: string; label?: string; what?: string }) {
  const [done, set] = useState('');
  return (
    <button
      class="small"
      aria-label={what ? `${label} ${what}` : label}
      onClick={async () => {
        set((await copyText(text)) ? 'Copied' : 'Select and copy by hand');
        setTimeout(() => set(''), 1600);
      }}
    >
      {done || label}
    </button>
  );
}

export function Snippet({ title, children, text }: { title: string; text: string; children?: ComponentChildren }) {
  return (
    <div class="snippet">
      <div class="snippet-head">
        <strong>{title}</strong>
        <Copy text={text} what={title} />
      </div>
      {children && <p class="soft">{children}</p>}
      <pre tabIndex={0}>{text}</pre>
    </div>
  );
}

/** Details beside the list; Esc closes it and gives the focus back to the row. */
export function Panel({ title, close, children, back }: { title: string; close: () => void; children: ComponentChildren; back?: string }) {
  const ref = useRef<HTMLElement>(null);
  const shut = () => {
    close();
    if (back) requestAnimationFrame(() => document.querySelector<HTMLElement>(`[data-row="${CSS.escape(back)}"]`)?.focus());
  };
  useKeys({ Escape: shut });
  useLayoutEffect(() => {
    ref.current?.focus({ preventScroll: true });
  }, [title]);
  return (
    <aside class="panel" aria-label={title} tabIndex={-1} ref={ref}>
      <div class="panel-head">
        <h2>{title}</h2>
        <button class="small" onClick={shut} title="Close (Esc)">
          Close
        </button>
      </div>
      {children}
    </aside>
  );
}

/** A dialog over the page: Esc and a click beside it close it, Tab stays inside. */
export function Dialog({ title, close, children, bare }: { title: string; close: () => void; children: ComponentChildren; bare?: boolean }) {
  const ref = useRef<HTMLDivElement>(null);
  useKeys({ Escape: close });
  useLayoutEffect(() => {
    const before = document.activeElement as HTMLElement | null;
    const el = ref.current!;
    (el.querySelector<HTMLElement>('[autofocus]') ?? el.querySelector<HTMLElement>('input, select, textarea, button') ?? el).focus();
    return () => before?.focus?.({ preventScroll: true });
  }, []);
  return (
    <div class="veil" onMouseDown={(e) => e.target === e.currentTarget && close()}>
      <div
        class={bare ? 'dialog bare' : 'dialog'}
        role="dialog"
        aria-modal="true"
        aria-label={title}
        tabIndex={-1}
        ref={ref}
        onKeyDown={(e) => {
          if (e.key !== 'Tab') return;
          const f = [...ref.current!.querySelectorAll<HTMLElement>('a[href], button:not([disabled]), input, select, textarea, [tabindex="0"]')];
          const first = f[0];
          const last = f[f.length - 1];
          if (!first || !last) return;
          if (e.shiftKey && document.activeElement === first) {
            e.preventDefault();
            last.focus();
          } else if (!e.shiftKey && document.activeElement === last) {
            e.preventDefault();
            first.focus();
          }
        }}
      >
        {!bare && (
          <div class="panel-head">
            <h2>{title}</h2>
            <button class="small" onClick={close} title="Close (Esc)">
              Close
            </button>
          </div>
        )}
        {children}
      </div>
    </div>
  );
}

/** Tabs that are links, so that each has an address. */
export function Tabs({ items, at, label }: { items: { id: string; text: string; href: string; count?: number; breach?: string }[]; at: string; label: string }) {
  return (
    <nav class="tabs" aria-label={label}>
      {items.map((t) => (
        <a key={t.id} href={t.href} aria-current={t.id === at ? 'page' : undefined}>
          {t.breach && (
            <span class={`mark is-${t.breach}`}>
              <Shape state={t.breach} />
            </span>
          )}
          {t.text}
          {t.count !== undefined && <span class="count">{t.count.toLocaleString('en-GB')}</span>}
        </a>
      ))}
    </nav>
  );
}

export function Facts({ of }: { of: [string, ComponentChildren, string?][] }) {
  return (
    <dl class="facts">
      {of.map(([k, v, title]) => (
        <div key={k} title={title}>
          <dt>{k}</dt>
          <dd>{v}</dd>
        </div>
      ))}
    </dl>
  );
}
