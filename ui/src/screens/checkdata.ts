import type { CheckObject } from '../base/types.ts';

// A check as the form shows it: one object with the keys of the YAML, and a
// table of the fields that each kind has.

export interface FieldDef {
  key: string; // "expect.status"
  label: string;
  /** number: kept as text while it is none. list: commas. map: one name=value a line. */
  input: 'text' | 'number' | 'bool' | 'list' | 'map' | 'area' | 'choice' | 'tri';
  hint?: string; // an example, shown while the field is empty
  note?: string;
  of?: string[]; // choices; the first is the default and is not written
  wide?: boolean;
}

export interface KindDef {
  kind: string;
  name: string;
  url?: { hint: string; note?: string };
  fields: FieldDef[];
  expect: FieldDef[];
  /** A start for kinds that are written as YAML. */
  template?: string;
}

const f = (key: string, label: string, input: FieldDef['input'], hint = '', more: Partial<FieldDef> = {}): FieldDef => ({ key, label, input, hint, ...more });

const status = f('expect.status', 'Status', 'list', '200, 3xx', { note: 'none: any 2xx' });
const contains = f('expect.body_contains', 'Body contains', 'text', 'Welcome');
const maxSeconds = f('expect.max_seconds', 'At most, seconds', 'number', '2');
const certDays = f('expect.certificate_days', 'Certificate good for, days', 'number', '14');
const ip = f('ip_version', 'Address family', 'choice', '', { of: ['any', 'prefer6', '4', '6'] });
const serverName = f('tls.server_name', 'TLS server name', 'text', 'shop.example.org');
const insecure = f('tls.insecure_skip_verify', 'Take any certificate', 'bool');

const chain = (name: string, url: string, more: FieldDef[]): Omit<KindDef, 'kind'> => ({
  name,
  url: { hint: url },
  fields: [f('chain.group', 'Group', 'text', 'mainnet', { note: 'nodes of a group are compared with each other' }), ...more],
  expect: [maxSeconds],
});

