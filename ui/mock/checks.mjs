// Made-up checks of a small shop, run from several places, in every state there is.
// As in fixtures.mjs the values depend on the time alone.
import { iso, sec, min, hour, day, noise } from './fixtures.mjs';

export const phases = ['resolve', 'connect', 'tls', 'processing', 'transfer'];

/** How far a place is from the shop: what the network phases are multiplied by. */
const far = { hub: 1, 'eu-west': 1.7, 'us-east': 2.6, 'ap-southeast': 4.2, 'office-lan': 1.2 };

function phaseSet(ms, failedAt, without = []) {
  const stage = phases.indexOf(failedAt);
  return Object.fromEntries(
    phases.map((n, i) => [n, without.includes(n) ? { state: 'skipped', seconds: 0 } : stage >= 0 && i > stage ? { state: 'not_reached', seconds: 0 } : { state: i === stage ? 'failed' : 'done', seconds: ms[i] / 1000 }]),
  );
}

const total = (h) => phases.reduce((a, p) => a + h.phases[p].seconds, 0);

/** Lays hops one behind the other. */
function inRow(hops, from = 0) {
  let at = from;
  for (const h of hops) {
    h.offset_seconds = at;
    at += total(h);
  }
  return at;
}

const shared = { labels: { team: 'shop', tier: 'front' }, interval: 15 };

/** What is wrong from a place: for how many runs, and what each of them says. */
const noReply = { stage: 'processing', reason: 'no_response', message: 'shop.example sent no reply within 10 s' };
const got503 = { stage: 'status', reason: 'status', message: 'the reply has status 503, want 2xx' };

