// The UI's test bed: serves the built page and fixture answers of the whole HTTP
// surface, with faults to look at. No dependency, no state on disk.
//
//   node mock/server.mjs [--port 7676] [--scenario full|calm|empty|many|error|slow] [--login]
//
// The scenario can also be changed while it runs: GET /mock?scenario=empty&login=1&live=0
import { createServer } from 'node:http';
import { readFileSync, existsSync } from 'node:fs';
import { dirname, extname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createHash } from 'node:crypto';
import * as fixtures from './fixtures.mjs';
import * as synthetic from './checks.mjs';
import * as signals from './signals.mjs';

const args = process.argv.slice(2);
const opt = (name, def) => {
  const i = args.indexOf('--' + name);
  return i < 0 ? def : (args[i + 1] ?? true);
};
const port = Number(opt('port', 7676));
const state = { scenario: opt('scenario', 'full'), login: args.includes('--login'), signedIn: false, live: true, silences: fixtures.silences(), retried: new Set(), made: [], gone: new Set(), windows: null, marks: [] };

const dist = join(dirname(fileURLToPath(import.meta.url)), '../../internal/web/dist');
const types = { '.html': 'text/html; charset=utf-8', '.js': 'text/javascript; charset=utf-8', '.css': 'text/css; charset=utf-8' };
const streams = new Set();

function json(res, body, code = 200, headers = {}) {
  res.writeHead(code, { 'Content-Type': 'application/json', ...headers });
  res.end(JSON.stringify(body));
}
const prom = (res, data, extra = {}) => json(res, { status: 'success', data, ...extra });
const fail = (res, code, kind, error) => json(res, { status: 'error', error, kind }, code);

function readBody(req) {
  return new Promise((done) => {
    let s = '';
    req.on('data', (c) => (s += c));
    req.on('end', () => done(s));
  });
}

function file(req, res, path) {
  const name = path === '/' ? 'index.html' : normalize(path).replace(/^\/+/, '');
  const full = join(dist, name);
  if (!full.startsWith(dist) || !existsSync(full)) return fail(res, 404, 'not_found', `there is nothing at ${path}`);
  const gz = /gzip/.test(req.headers['accept-encoding'] ?? '') && existsSync(full + '.gz');
  const body = readFileSync(gz ? full + '.gz' : full);
  const etag = '"' + createHash('sha256').update(body).digest('hex').slice(0, 16) + '"';
  const headers = {
    'Content-Type': types[extname(name)] ?? 'text/plain; charset=utf-8',
    'Content-Security-Policy': "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:",
    'Cache-Control': 'no-cache',
    ETag: etag,
    ...(gz ? { 'Content-Encoding': 'gzip' } : {}),
  };
  if (req.headers['if-none-match'] === etag) {
    res.writeHead(304, headers);
    return res.end();
  }
  res.writeHead(200, headers);
  res.end(body);
}

