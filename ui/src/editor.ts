import { autocompletion, closeBrackets, closeBracketsKeymap, completionKeymap } from '@codemirror/autocomplete';
import { defaultKeymap, history, historyKeymap, insertNewline } from '@codemirror/commands';
import { HighlightStyle, bracketMatching, syntaxHighlighting } from '@codemirror/language';
import { lintKeymap } from '@codemirror/lint';
import { Compartment, EditorState, Prec } from '@codemirror/state';
import { EditorView, keymap, placeholder } from '@codemirror/view';
import { tags } from '@lezer/highlight';
import { PromQLExtension } from '@prometheus-io/codemirror-promql';
import { request } from './base/api.ts';

const colours = HighlightStyle.define([
  { tag: tags.keyword, class: 'tok-keyword' },
  { tag: tags.operatorKeyword, class: 'tok-keyword' },
  { tag: tags.modifier, class: 'tok-keyword' },
  { tag: tags.function(tags.variableName), class: 'tok-func' },
  { tag: tags.number, class: 'tok-number' },
  { tag: tags.string, class: 'tok-string' },
  { tag: tags.labelName, class: 'tok-label' },
  { tag: tags.comment, class: 'tok-comment' },
  { tag: tags.invalid, class: 'tok-invalid' },
]);

export interface Editor {
  set: (text: string) => void;
  focus: () => void;
  destroy: () => void;
}

/** A PromQL editor that completes from this server and marks what does not parse. */
export function openEditor(parent: HTMLElement, text: string, label: string, onChange: (text: string) => void, onRun: () => void): Editor {
  const promql = new PromQLExtension()
    .activateLinter(true)
    .activateCompletion(true)
    .setComplete({
      remote: {
        url: '',
        httpMethod: 'GET',
        lookbackInterval: 3600_000,
        httpErrorHandler: () => undefined, // completion is a help; the query itself reports errors
        fetchFn: (url, init) => request(String(url), init),
      },
    });
  const attrs = new Compartment();
  const view = new EditorView({
    parent,
    state: EditorState.create({
      doc: text,
      extensions: [
        history(),
        bracketMatching(),
        closeBrackets(),
        autocompletion({ icons: false, maxRenderedOptions: 60 }),
        syntaxHighlighting(colours),
        EditorView.lineWrapping,
        placeholder('A PromQL expression, such as rate(http_requests_total[5m])'),
        attrs.of(EditorView.contentAttributes.of({ 'aria-label': label, spellcheck: 'false' })),
        Prec.highest(
          keymap.of([
            { key: 'Shift-Enter', run: insertNewline },
            { key: 'Mod-Enter', run: () => (onRun(), true) },
          ]),
        ),
        keymap.of([...completionKeymap, ...closeBracketsKeymap]),
        keymap.of([{ key: 'Enter', run: () => (onRun(), true) }]),
        keymap.of([...historyKeymap, ...lintKeymap, ...defaultKeymap.filter((k) => k.key !== 'Escape' && k.key !== 'Mod-k')]),
        EditorView.updateListener.of((u) => {
          if (u.docChanged) onChange(u.state.doc.toString());
        }),
        promql.asExtension(),
      ],
    }),
  });
  return {
    set: (t) => {
      if (t !== view.state.doc.toString()) view.dispatch({ changes: { from: 0, to: view.state.doc.length, insert: t } });
    },
    focus: () => view.focus(),
    destroy: () => {
      view.destroy();
      promql.destroy();
    },
  };
}