export const checkList = [
  {
    ...shared, id: 'checkout', name: 'checkout page', target: 'https://shop.example/checkout', base: [1.2, 0.6, 4.1, 84, 3.1], cert: 61, redirect: true, state: 'down', mins: 11,
    text: 'checkout page is down from 2 of 3 places: hub and eu-west fail at processing with no reply within 10 s; ap-southeast still gets its reply.', stage: 'processing', reason: 'no_response',
    bad: { hub: { runs: 44, ...noReply }, 'eu-west': { runs: 42, ...noReply } }, children: ['checkout-flow', 'storefront'], runbook: 'https://wiki.example/runbooks/checkout',
  },
  {
    ...shared, id: 'billing', name: 'billing API', target: 'https://billing.example/v2/health', base: [1.4, 0.7, 5, 21, 0.4], cert: 9, state: 'down', mins: 4, labels: { team: 'billing', tier: 'back' }, interval: 30,
    text: 'billing API is down from all 3 places: the reply has status 503, want 2xx.', stage: 'status', reason: 'status', bad: { hub: { runs: 8, ...got503 }, 'eu-west': { runs: 8, ...got503 }, 'ap-southeast': { runs: 7, ...got503 } },
  },
  {
    id: 'eth-2', name: 'ethereum node 2', kind: 'evm', target: 'http://10.0.4.12:8545', base: [0, 0.4, 0, 3.2, 0.2], state: 'down', mins: 26, severity: 'warning', labels: { team: 'chain', chain: 'ethereum' }, interval: 10, at: ['hub', 'eu-west'], cert: null,
    text: 'ethereum node 2 is down from 2 of 2 places: its head is 41 blocks behind the median of its group, want at most 6.', stage: 'assertion', reason: 'assertion',
    bad: { hub: { runs: 156, stage: 'assertion', reason: 'assertion', message: 'the head 21884012 is 41 blocks behind the median 21884053 of the group mainnet, want at most 6' }, 'eu-west': { runs: 156, stage: 'assertion', reason: 'assertion', message: 'the head 21884012 is 41 blocks behind the median 21884053 of the group mainnet, want at most 6' } },
    values: [['probe_chain_head_block', 21884012, ['node', 'ethereum node 2']], ['probe_chain_lag_blocks', 41], ['probe_chain_head_age_seconds', 504.2], ['probe_chain_peers', 3], ['probe_chain_syncing', 1]],
    facts: { client: 'Geth/v1.17.8-stable/linux-amd64/go1.26', 'chain id': '1 (0x1)', head: '21884012, 8 min 24 s old', 'median of the group': '21884053, from 3 nodes', syncing: 'yes: block 21884012 of 21884060' },
  },
  {
    ...shared, id: 'search', name: 'search', target: 'https://shop.example/search?q=tea', base: [1.2, 0.6, 4.2, 64, 12], cert: 61, state: 'flapping', mins: 33, flap: 0.57,
    text: 'search is flapping: 57 % of its last 21 runs changed between up and down, most failing with status 503.', stage: 'status', reason: 'status', everyOther: got503, bad: {},
  },
  {
    ...shared, id: 'images', name: 'images CDN', target: 'https://img.shop.example/logo.png', base: [4, 8, 9, 6, 22], cert: 2.4, state: 'degraded', mins: 17, interval: 30,
    text: 'images CDN fails from ap-southeast only: the TLS handshake took longer than 10 s. hub and eu-west get their reply.', stage: 'tls', reason: 'tls_timeout', bad: { 'ap-southeast': { runs: 34, stage: 'tls', reason: 'tls_timeout', message: 'the TLS handshake with img.shop.example did not end within 10 s' } },
  },
  { id: 'partner', name: 'partner feed of a customer whose name is far longer than any column would like it to be', target: 'https://feeds.partner.example/export/daily.json?format=full', interval: 60, base: [22, 31, 44, 120, 80], state: 'unknown', mins: 12, cert: 33, labels: { team: 'partners' }, at: ['us-east'], text: 'partner feed of a customer whose name is far longer than any column would like it to be is not known: us-east, its only place, is silent.', bad: {} },
  {
    id: 'checkout-flow', name: 'buy a cup of tea', kind: 'flow', target: 'https://shop.example/', interval: 60, base: [1.2, 0.6, 4.1, 62, 4], state: 'unreachable', mins: 10, cert: 61, labels: { team: 'shop', tier: 'flow' }, parents: ['checkout'], depends: ['checkout'],
    text: 'buy a cup of tea is explained by checkout page, which is down; it is recorded and nobody is told.', stage: 'processing', reason: 'no_response', flowFails: true, bad: { hub: { runs: 10, ...noReply }, 'eu-west': { runs: 10, ...noReply } },
  },
  {
    id: 'storefront', name: 'storefront in a browser', kind: 'browser', target: 'https://shop.example/', interval: 300, base: [1.2, 0.6, 4.1, 62, 4], state: 'unreachable', mins: 9, cert: 61, labels: { team: 'shop', tier: 'flow' }, at: ['hub'], parents: ['checkout'], depends: ['checkout'],
    text: 'storefront in a browser is explained by checkout page, which is down; it is recorded and nobody is told.', stage: 'assertion', reason: 'assertion', bad: { hub: { runs: 2, stage: 'assertion', reason: 'assertion', message: 'step “pay”: the button “Pay now” did not appear within 15 s' } },
  },
  { id: 'mail', name: 'mail relay', kind: 'smtp', target: 'smtp://mail.shop.example:25', interval: 60, base: [1.6, 1.1, 0, 14, 0.1], state: 'maintenance', mins: 38, cert: 40, labels: { team: 'platform' }, window: 'mail-move', text: 'mail relay fails at connect within the maintenance window “mail moves to the new hosts”; nobody is told.', stage: 'connect', reason: 'refused', bad: Object.fromEntries(['hub', 'eu-west', 'ap-southeast'].map((l) => [l, { runs: 36, stage: 'connect', reason: 'refused', message: '192.0.2.25:25 refused the connection: nothing listens there' }])) },
  { id: 'old-api', name: 'old API', target: 'https://v1.shop.example/health', interval: 60, base: [1, 1, 4, 9, 1], state: 'paused', mins: 6 * 24 * 60, cert: 300, labels: { team: 'shop' }, source: 'api', text: 'old API is paused.', bad: {} },
  { ...shared, id: 'payment', name: 'payment provider', target: 'https://pay.provider.example/ping', interval: 10, base: [12, 14, 31, 140, 0.5], state: 'up', mins: 5000, cert: 200, slow: [{ location: 'ap-southeast', phase: 'tls', now_seconds: 0.61, usual_seconds: 0.13, mins: 22 }], labels: { team: 'payment', tier: 'back' }, text: 'payment provider is up; tls from ap-southeast takes 610 ms, 4.7 times its usual 130 ms, since 22 min.', bad: {} },
  { ...shared, id: 'front', name: 'front page', target: 'https://shop.example/', interval: 10, base: [1.1, 0.5, 4, 12, 1.4], state: 'up', mins: 4700, cert: 61, redirect: true, source: 'api', bad: {} },
  { id: 'catalogue', name: 'catalogue', target: 'http://127.0.0.1:8081/health', interval: 5, base: [0, 0.1, 0, 1.9, 0.1], state: 'up', mins: 9000, cert: null, at: ['hub'], labels: { team: 'shop', tier: 'back' }, bad: {} },
  { id: 'dns', name: 'shop.example by its own name servers', kind: 'dns', target: 'dns://192.0.2.53/shop.example?type=A', interval: 30, base: [0, 0.2, 0, 2.4, 0], state: 'up', mins: 9000, cert: null, labels: { team: 'platform' }, bad: {}, values: [['probe_dns_answer_rrs', 2], ['probe_dns_authority_rrs', 0], ['probe_dns_serial', 2026112301]], facts: { answers: '192.0.2.10, 192.0.2.11', code: 'NOERROR', server: '192.0.2.53:53' } },
  { id: 'orders-grpc', name: 'orders (grpc health)', kind: 'grpc', target: 'grpcs://orders.internal:8443', interval: 15, base: [0.8, 0.4, 3.1, 1.9, 0.1], state: 'up', mins: 9000, cert: 80, labels: { team: 'shop', tier: 'back' }, at: ['hub', 'eu-west'], bad: {}, values: [['probe_grpc_status_code', 0], ['probe_grpc_healthcheck_response', 1, ['serving_status', 'SERVING']]], facts: { service: 'orders.v1.Orders', status: 'SERVING' } },
  { id: 'gw-ping', name: 'gateway of the data centre', kind: 'icmp', target: 'icmp://192.0.2.1', interval: 5, base: [0, 0, 0, 0.9, 0], state: 'up', mins: 20000, cert: null, labels: { team: 'platform' }, bad: {}, values: [['probe_icmp_duration_seconds', 0.0009, ['phase', 'rtt']], ['probe_icmp_reply_hop_limit', 62]] },
  { id: 'pg', name: 'postgres primary', kind: 'postgresql', target: 'postgresql://pg-1.internal:5432/shop', interval: 15, base: [0.3, 0.3, 2.2, 1.1, 0.1], state: 'up', mins: 20000, cert: 120, labels: { team: 'platform' }, at: ['hub'], bad: {}, values: [['probe_database_replication_lag_seconds', 0.02]], facts: { server: 'PostgreSQL 18.1', role: 'primary' } },
  { id: 'ssh', name: 'bastion', kind: 'ssh', target: 'ssh://bastion.shop.example', interval: 60, base: [1.2, 0.7, 0, 11, 0.1], state: 'up', mins: 20000, cert: null, labels: { team: 'platform' }, bad: {}, facts: { banner: 'SSH-2.0-OpenSSH_10.2' } },
  { id: 'vpn', name: 'VPN certificate', kind: 'tls', target: 'tls://vpn.shop.example:443', interval: 60, base: [1.2, 0.7, 6, 0, 0], state: 'up', mins: 20000, cert: 12.2, labels: { team: 'platform' }, bad: {} },
  { id: 'eth-1', name: 'ethereum node 1', kind: 'evm', target: 'http://10.0.4.11:8545', base: [0, 0.4, 0, 3.1, 0.2], state: 'up', mins: 8000, labels: { team: 'chain', chain: 'ethereum' }, interval: 10, at: ['hub', 'eu-west'], cert: null, bad: {}, values: [['probe_chain_head_block', 21884053, ['node', 'ethereum node 1']], ['probe_chain_lag_blocks', 0], ['probe_chain_head_age_seconds', 5.1], ['probe_chain_peers', 61], ['probe_chain_syncing', 0]], facts: { client: 'Geth/v1.17.8-stable/linux-amd64/go1.26', 'chain id': '1 (0x1)', head: '21884053, 5 s old', 'median of the group': '21884053, from 3 nodes' } },
  { id: 'xrpl', name: 'xrpl node', kind: 'xrpl', target: 'https://xrpl-1.internal:51234', base: [0.3, 0.4, 3, 2.8, 0.3], state: 'up', mins: 8000, labels: { team: 'chain', chain: 'xrpl' }, interval: 10, at: ['hub'], cert: 700, bad: {}, values: [['probe_chain_validated_ledger', 98214001], ['probe_chain_validated_ledger_age_seconds', 3], ['probe_chain_peers', 21], ['probe_chain_load_factor', 1]], facts: { state: 'full', build: '3.2.0', ledgers: '97000000-98214001' } },
  { id: 'antelope', name: 'antelope node', kind: 'antelope', target: 'http://10.0.4.31:8888', base: [0, 0.3, 0, 1.1, 0.2], state: 'up', mins: 8000, labels: { team: 'chain', chain: 'vaulta' }, interval: 10, at: ['hub'], cert: null, bad: {}, values: [['probe_chain_head_block', 411200310], ['probe_chain_lag_blocks', 1], ['probe_chain_irreversible_lag_blocks', 3]], facts: { head: '411200310, 0.5 s old', irreversible: '411200307' } },
  { id: 'self', name: 'Vedette itself', target: 'http://127.0.0.1:7575/-/healthy', interval: 5, base: [0, 0.08, 0, 0.4, 0.05], state: 'up', mins: 246, cert: null, source: 'builtin', at: ['hub'], labels: {}, bad: {} },
];