const server = createServer(async (req, res) => {
  const url = new URL(req.url, 'http://x');
  const p = url.pathname;
  const body = req.method === 'GET' ? '' : await readBody(req);
  const q = req.method === 'POST' && /x-www-form-urlencoded/.test(req.headers['content-type'] ?? '') ? new URLSearchParams(body) : url.searchParams;
  const sc = state.scenario;

  if (p === '/mock') {
    if (q.has('scenario')) state.scenario = q.get('scenario');
    if (q.has('login')) {
      state.login = q.get('login') === '1';
      state.signedIn = false;
    }
    if (q.has('live')) {
      state.live = q.get('live') === '1';
      if (!state.live) for (const s of streams) s.end();
    }
    state.silences = fixtures.silences();
    Object.assign(state, { retried: new Set(), made: [], gone: new Set(), windows: null, marks: [] });
    return json(res, { scenario: state.scenario, login: state.login, live: state.live });
  }
  if (!p.startsWith('/api/')) return file(req, res, p);
  if (sc === 'slow') await new Promise((r) => setTimeout(r, 1500));

  if (p === '/api/v1/session') return json(res, fixtures.session(state));
  if (p === '/api/v1/login') {
    const b = JSON.parse(body || '{}');
    if ((b.user === 'ada' && b.password === 'correct') || b.token === 'token') {
      state.signedIn = true;
      res.writeHead(204);
      return res.end();
    }
    return fail(res, 401, 'unauthenticated', 'the user and the password do not go together');
  }
  if (state.login && !state.signedIn) return fail(res, 401, 'unauthenticated', 'sign in first');
  if (state.login && req.method !== 'GET' && !/query|series|labels/.test(p) && req.headers['x-vedette-csrf'] !== 'mock-csrf') return fail(res, 403, 'forbidden', 'the X-Vedette-CSRF header is missing or wrong');
  if (p === '/api/v1/logout') {
    state.signedIn = false;
    res.writeHead(204);
    return res.end();
  }
  if (p === '/api/v1/live') {
    if (!state.live) return fail(res, 503, 'unavailable', 'the stream is switched off');
    res.writeHead(200, { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-cache' });
    res.write(': hello\n\n');
    streams.add(res);
    req.on('close', () => streams.delete(res));
    return;
  }
  if (sc === 'error') return fail(res, 503, 'unavailable', 'open the store of tenant default: the disk is full; free some space and restart Vedette');

  const tenant = req.headers['x-vedette-tenant'] ?? 'default';
  if (p === '/api/v1/now') return json(res, fixtures.now(sc, tenant));
  if (p === '/api/v1/signals') return json(res, signals.list(sc));
  const of = /^\/api\/v1\/signals\/(\w+)$/.exec(p);
  if (of) {
    const e = signals.one(sc, of[1], q);
    return e ? json(res, e) : fail(res, 404, 'not_found', `no ${of[1]} with these labels has reported in the last 15m0s`);
  }
  if (await syntheticRoutes(req, res, p, q, body, sc)) return;
  if (p === '/api/v1/outbox') return json(res, fixtures.outbox(sc, state.retried));
  let m = /^\/api\/v1\/outbox\/([^/]+)\/retry$/.exec(p);
  if (m) {
    state.retried.add(decodeURIComponent(m[1]));
    res.writeHead(204);
    return res.end();
  }
  if (p === '/api/v1/itself') return json(res, fixtures.itself(sc));
  if (p === '/api/v1/cardinality') return json(res, fixtures.cardinality(sc, q));
  if (p === '/api/v1/targets') return prom(res, { activeTargets: fixtures.targets(sc), droppedTargets: [], droppedTargetCounts: {} });
  if (p === '/api/v1/rules') return prom(res, { groups: fixtures.rules(sc) });
  if (p === '/api/v2/alerts') return json(res, fixtures.amAlerts(sc, state.silences));
  if (p === '/api/v2/silences' && req.method === 'GET') return json(res, fixtures.shownSilences(sc, state.silences));
  if (p === '/api/v2/silences') {
    const s = JSON.parse(body);
    if (!s.matchers?.length) return json(res, 'bad matchers: at least one matcher required', 400);
    const id = 'silence-' + (state.silences.length + 1);
    state.silences.unshift({ ...s, id, updatedAt: new Date().toISOString(), status: { state: 'active' } });
    tell(['alerts', 'now']);
    return json(res, { silenceID: id });
  }
  m = /^\/api\/v2\/silence\/([^/]+)$/.exec(p);
  if (m && req.method === 'DELETE') {
    for (const s of state.silences) if (s.id === decodeURIComponent(m[1])) Object.assign(s, { endsAt: new Date().toISOString(), status: { state: 'expired' } });
    tell(['alerts', 'now']);
    return json(res, {});
  }
  if (p === '/api/v1/query_range' || p === '/api/v1/query') {
    const a = (p.endsWith('range') && signals.answer(q)) || fixtures.query(p.endsWith('range'), q, sc, state.made);
    return a.error ? json(res, { status: 'error', errorType: a.type, error: a.error }, 400) : prom(res, a.data, a.extra);
  }
  if (p === '/api/v1/label/__name__/values') return prom(res, sc === 'empty' ? fixtures.metricNames.filter((n) => /^(vedette|probe|up)/.test(n)) : fixtures.metricNames);
  m = /^\/api\/v1\/label\/([^/]+)\/values$/.exec(p);
  if (m) return prom(res, fixtures.labelValues(m[1]));
  if (p === '/api/v1/labels') return prom(res, ['__name__', 'check', 'code', 'handler', 'instance', 'job', 'method', 'phase']);
  if (p === '/api/v1/series') return prom(res, fixtures.metricNames.slice(0, 3).map((n) => ({ __name__: n, job: 'orders', instance: '127.0.0.1:8083' })));
  if (p === '/api/v1/metadata') return prom(res, Object.fromEntries(fixtures.metricNames.map((n) => [n, [{ type: /_total$/.test(n) ? 'counter' : 'gauge', help: `What ${n} counts.`, unit: '' }]])));
  if (p === '/api/v1/status/flags') return prom(res, {});
  fail(res, 404, 'not_found', `there is nothing at ${p}`);
});

/** The object in a body of JSON or YAML; the mock reads no YAML beyond key: value. */
function objectOf(req, body) {
  if (!/yaml/.test(req.headers['content-type'] ?? '')) return JSON.parse(body);
  const o = {};
  for (const line of body.split('\n')) {
    const m = /^(\w+):\s*(.+?)\s*$/.exec(line);
    if (m) o[m[1]] = m[2].replace(/^"(.*)"$/, '$1');
  }
  if (/^flow:/m.test(body)) o.flow = {};
  return o;
}

/** Checks, places, maintenance, markers and reports; true when the request was one of them. */
async function syntheticRoutes(req, res, p, q, body, sc) {
  const bad = (code, error) => (json(res, { status: 'error', errorType: code === 404 ? 'not_found' : 'bad_data', error }, code), true);
  const done = (x, code = 200) => (json(res, x, code), true);
  const wait = (ms) => new Promise((r) => setTimeout(r, ms));
  const none = () => {
    res.writeHead(204);
    res.end();
    return true;
  };
  const find = (id) => (state.gone.has(id) ? undefined : synthetic.find(sc, id, state.made));
  if (p === '/api/v1/locations') return done({ locations: synthetic.locations(sc) });
  if (p === '/api/v1/checks' && req.method === 'GET') {
    const count = Number(q.get('recent') ?? 60);
    return done({ checks: synthetic.checks(sc, count, q.get('hops') === '0', state.made).filter((c) => !state.gone.has(c.id)), locations: synthetic.locations(sc) });
  }
  if ((p === '/api/v1/checks' && req.method === 'POST') || p === '/api/v1/checks/try') {
    let o;
    try {
      o = objectOf(req, body);
    } catch {
      return bad(400, 'body: is neither JSON nor YAML');
    }
    const no = synthetic.refuse(o);
    if (no) return bad(400, no);
    if (p.endsWith('/try')) {
      await wait(600);
      return done({ results: synthetic.tryOut(o) });
    }
    const id = o.id ?? o.name.toLowerCase().replace(/[^a-z0-9]+/g, '-').replace(/^-|-$/g, '');
    if (find(id)) return bad(409, `id: ${JSON.stringify(id)}: there is a check with this id already; want another id or name`);
    state.made.unshift(synthetic.fromObject(o, id));
    tell(['checks', 'now']);
    return done({ id }, 201);
  }
  let m = /^\/api\/v1\/checks\/([^/]+)\/runs\/([^/]+)\/(\d+)\/screenshot$/.exec(p);
  if (m) {
    res.writeHead(200, { 'Content-Type': 'image/svg+xml' });
    res.end(synthetic.screenshot);
    return true;
  }
  m = /^\/api\/v1\/checks\/([^/]+)(?:\/(runs|run|history))?$/.exec(p);
  if (m) {
    const id = decodeURIComponent(m[1]);
    const c = find(id);
    if (!c) return bad(404, `there is no check ${id}`);
    if (m[2] === 'run') {
      const want = q.get('locations');
      const at = synthetic.checks(sc, 1, true, [c])[0].places.map((x) => x.location).filter((l) => !want || want === 'all' || l === want);
      const one = (l) => synthetic.run(c, l, Date.now(), c.bad[l], Math.floor(Date.now() / 1000), { extra: true });
      await wait(200 + 500 * at.length);
      return done(want ? { results: at.map(one) } : one(at[0]));
    }
    if (m[2] === 'runs') return done({ runs: synthetic.runs(c, { limit: Number(q.get('limit') ?? 100), failed: q.get('failed') === '1', before: q.get('before'), location: q.get('location') }) });
    if (m[2] === 'history') return done({ history: synthetic.history(c, Number(q.get('limit') ?? 100)) });
    if (req.method === 'GET') {
      const view = (sc === 'many' ? synthetic.checks(sc).find((x) => x.id === id) : null) ?? synthetic.checks(sc, 60, false, state.made).find((x) => x.id === id);
      return done({ check: view, object: synthetic.object(c), yaml: synthetic.yaml(synthetic.object(c)), history: synthetic.history(c) });
    }
    if ((c.source ?? 'config') !== 'api') return bad(403, `id: ${JSON.stringify(id)} comes from vedette.yml; change it there`);
    state.made = state.made.filter((x) => x.id !== id);
    if (req.method === 'DELETE') state.gone.add(id);
    else {
      const o = objectOf(req, body);
      const no = synthetic.refuse(o);
      if (no) return bad(400, no);
      state.made.unshift({ ...synthetic.fromObject(o, id), mins: 0.1 });
    }
    tell(['checks', 'now']);
    return req.method === 'DELETE' ? none() : done({ id });
  }
  if (p.startsWith('/api/v1/maintenance')) {
    state.windows ??= synthetic.windows(sc);
    if (req.method === 'GET') return done({ windows: state.windows });
    const id = decodeURIComponent(p.slice('/api/v1/maintenance/'.length));
    if (req.method === 'DELETE') {
      state.windows = state.windows.filter((w) => w.id !== id);
      tell(['checks']);
      return none();
    }
    const w = JSON.parse(body);
    if (!w.name) return bad(400, 'name: is missing; want a name that people know the work by');
    if (w.cron && !/^(\S+\s+){4}\S+$/.test(w.cron)) return bad(400, `cron: ${JSON.stringify(w.cron)}: want five fields such as 0 3 * * 0`);
    const now = Date.now();
    const active = w.start ? Date.parse(w.start) <= now && now < Date.parse(w.end) : false;
    const full = { source: 'api', checks: [], labels: {}, locations: [], cron: '', duration_seconds: 0, zone: '', exclude_from_slo: false, ...w, id: id || `w${state.windows.length}`, active, next_start: w.start && Date.parse(w.end) > now ? w.start : w.cron ? new Date(now + 86400e3).toISOString() : null, next_end: w.end && Date.parse(w.end) > now ? w.end : w.cron ? new Date(now + 90000e3).toISOString() : null };
    state.windows = [full, ...state.windows.filter((x) => x.id !== id)];
    tell(['checks']);
    return done({ id: full.id }, id ? 200 : 201);
  }
  if (p.startsWith('/api/v1/markers')) {
    if (req.method === 'POST') {
      const x = JSON.parse(body);
      if (!x.text) return bad(400, 'text: is missing; want a few words');
      state.marks.unshift({ id: `n${state.marks.length}`, at: new Date().toISOString(), kind: 'note', labels: {}, source: 'api', ...x });
      return done({ id: state.marks[0].id }, 201);
    }
    return done({ markers: [...state.marks, ...synthetic.markers(sc)] });
  }
  if (p === '/api/v1/reports/uptime') {
    const r = synthetic.report(sc, q.get('month') ?? new Date().toISOString().slice(0, 7), q.get('check'), state.made);
    if (q.get('format') !== 'csv') return done(r);
    res.writeHead(200, { 'Content-Type': 'text/csv', 'Content-Disposition': `attachment; filename="uptime-${r.month}.csv"` });
    res.end(synthetic.reportCSV(r));
    return true;
  }
  return false;
}

function tell(topics) {
  for (const s of streams) s.write(`event: change\ndata: ${JSON.stringify({ topics })}\n\n`);
}
setInterval(() => tell(['now', 'checks']), 2000).unref();
setInterval(() => tell(['alerts', 'outbox']), 5000).unref();
setInterval(() => {
  for (const s of streams) s.write(': heartbeat\n\n');
}, 15000).unref();

server.listen(port, '127.0.0.1', () => console.log(`http://127.0.0.1:${server.address().port}/ scenario ${state.scenario}`));