export const kindDefs: KindDef[] = [
  {
    kind: 'http',
    name: 'HTTP or HTTPS',
    url: { hint: 'https://shop.example.org/health' },
    fields: [
      f('method', 'Method', 'choice', '', { of: ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'] }),
      f('headers', 'Headers', 'map', 'Accept=application/json'),
      f('body', 'Body', 'area', '{"ping": 1}'),
      f('follow_redirects', 'Follow redirects', 'tri'),
      f('http2', 'Offer HTTP/2', 'bool'),
      f('basic_auth.username', 'User', 'text'),
      f('basic_auth.password', 'Password', 'text'),
      f('bearer_token', 'Bearer token', 'text'),
      ip,
      serverName,
      insecure,
    ],
    expect: [status, contains, f('expect.body_not_contains', 'Body does not contain', 'text', 'error'), f('expect.body_regex', 'Body matches', 'text', '"status":\\s*"ok"'), f('expect.headers', 'Headers match', 'map', 'Content-Type=text/html.*'), f('expect.cel', 'Expression (CEL) is true', 'text', 'json.status == "ok"', { wide: true }), maxSeconds, certDays],
  },
  {
    kind: 'tcp',
    name: 'TCP',
    url: { hint: 'tcp://db.example.org:5432' },
    fields: [f('tcp.tls', 'Speak TLS', 'bool'), f('tcp.starttls', 'Go over to TLS first', 'choice', '', { of: ['smtp', 'imap', 'pop3', 'ftp', 'ldap', 'postgres'] }), serverName, insecure, ip],
    expect: [maxSeconds],
  },
  { kind: 'tls', name: 'TLS and its certificate', url: { hint: 'tls://shop.example.org:443' }, fields: [serverName, insecure, ip], expect: [certDays, f('expect.tls_version', 'At least TLS', 'choice', '', { of: ['1.2', '1.3'] }), maxSeconds] },
  {
    kind: 'dns',
    name: 'DNS',
    url: { hint: 'dns://192.0.2.53', note: 'the name server that is asked' },
    fields: [f('dns.name', 'Name', 'text', 'shop.example.org'), f('dns.type', 'Record type', 'choice', '', { of: ['A', 'AAAA', 'CNAME', 'MX', 'NS', 'TXT', 'SOA', 'SRV', 'CAA', 'PTR'] }), f('dns.transport', 'Over', 'choice', '', { of: ['udp', 'tcp', 'tls'] })],
    expect: [f('dns.matches', 'Answers match, each', 'list', '192\\.0\\.2\\.10'), maxSeconds],
  },
  { kind: 'icmp', name: 'Ping (ICMP)', url: { hint: 'icmp://gateway.example.org' }, fields: [f('icmp.count', 'Packets', 'number', '3'), f('icmp.payload_bytes', 'Bytes each', 'number', '32'), ip], expect: [f('icmp.max_loss', 'Loss at most, share', 'number', '0.5'), maxSeconds] },
  { kind: 'grpc', name: 'gRPC health', url: { hint: 'grpcs://orders.example.org:8443' }, fields: [f('grpc.service', 'Service', 'text', 'orders.v1.Orders', { note: 'none: the whole server' }), serverName, insecure, ip], expect: [maxSeconds, certDays] },
  { kind: 'evm', ...chain('Ethereum-like node (evm)', 'http://10.0.4.11:8545', [f('chain.chain_id', 'Chain id', 'text', '1'), f('chain.max_lag', 'Blocks behind at most', 'number', '6'), f('chain.min_peers', 'Peers at least', 'number', '3')]) },
  { kind: 'xrpl', ...chain('XRP Ledger node', 'https://xrpl-1.example.org:51234', [f('chain.max_lag', 'Ledgers behind at most', 'number', '5'), f('chain.min_peers', 'Peers at least', 'number', '8')]) },
  { kind: 'antelope', ...chain('Antelope node', 'http://10.0.4.31:8888', [f('chain.chain_id', 'Chain id', 'text', 'aca376f206b8fc25…'), f('chain.max_lag', 'Blocks behind at most', 'number', '10')]) },
  {
    kind: 'flow',
    name: 'Flow: several requests',
    fields: [],
    expect: [],
    template: `name: buy a cup of tea
kind: flow
interval: 1m
labels: {team: shop}
flow:
  secrets:
    password: {value: write the password here}
  steps:
    - name: sign in
      request: {url: "https://shop.example.org/session", json: {user: robot, password: "\${password}"}}
      extract:
        - {name: token, jsonpath: $.token, secret: true}
    - name: put tea in the cart
      request:
        url: https://shop.example.org/cart
        headers: {Authorization: "Bearer \${token}"}
        json: {sku: tea-7}
      expect: {status: 201}
`,
  },
  {
    kind: 'browser',
    name: 'Browser',
    fields: [],
    expect: [],
    template: `name: storefront in a browser
kind: browser
url: https://shop.example.org/
interval: 5m
timeout: 30s
browser:
  steps:
    - {name: open the shop, goto: "https://shop.example.org/"}
    - {name: put tea in the cart, click: "#add-tea"}
    - {name: the cart has tea, wait_for: ".cart .tea"}
`,
  },
];

/** Kinds without fields of their own here: the common fields, and YAML for the rest. */
export const otherKinds = ['udp', 'websocket', 'exec', 'ssh', 'smtp', 'postgresql', 'mysql', 'redis', 'kafka'];

export function kindDef(kind: string): KindDef {
  return kindDefs.find((k) => k.kind === kind) ?? { kind, name: kind, url: { hint: `${kind}://host:port` }, fields: [], expect: [maxSeconds] };
}

export const whenFields: FieldDef[] = [
  f('interval', 'Every', 'text', '30s'),
  f('timeout', 'Given up after', 'text', '10s'),
  f('locations', 'Places', 'list', 'hub, eu-west', { note: 'none: all that are not private; label=value for all with a label' }),
  f('labels', 'Labels', 'map', 'team=shop'),
];

export const alertFields: FieldDef[] = [
  f('alert.quorum', 'Places that must agree', 'text', '2 of 3', { note: 'none: more than half' }),
  f('alert.failures', 'Failed runs in a row', 'number', '3'),
  f('alert.failed_of', 'Or failed of the last', 'text', '4 of 10'),
  f('alert.recoveries', 'Good runs until it is up', 'number', '2'),
  f('alert.severity', 'Severity', 'choice', '', { of: ['page', 'warning', 'none'] }),
  f('alert.slow', 'Tell when it is slower than usual', 'tri'),
  f('alert.runbook', 'Runbook', 'text', 'https://wiki.example.org/checkout'),
  f('depends_on', 'Explained by checks', 'list', 'gateway', { note: 'ids; while one of them is down, nobody is told of this one' }),
];

export const headFields: FieldDef[] = [f('name', 'Name', 'text', 'shop front'), f('id', 'Id', 'text', '', { note: 'none: made of the name' })];

/** All keys that the form of a kind shows. */
export function shownKeys(kind: string): string[] {
  const d = kindDef(kind);
  return [...headFields, ...(d.url ? [f('url', 'Target', 'text')] : []), ...d.fields, ...d.expect, ...whenFields, ...alertFields].map((x) => x.key).concat('kind', 'paused');
}

/** Keys of the object that its form does not show; they are kept as they are. */
export function hiddenKeys(o: CheckObject, kind: string): string[] {
  const shown = new Set(shownKeys(kind));
  const out: string[] = [];
  const walk = (v: unknown, path: string) => {
    if (shown.has(path)) return;
    if (v && typeof v === 'object' && !Array.isArray(v) && [...shown].some((k) => k.startsWith(path + '.'))) {
      for (const [k, x] of Object.entries(v)) walk(x, `${path}.${k}`);
    } else out.push(path);
  };
  for (const [k, v] of Object.entries(o)) walk(v, k);
  return out;
}

export function getPath(o: CheckObject, key: string): unknown {
  let v: unknown = o;
  for (const k of key.split('.')) {
    if (!v || typeof v !== 'object') return undefined;
    v = (v as Record<string, unknown>)[k];
  }
  return v;
}

const isEmpty = (v: unknown) => v === undefined || v === '' || v === null || (typeof v === 'object' && v !== null && !Object.keys(v).length);

/** The object with one key set; an empty value takes the key away, and parents left empty with it. */
export function setPath(o: CheckObject, key: string, value: unknown): CheckObject {
  const [head, ...rest] = key.split('.') as [string, ...string[]];
  const out = { ...o };
  if (rest.length) {
    const old = out[head];
    value = setPath(old && typeof old === 'object' && !Array.isArray(old) ? (old as CheckObject) : {}, rest.join('.'), value);
  }
  if (isEmpty(value)) delete out[head];
  else out[head] = value;
  return out;
}

/** What a field shows of a value. */
export function toField(d: FieldDef, v: unknown): string {
  if (v === undefined || v === null) return '';
  if (d.input === 'list') return Array.isArray(v) ? v.join(', ') : String(v);
  if (d.input === 'map') return typeof v === 'object' ? Object.entries(v as object).map(([k, x]) => `${k}=${x}`).join('\n') : String(v);
  return typeof v === 'object' ? JSON.stringify(v) : String(v);
}

/** The value that a field's text means; undefined when it says nothing. */
export function fromField(d: FieldDef, text: string): unknown {
  const t = text.trim();
  switch (d.input) {
    case 'number':
      return t === '' ? undefined : Number.isNaN(Number(t)) ? t : Number(t);
    case 'list': {
      const list = t.split(',').map((x) => x.trim()).filter(Boolean);
      return list.length ? list : undefined;
    }
    case 'map': {
      const out: Record<string, string> = {};
      for (const line of t.split('\n')) {
        const cut = line.search(/[=:]/);
        const k = (cut < 0 ? line : line.slice(0, cut)).trim();
        if (k) out[k] = cut < 0 ? '' : line.slice(cut + 1).trim();
      }
      return Object.keys(out).length ? out : undefined;
    }
    case 'choice':
      return t === d.of?.[0] ? undefined : t;
    case 'bool':
      return t === 'true' ? true : undefined;
    case 'tri':
      return t === 'false' ? false : undefined;
    case 'area':
      return text === '' ? undefined : text;
    default:
      return t === '' ? undefined : t;
  }
}

/** The kind of an object: as written, or by what it has. */
export function kindOf(o: CheckObject): string {
  if (typeof o.kind === 'string' && o.kind) return o.kind;
  const scheme = /^([a-z][a-z0-9+]*):\/\//i.exec(String(o.url ?? ''))?.[1]?.toLowerCase();
  if (scheme && scheme !== 'http' && scheme !== 'https') return { grpcs: 'grpc', ws: 'websocket', wss: 'websocket', postgres: 'postgresql', rediss: 'redis', smtps: 'smtp' }[scheme] ?? scheme;
  return ['flow', 'browser', 'exec'].find((k) => o[k]) ?? 'http';
}

/**
 * The key that an error of the server names and the rest of what it says:
 * "alert.quorum: "x": want such as 2 of 3". What stands before the check's own
 * keys, such as the name of a file or checks[2], is left out.
 */
export function errorKey(message: string): { key: string; text: string } {
  let rest = message.trim();
  for (let i = 0; i < 6; i++) {
    const m = /^([A-Za-z_][\w-]*(?:\[\d+\]|\.[\w-]+)*)(?: "[^"]*")?:\s+/.exec(rest);
    if (!m) break;
    const key = m[1]!.charAt(0).toLowerCase() + m[1]!.slice(1);
    rest = rest.slice(m[0].length);
    if (/^(invalid|body|object|check|checks\[\d+\]|line|vedette)$/.test(key)) continue;
    return { key: key.replace(/^checks\[\d+\]\./, ''), text: rest.charAt(0).toUpperCase() + rest.slice(1) };
  }
  return { key: '', text: message };
}

/** The field of the form at which an error stands: the key itself, or the nearest above or below it. */
export function fieldFor(key: string, shown: string[]): string {
  if (!key) return '';
  const plain = key.replace(/\[\d+\]/g, '');
  if (shown.includes(plain)) return plain;
  for (let k = plain; k.includes('.'); ) {
    k = k.slice(0, k.lastIndexOf('.'));
    if (shown.includes(k)) return k;
  }
  return shown.find((s) => s.startsWith(plain + '.')) ?? '';
}