export function locations(scenario) {
  const t = Date.now();
  const hub = { name: 'hub', state: 'up', labels: {}, private: false, last_seen: iso(t), since: iso(t - 4.1 * hour), version: '0.1.0', spooled: 0, clock_skew_seconds: 0, checks: 21, address: '' };
  if (scenario === 'empty') return [{ ...hub, checks: 1 }];
  const calm = scenario === 'calm';
  return [
    hub,
    { name: 'eu-west', state: 'up', labels: { region: 'eu', cloud: 'hetzner' }, private: false, last_seen: iso(t - 4 * sec), since: iso(t - 12 * day), version: '0.1.0', spooled: 0, clock_skew_seconds: 0.0021, checks: 15, address: '198.51.100.7' },
    { name: 'us-east', state: calm ? 'up' : 'silent', labels: { region: 'us', cloud: 'aws' }, private: false, last_seen: iso(t - (calm ? 0.1 : 12) * min), since: iso(t - 12 * min), version: '0.1.0', spooled: 0, clock_skew_seconds: 0.0004, checks: 1, address: '203.0.113.80' },
    { name: 'ap-southeast', state: 'up', labels: { region: 'ap', cloud: 'aws' }, private: false, last_seen: iso(t - 9 * sec), since: iso(t - 3 * day), version: '0.0.9', spooled: calm ? 0 : 812, clock_skew_seconds: calm ? 0.01 : -1.84, checks: 13, address: '203.0.113.19' },
    ...(calm ? [] : [{ name: 'office-lan', state: 'never', labels: { site: 'berlin' }, private: true, last_seen: null, since: null, version: '', spooled: 0, clock_skew_seconds: 0, checks: 0, address: '' }]),
  ];
}

const placesOf = (c) => c.at ?? ['hub', 'eu-west', 'ap-southeast'];

function tlsOf(c) {
  if (c.cert === null || !/^(https|grpcs|tls|smtp|postgresql)/.test(c.target)) return undefined;
  const host = new URL(c.target.replace(/^\w+:/, 'https:')).hostname;
  return { version: 'TLS 1.3', cipher: 'TLS_AES_128_GCM_SHA256', alpn: c.kind === 'grpc' ? 'h2' : 'http/1.1', subject: `CN=${host}`, issuer: 'CN=R11, O=Example Trust, C=DE', names: [host, `www.${host}`], not_after: iso(Date.now() + c.cert * day) };
}

function flowHops(c, k, failed) {
  const u = 'https://shop.example';
  const tls = tlsOf(c);
  const mk = (step, method, path, ms, status, extra = {}) => ({ url: u + path, step, address: '192.0.2.10:443', phases: phaseSet(ms.map((m, i) => (i < 3 ? m * k : m)), extra.fail, ms[2] ? [] : ['resolve', 'connect', 'tls']), status, proto: 'HTTP/1.1', bytes: 4000 + 900 * path.length, tls: ms[2] ? tls : undefined, ...extra });
  const hops = [
    mk('open the shop', 'GET', '/', [1.2, 0.6, 4.1, 12, 2.2], 200),
    mk('sign in', 'POST', '/session', [0, 0, 0, 96, 0.4], 303, { location: '/account' }),
    mk('sign in', 'GET', '/account', [0, 0, 0, 21, 1.2], 200),
    mk('put tea in the cart', 'POST', '/cart', [0, 0, 0, 34, 0.6], 201),
  ];
  hops.push(failed ? mk('check out', 'GET', '/checkout', [0, 0, 0, 10000, 0], undefined, { fail: 'processing', bytes: 0 }) : mk('check out', 'GET', '/checkout', [0, 0, 0, 84, 3.1], 200));
  if (!failed) hops.push(mk('pay', 'POST', '/pay', [0, 0, 0, 180, 0.7], 200));
  const end = inRow(hops, 0.0004);
  const steps = ['open the shop', 'sign in', 'put tea in the cart', 'check out', 'pay'].map((name) => {
    const mine = hops.filter((h) => h.step === name);
    const from = mine[0]?.offset_seconds ?? end;
    return { name, offset_seconds: from, duration_seconds: mine.reduce((a, h) => a + total(h), 0), state: !mine.length ? 'not_reached' : failed && name === 'check out' ? 'failed' : 'ok', message: failed && name === 'check out' ? noReply.message : undefined };
  });
  return { hops, steps, end };
}

