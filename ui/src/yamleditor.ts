import { defaultKeymap, history, historyKeymap, indentWithTab } from '@codemirror/commands';
import { HighlightStyle, StreamLanguage, indentUnit, syntaxHighlighting } from '@codemirror/language';
import { EditorState, StateEffect, StateField } from '@codemirror/state';
import { Decoration, EditorView, keymap, lineNumbers, type DecorationSet } from '@codemirror/view';
import { tags } from '@lezer/highlight';

/** Colours keys, texts and comments of YAML, a line at a time. */
const yaml = StreamLanguage.define<{ block: number }>({
  name: 'yaml',
  startState: () => ({ block: -1 }),
  token(s, st) {
    if (s.sol()) {
      // What is deeper than the line that ended with | is text.
      if (st.block >= 0 && (s.indentation() > st.block || /^\s*$/.test(s.string))) {
        s.skipToEnd();
        return 'string';
      }
      st.block = -1;
    }
    if (s.eatSpace()) return null;
    if (s.match(/^#.*/)) return 'comment';
    if (s.match(/^[|>][+-]?\s*$/)) {
      st.block = s.indentation();
      return 'keyword';
    }
    if (s.match(/^-(?=\s|$)/) || s.match(/^[[\]{},]/)) return 'punctuation';
    if (s.match(/^("(?:[^"\\]|\\.)*"|'(?:[^']|'')*'|[^\s"'[\]{}#,:][^#,[\]{}]*?)(?=\s*:(\s|$))/)) return 'propertyName';
    if (s.match(/^:(?=\s|$)/)) return 'punctuation';
    if (s.match(/^"(?:[^"\\]|\\.)*"?/) || s.match(/^'(?:[^']|'')*'?/)) return 'string';
    if (s.match(/^(true|false|null|~|-?\d+(\.\d+)?)(?=\s*([,\]}#]|$))/)) return 'number';
    if (!s.match(/^[^\s,[\]{}:]+/)) s.next();
    return null;
  },
});

const colours = HighlightStyle.define([
  { tag: tags.propertyName, class: 'tok-func' },
  { tag: tags.string, class: 'tok-string' },
  { tag: tags.number, class: 'tok-number' },
  { tag: tags.keyword, class: 'tok-keyword' },
  { tag: tags.punctuation, class: 'tok-label' },
  { tag: tags.comment, class: 'tok-comment' },
]);

const markLine = StateEffect.define<number>();
const marked = StateField.define<DecorationSet>({
  create: () => Decoration.none,
  update(d, tr) {
    for (const e of tr.effects) if (e.is(markLine)) return e.value > 0 && e.value <= tr.state.doc.lines ? Decoration.set([Decoration.line({ class: 'badline' }).range(tr.state.doc.line(e.value).from)]) : Decoration.none;
    return tr.docChanged ? Decoration.none : d;
  },
  provide: (f) => EditorView.decorations.from(f),
});

export interface YamlEditor {
  set: (text: string) => void;
  /** Marks a line, counted from 1; 0 marks none. */
  mark: (line: number) => void;
  destroy: () => void;
}

export function openYaml(parent: HTMLElement, text: string, label: string, onChange: (text: string) => void): YamlEditor {
  const view = new EditorView({
    parent,
    state: EditorState.create({
      doc: text,
      extensions: [
        history(),
        lineNumbers(),
        indentUnit.of('  '),
        yaml,
        syntaxHighlighting(colours),
        marked,
        EditorView.lineWrapping,
        EditorView.contentAttributes.of({ 'aria-label': label, spellcheck: 'false' }),
        keymap.of([...historyKeymap, ...defaultKeymap.filter((k) => k.key !== 'Escape' && k.key !== 'Mod-k'), indentWithTab]),
        EditorView.updateListener.of((u) => {
          if (u.docChanged) onChange(u.state.doc.toString());
        }),
      ],
    }),
  });
  return {
    set: (t) => {
      if (t !== view.state.doc.toString()) view.dispatch({ changes: { from: 0, to: view.state.doc.length, insert: t } });
    },
    mark: (line) => view.dispatch({ effects: markLine.of(line) }),
    destroy: () => view.destroy(),
  };
}
