// YAML as far as checks are written in it: block and flow collections, quoted
// and plain scalars, literal and folded blocks, comments. Anchors, tags and
// several documents are refused with a sentence, so that nothing is misread.

export type Yaml = null | boolean | number | string | Yaml[] | { [key: string]: Yaml };

/** What could not be read, with its line counted from 1. */
export class YamlError extends Error {
  line: number;
  constructor(line: number, message: string) {
    super(`line ${line}: ${message}`);
    this.line = line;
  }
}

const plainSafe = /^[A-Za-z0-9_/.$(][^\x00-\x1f]*$/;

/** A text that a YAML reader would take for something else is quoted. */
export function yamlScalar(v: string | number | boolean | null, inFlow = false): string {
  if (typeof v !== 'string') return v === null ? 'null' : String(v);
  if (v === '' || !plainSafe.test(v) || /: |:$| #|\s$/.test(v) || typeof scalar(v) !== 'string' || (inFlow && /[[\]{},]/.test(v))) return JSON.stringify(v);
  return v;
}

const isMap = (v: unknown): v is { [k: string]: unknown } => typeof v === 'object' && v !== null && !Array.isArray(v);
const isScalar = (v: unknown): v is string | number | boolean | null => v === null || typeof v !== 'object';
const keyText = (k: string) => yamlScalar(k);

/** Writes a value as block YAML; lists and small maps of scalars stand in one line. */
export function writeYaml(value: unknown, pad = ''): string {
  if (!isMap(value)) return `${pad}${inline(value)}\n`;
  let out = '';
  for (const [k, v] of Object.entries(value)) {
    if (v === undefined) continue;
    out += entry(`${pad}${keyText(k)}:`, v, pad);
  }
  return out;
}

function entry(head: string, v: unknown, pad: string): string {
  if (typeof v === 'string' && v.includes('\n') && !/^\s|[ \t]+\n|\n\n+$/.test(v)) {
    const body = v.replace(/\n$/, '').split('\n');
    return `${head} |${v.endsWith('\n') ? '' : '-'}\n${body.map((l) => (l ? `${pad}  ${l}` : '') + '\n').join('')}`;
  }
  if (isScalar(v)) return `${head} ${yamlScalar(v)}\n`;
  const one = inline(v);
  const small = Array.isArray(v) ? v.every(isScalar) : Object.values(v as object).every(isScalar);
  if ((small || one === '{}' || one === '[]') && head.length + one.length < 90 && !/\\n/.test(one)) return `${head} ${one}\n`;
  if (!Array.isArray(v)) return `${head}\n${writeYaml(v, pad + '  ')}`;
  return `${head}\n${v
    .map((x) => {
      if (!isMap(x) || !Object.keys(x).length) return entry(`${pad}  -`, x, pad + '  ');
      const text = writeYaml(x, pad + '    ');
      return `${pad}  - ${text.slice(pad.length + 4)}`;
    })
    .join('')}`;
}

function inline(v: unknown): string {
  if (Array.isArray(v)) return `[${v.map(inline).join(', ')}]`;
  if (isMap(v)) {
    const e = Object.entries(v).filter(([, x]) => x !== undefined);
    return e.length ? `{${e.map(([k, x]) => `${yamlScalar(k, true)}: ${inline(x)}`).join(', ')}}` : '{}';
  }
  return yamlScalar((v ?? null) as string | number | boolean | null, true);
}

interface Line {
  n: number;
  indent: number;
  text: string; // without indentation and comment
  raw: string;
}

/** Reads one document. */
export function readYaml(text: string): Yaml {
  const raw = text.replace(/\r\n?/g, '\n').split('\n');
  const lines: Line[] = raw.map((r, i) => {
    const indent = /^ */.exec(r)![0].length;
    if (r[indent] === '\t') throw new YamlError(i + 1, 'indent with spaces, not with tabs');
    return { n: i + 1, indent, text: uncomment(r.slice(indent)), raw: r };
  });
  let at = 0;
  const skip = () => {
    while (at < lines.length && !lines[at]!.text) at++;
    return lines[at];
  };
  const fail = (l: Line | undefined, m: string): never => {
    throw new YamlError(l?.n ?? raw.length, m);
  };

  function block(min: number): Yaml {
    const l = skip();
    if (!l || l.indent < min) return null;
    if (/^-(\s|$)/.test(l.text)) return list(l.indent);
    if (splitKey(l.text)) return map(l.indent);
    at++;
    return rest(l.text, l, l.indent - 1);
  }

  function list(indent: number): Yaml[] {
    const out: Yaml[] = [];
    for (let l = skip(); l && l.indent === indent && /^-(\s|$)/.test(l.text); l = skip()) {
      const inner = l.text.slice(1).trimStart();
      if (!inner) {
        at++;
        out.push(block(indent + 1));
        continue;
      }
      const inset = indent + (l.text.length - inner.length);
      if (/^-(\s|$)/.test(inner) || splitKey(inner)) {
        lines[at] = { ...l, indent: inset, text: inner };
        out.push(block(inset));
      } else {
        at++;
        out.push(rest(inner, l, indent));
      }
    }
    const l = skip();
    if (l && l.indent > indent) fail(l, 'is indented more than the list before it');
    return out;
  }

  function map(indent: number): { [k: string]: Yaml } {
    const out: { [k: string]: Yaml } = {};
    for (let l = skip(); l && l.indent === indent; l = skip()) {
      const kv = splitKey(l.text);
      if (!kv) fail(l, `expected “key: value”, got “${l.text}”`);
      const [key, value] = kv!;
      if (Object.hasOwn(out, key)) fail(l, `the key ${key} stands twice`);
      at++;
      if (value) {
        out[key] = rest(value, l, indent);
        continue;
      }
      const next = skip();
      // A list may stand as deep as its key.
      if (next && next.indent === indent && /^-(\s|$)/.test(next.text)) out[key] = list(indent);
      else out[key] = block(indent + 1);
    }
    const l = skip();
    if (l && l.indent > indent) fail(l, 'is indented more than the key before it');
    return out;
  }

  /** What follows a key or a dash on its line, and the lines that belong to it. */
  function rest(value: string, l: Line, indent: number): Yaml {
    if (/^[&*!]/.test(value)) fail(l, 'anchors, aliases and tags are not read here');
    const b = /^([|>])([+-]?)\d*([+-]?)$/.exec(value);
    if (b) return blockText(b[1]!, b[2]! || b[3]!, indent);
    if (/^[[{]/.test(value)) {
      let all = value;
      while (!closed(all) && at < lines.length) all += ' ' + lines[at++]!.text;
      if (!closed(all)) fail(l, `${value[0]} is not closed`);
      return flow(all, l.n);
    }
    let all = value;
    if (/^["']/.test(value)) {
      const q = value[0]!;
      while (!quoteEnds(all, q) && at < lines.length) all += ' ' + lines[at++]!.raw.trim();
      if (!quoteEnds(all, q)) fail(l, `the quote ${q} is not closed`);
      return unquote(all, l.n);
    }
    // A plain text may go on in deeper lines.
    for (let n = lines[at]; n && n.text && n.indent > indent && !splitKey(n.text); n = lines[at]) {
      all += ' ' + n.text;
      at++;
    }
    return scalar(all);
  }

  function blockText(style: string, chomp: string, indent: number): string {
    const out: string[] = [];
    let inset = -1;
    while (at < lines.length) {
      const l = lines[at]!;
      if (l.raw.trim()) {
        if (l.indent <= indent) break;
        if (inset < 0) inset = l.indent;
        if (l.indent < inset) break;
        out.push(l.raw.slice(inset));
      } else out.push('');
      at++;
    }
    let empty = 0;
    while (out.length && !out.at(-1)) {
      out.pop();
      empty++;
    }
    let s = style === '|' ? out.join('\n') : out.join('\n').replace(/([^\n])\n(?=[^\n ])/g, '$1 ').replace(/\n\n/g, '\n');
    if (chomp === '+') s += '\n'.repeat(empty + 1);
    else if (chomp !== '-' && out.length) s += '\n';
    return s;
  }

  if (lines[0] && lines[0].text === '---') lines[0].text = '';
  const later = lines.find((l) => l.indent === 0 && /^(---|\.\.\.)/.test(l.text));
  if (later) fail(later, 'one document is expected');
  const first = skip();
  const v = block(0);
  const more = skip();
  if (more) fail(more, more === first ? `is not understood: “${more.text}”` : `is not understood after what stands before it: “${more.text}”`);
  return v;
}

/** Cuts a comment that is not inside quotes. */
function uncomment(s: string): string {
  let q = '';
  for (let i = 0; i < s.length; i++) {
    const c = s[i]!;
    if (q) {
      if (c === '\\' && q === '"') i++;
      else if (c === q) q = '';
    } else if ((c === '"' || c === "'") && (i === 0 || /[\s[{,:-]/.test(s[i - 1]!))) q = c;
    else if (c === '#' && (i === 0 || /\s/.test(s[i - 1]!))) return s.slice(0, i).trimEnd();
  }
  return s.trimEnd();
}

function splitKey(s: string): [string, string] | null {
  const m = /^("(?:[^"\\]|\\.)*"|'(?:[^']|'')*'|[^\s"'[\]{}#&*!|>%@`,-][^#]*?|-[^\s#:][^#:]*?)\s*:(?:\s+(.*))?$/.exec(s);
  if (!m) return null;
  let key = m[1]!;
  // The first ": " ends a plain key.
  if (!/^["']/.test(key)) {
    const cut = /:\s/.exec(s);
    if (cut && cut.index < key.length) return [s.slice(0, cut.index).trimEnd(), s.slice(cut.index + 1).trim()];
  } else key = String(unquote(key, 0));
  return [key, (m[2] ?? '').trim()];
}

function closed(s: string): boolean {
  let depth = 0;
  let q = '';
  for (let i = 0; i < s.length; i++) {
    const c = s[i]!;
    if (q) {
      if (c === '\\' && q === '"') i++;
      else if (c === q) q = '';
    } else if (c === '"' || c === "'") q = c;
    else if (c === '[' || c === '{') depth++;
    else if (c === ']' || c === '}') depth--;
  }
  return depth <= 0;
}

function quoteEnds(s: string, q: string): boolean {
  return q === '"' ? /^"(?:[^"\\]|\\.)*"\s*$/.test(s) : /^'(?:[^']|'')*'\s*$/.test(s);
}

function unquote(s: string, line: number): string {
  s = s.trim();
  if (s[0] === "'") return s.slice(1, -1).replace(/''/g, "'");
  try {
    return JSON.parse(s.replace(/\\e/g, '\\u001b').replace(/\\x([0-9a-fA-F]{2})/g, '\\u00$1').replace(/\\([^"\\/bfnrtu])/g, '$1').replace(/\t/g, '\\t'));
  } catch {
    throw new YamlError(line, `is no quoted text: ${s}`);
  }
}

/** What a plain text means: as YAML 1.2 has it, and its reader in Go. */
function scalar(s: string): Yaml {
  if (/^(null|Null|NULL|~|)$/.test(s)) return null;
  if (/^(true|True|TRUE)$/.test(s)) return true;
  if (/^(false|False|FALSE)$/.test(s)) return false;
  if (/^[-+]?(0|[1-9]\d*)$/.test(s) || /^[-+]?(\.\d+|\d+(\.\d*)?)([eE][-+]?\d+)?$/.test(s)) {
    const n = Number(s);
    if (Number.isSafeInteger(n) || /[.eE]/.test(s)) return n;
  }
  if (/^0x[0-9a-fA-F]{1,12}$/.test(s)) return Number(s);
  return s;
}

/** Reads a flow collection such as {a: [1, "b"]}. */
function flow(s: string, line: number): Yaml {
  let i = 0;
  const space = () => {
    while (/\s/.test(s[i] ?? '')) i++;
  };
  const bad = (m: string): never => {
    throw new YamlError(line, m);
  };
  const text = (stop: RegExp): Yaml => {
    space();
    const c = s[i];
    if (c === '"' || c === "'") {
      const from = i++;
      while (i < s.length && s[i] !== c) i += s[i] === '\\' && c === '"' ? 2 : 1;
      i++;
      return unquote(s.slice(from, i), line);
    }
    const from = i;
    while (i < s.length && !stop.test(s[i]!) && !(s[i] === ':' && /[\s,}\]]|$/.test(s[i + 1] ?? ''))) i++;
    return scalar(s.slice(from, i).trim());
  };
  const value = (): Yaml => {
    space();
    if (s[i] === '[') {
      i++;
      const out: Yaml[] = [];
      for (;;) {
        space();
        if (s[i] === ']') {
          i++;
          return out;
        }
        if (i >= s.length) bad('[ is not closed');
        out.push(value());
        space();
        if (s[i] === ',') i++;
        else if (s[i] !== ']') bad(`expected , or ] in ${s}`);
      }
    }
    if (s[i] === '{') {
      i++;
      const out: { [k: string]: Yaml } = {};
      for (;;) {
        space();
        if (s[i] === '}') {
          i++;
          return out;
        }
        if (i >= s.length) bad('{ is not closed');
        const k = String(text(/[,{}[\]]/) ?? '');
        space();
        if (s[i] === ':') {
          i++;
          space();
          out[k] = s[i] === ',' || s[i] === '}' ? null : value();
        } else out[k] = null;
        space();
        if (s[i] === ',') i++;
        else if (s[i] !== '}') bad(`expected , or } in ${s}`);
      }
    }
    return text(/[,[\]{}]/);
  };
  const v = value();
  space();
  if (i < s.length) bad(`is not understood: ${s.slice(i)}`);
  return v;
}