function browserHops(c, failed) {
  const u = 'https://shop.example';
  const tls = tlsOf(c);
  const list = [
    ['/', 'document', 'open the shop', 0.004, [1.2, 0.6, 4.1, 48, 3], 200, 18234],
    ['/app.css', 'stylesheet', 'open the shop', 0.064, [0, 0, 0, 8, 1.1], 200, 24110],
    ['/app.js', 'script', 'open the shop', 0.065, [0, 0, 0, 9, 14], 200, 212004],
    ['https://img.shop.example/logo.png', 'image', 'open the shop', 0.071, [4, 8, 9, 6, 2.2], 200, 8123],
    ['https://img.shop.example/hero-tea.webp', 'image', 'open the shop', 0.072, [0, 0, 0, 7, 61], 200, 412004],
    ['https://fonts.shop.example/serif.woff2', 'font', 'open the shop', 0.094, [6, 8, 11, 5, 9], 200, 48000],
    ['/api/cart', 'fetch', 'open the shop', 0.142, [0, 0, 0, 31, 0.4], 200, 412],
    ['https://metrics.example/collect', 'ping', 'open the shop', 0.201, [12, 14, 22, 40, 0.1], 204, 0],
    ['/api/cart', 'fetch', 'put tea in the cart', 0.621, [0, 0, 0, 44, 0.4], 201, 498],
    ['/checkout', 'document', 'pay', 0.933, [0, 0, 0, failed ? 10000 : 90, failed ? 0 : 3], failed ? 504 : 200, failed ? 162 : 21988],
  ];
  const hops = list.map(([path, type, step, at, ms, status, bytes]) => ({ url: path.startsWith('/') ? u + path : path, step, type, offset_seconds: at, address: '192.0.2.10:443', phases: phaseSet(ms, undefined, ms[1] ? [] : ['resolve', 'connect', 'tls']), status, proto: 'h2', bytes, tls: ms[2] && type === 'document' ? tls : undefined }));
  const end = failed ? 15.94 : 1.31;
  const steps = [
    { name: 'open the shop', offset_seconds: 0, duration_seconds: 0.588, state: 'ok' },
    { name: 'put tea in the cart', offset_seconds: 0.588, duration_seconds: 0.331, state: 'ok' },
    { name: 'pay', offset_seconds: 0.919, duration_seconds: end - 0.919, state: failed ? 'failed' : 'ok', message: failed ? 'the button “Pay now” did not appear within 15 s' : undefined },
  ];
  return { hops, steps, end };
}

/** One run of a check from a place. */
export function run(c, location, at, fault, seed, extra = {}) {
  const f = far[location] ?? 1;
  const k = (0.8 + 0.5 * noise(c.id, location, seed)) * (noise(c.id, seed, 'p') > 0.97 ? 2.2 : 1);
  const slow = c.slow?.find((s) => s.location === location && at > Date.now() - s.mins * min);
  const release = Date.now() - 26 * hour;
  const ms = c.base.map((m, i) => m * k * (i < 3 ? f : i === 4 ? Math.sqrt(f) : 1) * (c.id === 'front' && i === 3 && at < release ? 2.6 : 1) * (slow && phases[i] === slow.phase ? slow.now_seconds / slow.usual_seconds : 1));
  const tls = tlsOf(c);
  const without = tls || c.cert !== null && c.target.startsWith('https') ? [] : ['tls'];
  if (/^\w+:\/\/[\d.]+[:/]?/.test(c.target)) without.push('resolve');
  let hops = [];
  let more = {};
  let end;
  const stage = fault?.stage;
  if (c.kind === 'flow') {
    const w = flowHops(c, k * f, !!fault);
    hops = w.hops;
    end = w.end;
    more.steps = w.steps;
  } else if (c.kind === 'browser') {
    const w = browserHops(c, !!fault);
    hops = w.hops;
    end = w.end;
    more.steps = w.steps;
    more.values = [{ name: 'probe_browser_lcp_seconds', value: 0.41 }, { name: 'probe_browser_cls', value: 0.02 }, { name: 'probe_browser_ttfb_seconds', value: 0.054 }];
    if (fault) Object.assign(more, { console: ['error: Failed to load resource: the server responded with a status of 504 (Gateway Timeout) https://shop.example/checkout', 'error: Uncaught TypeError: cannot read properties of undefined (reading “total”) at app.js:1:88121', 'warning: [cart] retry 3 of 3'], has_screenshot: true, facts: { page: 'https://shop.example/checkout', title: '504 Gateway Timeout', viewport: '1280 × 800' } });
  } else {
    const address = /^\w+:\/\/([\d.]+)/.exec(c.target)?.[1] ?? (location === 'ap-southeast' ? '203.0.113.10' : '192.0.2.10');
    const h = (url, m, fail, x = {}) => ({ url, address: fail === 'resolve' ? undefined : `${address}:${new URL(c.target.replace(/^\w+:/, 'https:')).port || 443}`, phases: phaseSet(m, fail, without), bytes: 18234, ...x });
    const http = !c.kind || c.kind === 'http';
    if (c.redirect) hops.push({ ...h('http://' + new URL(c.target).host + '/', [ms[0], ms[1], 0, ms[3] / 4, 0.2], undefined, { status: 301, proto: 'HTTP/1.1', bytes: 0, location: c.target }), phases: phaseSet([ms[0], ms[1], 0, ms[3] / 4, 0.2], undefined, ['tls']) });
    if (stage === 'tls') hops.push(h(c.target, [ms[0], ms[1], 10000, 0, 0], 'tls', { bytes: 0 }));
    else if (stage === 'connect') hops.push(h(c.target, [ms[0], ms[1], 0, 0, 0], 'connect', { bytes: 0 }));
    else if (stage === 'processing') hops.push(h(c.target, [ms[0], ms[1], ms[2], 10000, 0], 'processing', { bytes: 0, tls }));
    else hops.push(h(c.target, ms, undefined, http ? { status: stage === 'status' ? 503 : 200, proto: 'HTTP/1.1', tls } : { tls, bytes: Math.round(200 + 300 * noise(c.id)) }));
    end = inRow(hops);
    more.values = c.values?.map(([name, value, labels]) => ({ name, value, labels }));
    more.facts = c.facts;
  }
  return {
    check: c.id, kind: c.kind ?? 'http', target: c.target, location, start: iso(at).replace('Z', '417Z'), duration_seconds: end, lag_seconds: 0.0004, success: !fault,
    ...(fault ? { stage: fault.stage, reason: fault.reason, message: fault.message, reply: stage === 'status' ? 'HTTP/1.1 503 Service Unavailable\nContent-Type: text/html\nRetry-After: 30\nSet-Cookie: (removed)\n\n<html><body><h1>503 Service Unavailable</h1>\nNo server is available to handle this request.\n</body></html>' : stage === 'assertion' && c.values ? '{"jsonrpc":"2.0","id":1,"result":{"currentBlock":"0x14dee6c","highestBlock":"0x14dee9c"}}' : undefined } : {}),
    hops, trace_id: c.target.includes('shop.example') || c.target.includes('billing') ? '4bf92f3577b34da6' + Math.floor(noise(c.id, location, seed) * 0xffffffff).toString(16).padStart(8, '0') + 'a3ce929d' : undefined, ...more,
    ...(c.window ? { maintenance: true } : {}), ...extra,
  };
}

/** What is wrong with the run that is n runs old, or undefined. */
function faultOf(c, location, n, slot) {
  if (c.everyOther) return noise(c.id, location, slot) < 0.5 ? c.everyOther : undefined;
  const b = c.bad[location];
  if (b && n < b.runs) return b;
  if (c.blip && n === c.blip) return got503;
  // A long past with a few faults in it.
  if (c.state !== 'up' || !c.redirect) return undefined;
  return noise(c.id, location, Math.floor(slot / 300), 'old') > 0.999 ? got503 : undefined;
}

const slotOf = (c, location, at) => Math.floor((at - noise(c.id, location) * c.interval * sec) / (c.interval * sec));
const timeOf = (c, location, slot) => Math.round((slot + noise(c.id, location)) * c.interval * sec);

function listOf(scenario) {
  if (scenario === 'empty') return checkList.filter((c) => c.id === 'self');
  if (scenario === 'calm') return checkList.filter((c) => !['partner', 'old-api'].includes(c.id)).map((c) => ({ ...c, state: 'up', bad: {}, everyOther: undefined, slow: undefined, parents: undefined, window: '', text: '', stage: '', reason: '', mins: 4700, cert: c.cert && c.cert + 40 }));
  return checkList;
}

export const find = (scenario, id, made = []) => [...made, ...listOf(scenario)].find((c) => c.id === id);

function view(c, t, count, brief) {
  const places = placesOf(c).map((location) => {
    const never = c.state === 'unknown';
    const silent = never && location === 'us-east';
    const n = c.state === 'paused' || (never && !silent) ? 0 : 60;
    const last = slotOf(c, location, silent ? t - 12 * min : t);
    const recent = [];
    for (let i = Math.min(n, count) - 1; i >= 0; i--) {
      const at = timeOf(c, location, last - i);
      const fault = faultOf(c, location, i, last - i);
      const r = run(c, location, at, fault, last - i);
      recent.push({ t: Math.floor(at / 1000), ok: r.success, stage: r.stage ?? '', ms: phases.map((p) => Math.round(r.hops.reduce((a, h) => a + h.phases[p].seconds * 1000, 0) * 100) / 100) });
    }
    const bad = c.bad[location];
    const fault = n ? faultOf(c, location, 0, last) : undefined;
    const lastRun = n ? run(c, location, timeOf(c, location, last), fault, last) : null;
    if (lastRun && brief) lastRun.hops = [];
    return {
      location, state: silent ? 'silent' : !n ? 'unknown' : bad ? 'down' : fault ? 'failing' : 'up', since: n ? iso(t - (bad ? bad.runs * c.interval * sec : c.mins * min)) : null, consecutive: bad ? bad.runs : 2000, uptime_24h: n ? 1 - (bad ? bad.runs / (86400 / c.interval) : c.everyOther ? 0.012 : noise(c.id, location) > 0.7 ? 0.0002 : 0) : null, runs_24h: n ? Math.floor(86400 / c.interval) : 0, last: lastRun, recent,
    };
  });
  const known = places.filter((p) => p.uptime_24h !== null);
  return {
    id: c.id, name: c.name, kind: c.kind ?? 'http', target: c.target, interval_seconds: c.interval, labels: c.labels, source: c.source ?? 'config', paused: c.state === 'paused', state: c.state,
    since: iso(t - c.mins * min), text: c.text || `${c.name} is ${c.state}.`, stage: c.stage ?? '', reason: c.reason ?? '', uptime_24h: known.length ? Math.min(...known.map((p) => p.uptime_24h)) : null, runs_24h: places.reduce((a, p) => a + p.runs_24h, 0),
    failing: Object.keys(c.bad), silent: places.filter((p) => p.state === 'silent').map((p) => p.location), need: Math.floor(places.length / 2) + 1, flap_share: c.flap ?? 0,
    slow: (c.slow ?? []).map((s) => ({ location: s.location, phase: s.phase, now_seconds: s.now_seconds, usual_seconds: s.usual_seconds, since: iso(t - s.mins * min) })),
    depends_on: c.depends ?? [], parents: c.parents ?? [], children: c.children ?? [], window: c.window ?? '', severity: c.severity ?? 'page', runbook: c.runbook ?? '',
    certificate_not_after: c.cert === null || c.cert === undefined ? null : iso(t + c.cert * day),
    location: places[0]?.location ?? 'hub', consecutive: places[0]?.consecutive ?? 0, last: places[0]?.last ?? null, recent: places[0]?.recent ?? [], places,
  };
}

const kept = new Map();

export function checks(scenario, count = 60, brief = false, made = []) {
  const t = Date.now();
  if (scenario === 'many') {
    count = Math.min(count, 8); // a server with that many keeps its answer small
    // Ten thousand; made once, as a server would have them ready.
    if (!kept.has(count)) {
      const out = listOf('full').map((c) => view(c, t, count, brief));
      const shape = listOf('full').slice(11, 23).map((c) => view(c, t, Math.min(count, 20), true));
      const more = 10000 - out.length;
      for (let i = 0; i < more; i++) {
        const b = shape[i % shape.length];
        const x = { ...b, id: `c${i}`, name: `${b.name} ${i}`, source: 'config', labels: { ...b.labels, shard: `s${String(i % 12).padStart(2, '0')}` } };
        if (i % 997 === 41) Object.assign(x, { state: 'down', text: `${x.name} is down from all its places: the reply has status 503, want 2xx.`, stage: 'status', since: iso(t - (i % 50) * min), places: x.places.map((p) => ({ ...p, state: 'down', last: { ...p.last, success: false, stage: 'status', reason: 'status' } })) });
        out.push(x);
      }
      kept.set(count, out);
    }
    return kept.get(count);
  }
  return [...made, ...listOf(scenario)].map((c) => view(c, t, count, brief));
}

export function runs(c, { limit = 100, failed = false, before, location }) {
  if (c.state === 'paused') return [];
  const want = placesOf(c).filter((l) => !location || l === location).filter((l) => c.state !== 'unknown' || l === 'us-east');
  const from = before ? Date.parse(before) - 1 : Date.now() - (c.state === 'unknown' ? 12 * min : 0);
  const heads = want.map((l) => ({ l, slot: slotOf(c, l, from) }));
  const out = [];
  for (let i = 0; out.length < Math.min(limit, 500) && i < 60000; i++) {
    const h = heads.reduce((a, b) => (!a || timeOf(c, b.l, b.slot) > timeOf(c, a.l, a.slot) ? b : a), null);
    if (!h) break;
    const at = timeOf(c, h.l, h.slot);
    const age = slotOf(c, h.l, Date.now()) - h.slot;
    const fault = faultOf(c, h.l, age, h.slot);
    if (!failed || fault) out.push(run(c, h.l, at, fault, h.slot, { ...(h.l === 'ap-southeast' && age > 20 && age < 26 ? { late: true } : {}), ...(fault && age === (c.bad[h.l]?.runs ?? -1) - 1 ? { extra: true } : {}) }));
    h.slot--;
  }
  return out;
}

export function history(c, limit = 100) {
  const t = Date.now();
  const ch = (mins, from, to, text, locations = [], stage = '', reason = '') => ({ check: c.id, at: iso(t - mins * min), from, to, stage, reason, locations, text });
  if (c.state === 'paused') return [ch(c.mins, 'up', 'paused', 'old API was paused by ada.')];
  if (c.id === 'checkout') {
    return [
      ch(11, 'degraded', 'down', c.text, ['hub', 'eu-west'], 'processing', 'no_response'),
      ch(11.4, 'up', 'degraded', 'checkout page fails from hub at processing; the other places are asked.', ['hub'], 'processing', 'no_response'),
      ch(38, 'down', 'up', 'checkout page is up again from all 3 places after 2 min 10 s.'),
      ch(40.2, 'up', 'down', 'checkout page is down from all 3 places: the reply has status 503, want 2xx.', ['hub', 'eu-west', 'ap-southeast'], 'status', 'status'),
      ch(26 * 60, 'maintenance', 'up', 'The maintenance window “release 2.4.1” has ended; checkout page is up.'),
      ch(26.5 * 60, 'up', 'maintenance', 'The maintenance window “release 2.4.1” has begun.'),
      ch(61 * 60, 'unknown', 'up', 'checkout page is up from all 3 places.'),
    ].slice(0, limit);
  }
  const out = [];
  if (c.state !== 'up') out.push(ch(c.mins, 'up', c.state, c.text, Object.keys(c.bad), c.stage, c.reason));
  if (c.redirect || c.id === 'search') out.push(ch(26 * 60, 'maintenance', 'up', `The maintenance window “release 2.4.1” has ended; ${c.name} is up.`), ch(26.5 * 60, 'up', 'maintenance', 'The maintenance window “release 2.4.1” has begun.'));
  out.push(ch(9000 + c.mins, 'unknown', 'up', `${c.name} is up from ${placesOf(c).length === 1 ? 'its only place' : `all ${placesOf(c).length} places`}.`));
  return out.slice(0, limit);
}

/** The object of a check as a person would have written it. */
export function object(c) {
  if (c.object) return c.object;
  const o = { name: c.name, id: c.id };
  if (c.kind && c.kind !== 'http') o.kind = c.kind;
  o.url = c.target;
  o.interval = `${c.interval}s`;
  if (c.labels && Object.keys(c.labels).length) o.labels = c.labels;
  if (c.at) o.locations = c.at;
  if (c.depends) o.depends_on = c.depends;
  if (c.severity || c.runbook) o.alert = { ...(c.severity ? { severity: c.severity } : {}), ...(c.runbook ? { runbook: c.runbook, quorum: '2 of 3' } : {}) };
  if (c.id === 'front') Object.assign(o, { headers: { 'X-Robot': 'vedette', Authorization: '(removed)' }, expect: { status: [200], body_contains: 'Tea for everyone', certificate_days: 14 } });
  if (c.id === 'old-api') o.paused = true;
  if (c.kind === 'evm') o.chain = { group: 'mainnet', chain_id: 1, max_lag: 6, min_peers: 5 };
  if (c.kind === 'flow') {
    delete o.url;
    o.flow = {
      variables: { base: 'https://shop.example' },
      secrets: { password: { file: '/etc/vedette/robot.password' } },
      steps: [
        { name: 'open the shop', request: { url: '${base}/' }, expect: { status: 200 } },
        { name: 'sign in', request: { method: 'POST', url: '${base}/session', form: { user: 'robot', password: '${password}' } }, extract: [{ name: 'token', header: 'X-Session' }] },
        { name: 'put tea in the cart', request: { method: 'POST', url: '${base}/cart', json: { sku: 'tea-7', n: 1 } }, expect: { status: 201 } },
        { name: 'check out', request: { url: '${base}/checkout' }, expect: { body_contains: 'Pay now' } },
        { name: 'pay', request: { method: 'POST', url: '${base}/pay' } },
      ],
    };
  }
  return o;
}

export const yaml = (o, pad = '') =>
  Object.entries(o)
    .map(([k, v]) => {
      if (Array.isArray(v)) return `${pad}${k}:\n` + v.map((x) => (x && typeof x === 'object' ? yaml(x, pad + '    ').replace(pad + '    ', pad + '  - ') : `${pad}  - ${scalar(x)}\n`)).join('');
      if (v && typeof v === 'object') return `${pad}${k}:\n${yaml(v, pad + '  ')}`;
      return `${pad}${k}: ${scalar(v)}\n`;
    })
    .join('');
const scalar = (x) => (typeof x !== 'string' || /^[A-Za-z/][\w ./:-]*$/.test(x) ? String(x) : JSON.stringify(x));

/** What the server says to an object; "" when it would take it. */
export function refuse(o) {
  if (!o || typeof o !== 'object') return 'body: want one check as an object';
  if (!o.name) return 'name: is missing; want a name that people know the check by';
  const kind = o.kind ?? 'http';
  if (!o.url && !o.flow && kind !== 'flow') return 'url: is missing; want such as https://shop.example.org/health';
  if (kind === 'http' && o.url && !/^https?:\/\/[^/]+/.test(o.url)) return `url: ${JSON.stringify(o.url)}: want such as https://shop.example.org/health`;
  if (o.interval && !/^\d+(ms|s|m|h)/.test(o.interval)) return `interval: ${JSON.stringify(o.interval)}: want a duration such as 30s`;
  if (o.alert?.quorum && !/^\d+( of \d+|%)?$/.test(o.alert.quorum)) return `alert.quorum: ${JSON.stringify(o.alert.quorum)}: want such as 2 of 3, 2 or 50%`;
  return '';
}

export function fromObject(o, id) {
  const kind = o.kind ?? (o.flow ? 'flow' : 'http');
  const n = /^(\d+)(m|h)?/.exec(o.interval ?? '30s');
  return { id, name: o.name, kind, target: o.url ?? 'flow', interval: Number(n?.[1] ?? 30) * (n?.[2] === 'm' ? 60 : n?.[2] === 'h' ? 3600 : 1), base: [1.2, 0.8, 4, 22, 1], state: o.paused ? 'paused' : 'up', mins: 0.5, cert: 70, labels: o.labels ?? {}, source: 'api', at: o.locations?.filter((l) => far[l]) ?? undefined, bad: {}, object: { ...o, id } };
}

export function tryOut(o) {
  const c = fromObject(o, 'try');
  const bad = /refused|:1\b/.test(o.url ?? '');
  return placesOf(c).map((l, i) => run(c, l, Date.now(), bad ? { stage: 'connect', reason: 'refused', message: '127.0.0.1:1 refused the connection: nothing listens there' } : o.expect?.body_contains === 'nowhere' && i === 2 ? { stage: 'body', reason: 'body', message: 'the body does not contain "nowhere"' } : undefined, i, { extra: true }));
}

export function windows(scenario) {
  if (scenario === 'empty') return [];
  const t = Date.now();
  const d = new Date(t);
  const sunday = Date.UTC(d.getUTCFullYear(), d.getUTCMonth(), d.getUTCDate() + ((7 - d.getUTCDay()) % 7 || 7), 2);
  return [
    ...(scenario === 'calm' ? [] : [{ id: 'mail-move', name: 'mail moves to the new hosts', source: 'api', checks: ['mail'], labels: {}, locations: [], start: iso(t - 40 * min), end: iso(t + 80 * min), cron: '', duration_seconds: 7200, zone: '', exclude_from_slo: true, active: true, next_start: iso(t - 40 * min), next_end: iso(t + 80 * min) }]),
    { id: 'db-weekly', name: 'weekly database work', source: 'config', checks: [], labels: { team: 'platform' }, locations: [], start: null, end: null, cron: '0 3 * * 0', duration_seconds: 3600, zone: 'Europe/Paris', exclude_from_slo: true, active: false, next_start: iso(sunday), next_end: iso(sunday + hour) },
    { id: 'ap-line', name: 'the line to Singapore is worked on', source: 'api', checks: [], labels: {}, locations: ['ap-southeast'], start: iso(t + 2 * day), end: iso(t + 2 * day + 3 * hour), cron: '', duration_seconds: 10800, zone: '', exclude_from_slo: false, active: false, next_start: iso(t + 2 * day), next_end: iso(t + 2 * day + 3 * hour) },
    { id: 'rel-241', name: 'release 2.4.1', source: 'api', checks: ['front', 'checkout', 'search'], labels: {}, locations: [], start: iso(t - 26.5 * hour), end: iso(t - 26 * hour), cron: '', duration_seconds: 1800, zone: '', exclude_from_slo: true, active: false, next_start: null, next_end: null },
  ];
}

export function markers(scenario) {
  if (scenario === 'empty') return [];
  const t = Date.now();
  return [
    { id: 'm3', at: iso(t - 13 * min), text: 'payment-client 1.9.0', kind: 'release', labels: { service: 'payment-client' }, source: 'api' },
    { id: 'm2', at: iso(t - 26 * hour), text: 'shop 2.4.1', kind: 'release', labels: { service: 'shop' }, source: 'api' },
    { id: 'm1', at: iso(t - 3 * day), text: 'checks[2].interval 30s to 15s', kind: 'change', labels: {}, source: 'config' },
  ];
}

export function report(scenario, month, check, made = []) {
  const [y, m] = month.split('-').map(Number);
  const from = Date.UTC(y, m - 1, 1);
  const to = Date.UTC(y, m, 1);
  const now = Date.now();
  const seen = now - 70 * day;
  const list = [...made, ...listOf(scenario)].filter((c) => !check || c.id === check);
  const out = list.map((c) => {
    const days = [];
    for (let d = from; d < Math.min(to, now); d += day) {
      const name = iso(d).slice(0, 10);
      if (d < seen - day || c.state === 'paused' || (c.id === 'partner' && d > now - 3 * day)) {
        days.push({ day: name, uptime: null, runs: 0, failed: 0, down_seconds: 0 });
        continue;
      }
      const today = now - d < day;
      const part = today ? (now - d) / day : 1;
      const runs = Math.floor((86400 / c.interval) * placesOf(c).length * part);
      const bad = noise(c.id, name) > (c.state === 'up' ? 0.96 : 0.8) ? noise(name, c.id, 'x') * (c.state === 'up' ? 0.004 : 0.03) : 0;
      const share = today && Object.keys(c.bad).length ? Math.max(bad, c.mins / (24 * 60 * part)) : bad;
      days.push({ day: name, uptime: 1 - share, runs, failed: Math.round(runs * share * 0.9), down_seconds: Math.round(share * 86400 * part) });
    }
    const known = days.filter((d) => d.uptime !== null);
    const down = known.reduce((a, d) => a + d.down_seconds, 0);
    const all = known.length * 86400;
    const incidents = known.filter((d) => d.down_seconds).length;
    const base = c.base.reduce((a, b) => a + b, 0) / 1000;
    return {
      id: c.id, name: c.name, labels: c.labels, uptime: known.length ? 1 - down / all : null, runs: known.reduce((a, d) => a + d.runs, 0), failed: known.reduce((a, d) => a + d.failed, 0), down_seconds: down, unknown_seconds: c.id === 'partner' ? 3 * 86400 : Math.round(noise(c.id, month) * 120), maintenance_seconds: c.redirect ? 1800 : c.window ? 2400 : 0,
      incidents, mtta_seconds: incidents ? 40 + 300 * noise(c.id, 'a') : null, mttr_seconds: incidents ? down / incidents : null, p50_seconds: known.length ? base * 1.4 : null, p95_seconds: known.length ? base * 2.9 : null, days,
    };
  });
  return { month, from: iso(from), to: iso(to), partial: to > now, checks: out };
}

export function reportCSV(r) {
  return 'check,uptime,runs,failed,down_seconds,incidents,mtta_seconds,mttr_seconds,p50_seconds,p95_seconds\n' + r.checks.map((c) => [c.name, c.uptime, c.runs, c.failed, c.down_seconds, c.incidents, c.mtta_seconds, c.mttr_seconds, c.p50_seconds, c.p95_seconds].join(',')).join('\n') + '\n';
}

/** Phases of a check from each of its places, as series of the metrics. */
export function phaseSeries(expr, scenario, made = []) {
  const name = /check="((?:[^"\\]|\\.)*)"/.exec(expr)?.[1]?.replace(/\\(.)/g, '$1');
  const c = [...made, ...listOf(scenario)].find((x) => x.name === name);
  if (!c || c.state === 'paused') return [];
  const only = /location="([^"]+)"/.exec(expr)?.[1];
  const http = /probe_http_duration/.test(expr);
  const out = [];
  for (const location of placesOf(c)) {
    if (only && only !== location) continue;
    for (const phase of phases) {
      const i = phases.indexOf(phase);
      if (!c.base[i]) continue;
      out.push({ metric: { location, phase }, base: (c.base[i] / 1000) * (i < 3 ? far[location] : i === 4 ? Math.sqrt(far[location]) : 1), check: c, http });
    }
  }
  return out;
}

/** The value of such a series at a time, null where there is none. */
export function phaseAt(s, t) {
  const { location, phase } = s.metric;
  const c = s.check;
  const bad = c.bad[location];
  const ago = Date.now() / 1000 - t;
  if (c.state === 'unknown' && ago < 720) return null;
  let v = s.base * (1 + 0.12 * Math.sin(t / 900 + noise(c.id, location, phase) * 6) + 0.3 * (noise(c.id, location, phase, Math.floor(t / 30)) - 0.4));
  if (noise(c.id, location, phase, Math.floor(t / 60), 'spike') > 0.985) v *= 1.9;
  if (c.id === 'front' && phase === 'processing' && ago > 26 * 3600) v *= 2.6;
  const slow = c.slow?.find((x) => x.location === location && x.phase === phase);
  if (slow && ago < slow.mins * 60) v *= slow.now_seconds / slow.usual_seconds;
  if (bad && ago < bad.runs * c.interval) {
    const stage = phases.indexOf(bad.stage);
    if (stage >= 0 && phases.indexOf(phase) > stage) return null;
    if (phase === bad.stage) v = bad.stage === 'connect' ? v : 10;
  }
  return v;
}

/** A picture of a page for the runs of a browser. */
export const screenshot = `<svg xmlns="http://www.w3.org/2000/svg" width="1280" height="800" viewBox="0 0 1280 800"><rect width="1280" height="800" fill="#fff"/><rect width="1280" height="64" fill="#26413c"/><text x="40" y="42" font-family="Georgia, serif" font-size="28" fill="#fff">Tea for everyone</text><text x="640" y="360" text-anchor="middle" font-family="sans-serif" font-size="44" fill="#333">504 Gateway Timeout</text><text x="640" y="410" text-anchor="middle" font-family="sans-serif" font-size="20" fill="#777">The server behind this page did not reply in time.</text><path d="M440 450h400" stroke="#ccc"/></svg>`;
