import test from 'node:test';
import assert from 'node:assert/strict';
import { age, bytes, count, guessUnit, seconds, seriesName, sig3, uptime } from '../src/base/format.ts';
import { match } from '../src/base/match.ts';
import { buildHash, parseHash } from '../src/base/router.ts';
import { autoStep, parseDuration, parseRange } from '../src/base/time.ts';
import { joinInstant, joinRange } from '../src/screens/results.ts';
import { alertSentence, joinAlerts, matcherText, parseMatcher } from '../src/screens/alertdata.ts';
import { distinct, keepOrder } from '../src/ui/table.tsx';
import { readYaml, writeYaml, YamlError, type Yaml } from '../src/base/yaml.ts';
import { changeWords, changed, compareSentence, spreads, type Phases } from '../src/screens/beforeafter.ts';
import { errorKey, fieldFor, fromField, getPath, hiddenKeys, kindDefs, kindOf, setPath, shownKeys, toField, type FieldDef } from '../src/screens/checkdata.ts';
import { columnsOf, compareChecks, groupChecks, matrixSentence, quorumWords, segments, signOfPlace, unixNanos, wanted } from '../src/screens/checkparts.ts';
import { cardinalityPath, cardinalitySentence, diskWords, growth, hintTitle, narrowed, pasted, selector } from '../src/screens/cardinalitydata.ts';
import { compareWindows, cronWords, stateOf, whatWords } from '../src/screens/maintenancedata.ts';
import { reportSentence, stepMonth } from '../src/screens/reportdata.ts';
import { entitySentence, idOf, labelsOf, legendOf, listSentence, valueIn, type Entity } from '../src/screens/signalsdata.ts';
import { classOf, classicHeat, countClasses, gridBucket, heatSpan, nativeHeat, oklch, ramp, trimHeat } from '../src/ui/heat.ts';
import { cellWords } from '../src/ui/heatmap.tsx';
import type { Cardinality, Change, Check, Location, ReportRow, Window } from '../src/base/types.ts';

test('numbers have three significant digits', () => {
  const f = (n: number, want: string) => assert.equal(sig3(n), want);
  f(0, '0');
  f(0.0312, '0.0312');
  f(3.124, '3.12');
  f(31.26, '31.3');
  f(312.4, '312');
  f(12345.6, '12,346');
  f(0.00001234, '1.23e-5');
  f(Infinity, '+Inf');
  assert.equal(sig3(null), '–');
});

test('values carry their unit', () => {
  assert.equal(bytes(0), '0 B');
  assert.equal(bytes(1536), '1.5 KiB');
  assert.equal(bytes(1023.9 * 1024), '1 MiB');
  assert.equal(count(1234567), '1.23 M');
  assert.equal(count(99000), '99,000');
  assert.equal(seconds(0.0000312), '31.2 µs');
  assert.equal(seconds(0.0312), '31.2 ms');
  assert.equal(seconds(3.12), '3.12 s');
  assert.equal(age(59.9), '59 s');
  assert.equal(age(125), '2 min 5 s');
  assert.equal(age(720), '12 min');
  assert.equal(age(3 * 86400 + 4 * 3600), '3 d 4 h');
  assert.equal(uptime(0.99999), '99.99');
  assert.equal(uptime(1), '100');
});

test('the unit is guessed only where the name tells it', () => {
  const f = (q: string, want: string) => assert.equal(guessUnit(q), want, q);
  f('histogram_quantile(0.99, sum by (le) (rate(http_request_duration_seconds_bucket[5m])))', 's');
  f('rate(http_request_duration_seconds_count[5m])', 'none');
  f('process_resident_memory_bytes', 'bytes');
  f('rate(node_network_receive_bytes_total[5m])', 'perbyte');
  f('probe_duration_seconds', 's');
  f('rate(process_cpu_seconds_total[5m])', 'none');
  f('a / b', 'none');
  f('rate(x_seconds_sum[5m]) / rate(x_seconds_count[5m])', 's');
});

test('series are named as Prometheus writes them', () => {
  assert.equal(seriesName({ __name__: 'up', job: 'a', instance: 'b' }), 'up{instance="b", job="a"}');
  assert.equal(seriesName({}), '{}');
});

test('an address survives the way there and back', () => {
  const r = parseHash('#/checks/a%2Fb?q=sum(x)&q=y&range=6h');
  assert.deepEqual(r.path, ['checks', 'a/b']);
  assert.deepEqual(r.params.getAll('q'), ['sum(x)', 'y']);
  assert.deepEqual(parseHash(buildHash(r.path, r.params)), r);
  assert.deepEqual(parseHash('#/x%ZZ').path, ['x%ZZ']);
});

test('ranges and steps', () => {
  assert.equal(parseDuration('1h30m'), 5400);
  assert.ok(Number.isNaN(parseDuration('often')));
  assert.deepEqual(parseRange(new URLSearchParams('range=6h'), 100000), { from: 78400, to: 100000, relative: '6h' });
  assert.deepEqual(parseRange(new URLSearchParams('from=10&to=20'), 100), { from: 10, to: 20, relative: '' });
  assert.deepEqual(parseRange(new URLSearchParams('from=20&to=10&range=x'), 100000), { from: 96400, to: 100000, relative: '1h' });
  assert.equal(autoStep({ from: 0, to: 3600, relative: '' }), 15);
});

test('the palette prefers starts of words', () => {
  assert.ok(match('ord', 'orders') > match('ord', 'OrdersErrors_x_ord'.slice(1)));
  assert.ok(match('req tot', 'http_requests_total') > -1);
  assert.ok(match('xyz', 'orders') <= -1);
  assert.ok(match('err', 'orders:errors') > match('err', 'ferry'));
});

test('range answers join on one axis and keep their gaps', () => {
  const a = joinRange(
    [
      { query: 0, data: { resultType: 'matrix', result: [{ metric: { a: '1' }, values: [[10, '1'], [30, '3']] }] } },
      { query: 1, data: { resultType: 'matrix', result: [{ metric: {}, histograms: [[20, { count: '4', sum: '2' }]] }] } },
    ],
    10,
    30,
    10,
  );
  assert.deepEqual(a.times, [10, 20, 30]);
  assert.deepEqual(a.rows[0]!.values, [1, null, 3]);
  assert.equal(a.rows[0]!.avg, 2);
  assert.deepEqual(a.rows[1]!.histogram, { count: 4, sum: 2, buckets: 0 });
  assert.equal(a.rows[1]!.values.length, 0);
});

test('instant answers of every type', () => {
  assert.equal(joinInstant([{ query: 0, data: { resultType: 'scalar', result: [1, '42'] } }]).rows[0]!.last, 42);
  assert.equal(joinInstant([{ query: 0, data: { resultType: 'string', result: [1, 'x'] } }]).text, 'x');
  assert.equal(joinInstant([{ query: 0, data: { resultType: 'vector', result: [{ metric: {}, value: [1, 'NaN'] }] } }]).rows[0]!.last, null);
});

test('rows keep their order and their keys apart', () => {
  assert.deepEqual(keepOrder(['c', 'a', 'd', 'b'], ['a', 'b', 'c']), ['a', 'd', 'b', 'c']);
  assert.deepEqual(keepOrder(['a', 'b'], []), ['a', 'b']);
  assert.deepEqual(keepOrder(['b'], ['a', 'b']), ['b']);
  assert.deepEqual(distinct(['a', 'b', 'a']), ['a', 'b', 'a #2']);
});

test('matchers read what they wrote', () => {
  for (const m of [
    { name: 'a', value: 'x "y" \\ z', isRegex: false, isEqual: true },
    { name: 'job', value: 'a|b', isRegex: true, isEqual: false },
  ]) assert.deepEqual(parseMatcher(matcherText(m)), m);
  assert.deepEqual(parseMatcher('a = b'), { name: 'a', value: 'b', isRegex: false, isEqual: true });
  assert.equal(parseMatcher('nothing'), null);
});

test('alerts of rules and of the Alertmanager API are one list', () => {
  const rule = { type: 'alerting', name: 'Down', query: 'up == 0', health: 'ok', alerts: [{ labels: { alertname: 'Down', severity: 'page', job: 'a' }, annotations: {}, state: 'firing', activeAt: '2026-01-01T00:00:00Z', value: '0' }] };
  const am = (labels: Record<string, string>, silencedBy: string[]) => ({ labels, annotations: {}, startsAt: '2026-01-01T00:00:10Z', endsAt: '', fingerprint: 'f', receivers: [{ name: 'hook' }], status: { state: 'active', silencedBy, inhibitedBy: [] } });
  const list = joinAlerts([{ name: 'g', file: 'f', interval: 5, rules: [rule] }], [am({ alertname: 'Down', severity: 'page', job: 'a', region: 'eu' }, []), am({ alertname: 'Other' }, ['s'])]);
  assert.equal(list.length, 2);
  assert.deepEqual([list[0]!.state, list[0]!.receivers.join(), list[0]!.value], ['firing', 'hook', '0']);
  assert.equal(list[1]!.state, 'silenced');
  assert.deepEqual(alertSentence(list), { text: '1 alert fires: Down; 1 silenced or inhibited.', state: 'page' });
  assert.equal(alertSentence([]).text, 'Nothing fires.');
});

const check = (id: string, state: Check['state'], more: Partial<Check> = {}): Check => ({ id, name: id, kind: 'http', target: `https://${id}.example/`, interval_seconds: 30, labels: {}, source: 'config', state, since: null, uptime_24h: 1, runs_24h: 10, location: 'hub', consecutive: 1, last: null, recent: [], places: [], severity: 'page', ...more });

test('the matrix has breaches first, the worst on top', () => {
  const all = [
    check('up', 'up'),
    check('paused', 'paused'),
    check('slow', 'up', { slow: [{ location: 'hub', phase: 'tls', now_seconds: 1, usual_seconds: 0.1, since: '' }] }),
    check('work', 'maintenance'),
    check('child', 'unreachable'),
    check('dark', 'unknown'),
    check('part', 'degraded'),
    check('flap', 'flapping'),
    check('ticket', 'down', { severity: 'warning' }),
    check('down 10', 'down'),
    check('down 9', 'down'),
  ];
  const want = ['down 9', 'down 10', 'ticket', 'flap', 'part', 'dark', 'child', 'work', 'slow', 'up', 'paused'];
  assert.deepEqual([...all].sort(compareChecks).map((c) => c.id), want);
  assert.deepEqual([...all].reverse().sort(compareChecks).map((c) => c.id), want);
});

test('groups with breaches come first, those without the label last', () => {
  const all = [check('a', 'up', { labels: { team: 'a' } }), check('z', 'down', { labels: { team: 'z' } }), check('y', 'up', { labels: { team: 'z' } }), check('none', 'up')];
  const g = groupChecks(all, 'team');
  assert.deepEqual(g.map((x) => [x.name, x.checks.map((c) => c.id), x.breaches]), [['z', ['z', 'y'], 1], ['a', ['a'], 0], ['', ['none'], 0]]);
  assert.equal(groupChecks(all, '').length, 1);
});

test('the filter takes text, state, kind and label together', () => {
  const c = check('checkout', 'down', { labels: { team: 'shop' }, stage: 'tls' });
  const w = { find: '', state: '', kind: '', label: '' };
  const f = (more: Partial<typeof w>, want: boolean) => assert.equal(wanted(c, { ...w, ...more }), want, JSON.stringify(more));
  f({}, true);
  f({ find: 'CHECK team=shop' }, true);
  f({ find: 'check other' }, false);
  f({ state: 'breach' }, true);
  f({ state: 'up' }, false);
  f({ state: 'slow' }, false);
  f({ kind: 'dns' }, false);
  f({ label: 'team=shop' }, true);
  f({ label: 'team=billing' }, false);
  f({ label: 'team' }, true);
  f({ label: 'tier' }, false);
});

test('columns are the places that run something, in the order of the server', () => {
  const p = (location: string) => ({ location, state: 'up' as const, since: null, consecutive: 1, uptime_24h: 1, runs_24h: 1, last: null, recent: [] });
  const l = (name: string) => ({ name }) as Location;
  assert.deepEqual(columnsOf([check('a', 'up', { places: [p('new'), p('hub')] }), check('b', 'up', { places: [p('eu')] })], [l('hub'), l('us'), l('eu')]), ['hub', 'eu', 'new']);
  assert.deepEqual(columnsOf([check('a', 'up', { places: undefined })], []), ['hub']);
});

test('the sentence of the matrix says what is down and who is silent', () => {
  const l = (name: string, state: Location['state']) => ({ name, state }) as Location;
  const f = (all: Check[], locs: Location[], want: string, state: string) => assert.deepEqual(matrixSentence(all, locs), { text: want, state });
  f([check('a', 'up'), check('b', 'up')], [], 'All 2 checks are up.', 'ok');
  f([check('a', 'up')], [], 'The one check is up.', 'ok');
  f([check('a', 'down'), check('b', 'up'), check('c', 'unknown')], [l('eu', 'silent')], '1 of 3 checks is down: a; 1 is not known; eu is silent.', 'page');
  f([check('a', 'down', { severity: 'warning' })], [], '1 of 1 check is down: a.', 'warning');
  f([check('a', 'degraded'), check('b', 'up')], [], 'a fails in part or by turns.', 'warning');
  f([check('a', 'degraded'), check('b', 'unknown')], [], 'Of 2 checks 1 fails in part or by turns, 1 is not known.', 'warning');
  f([check('a', 'up'), check('b', 'paused')], [], '1 check up; 1 check is paused, in maintenance or explained by another.', 'ok');
});

test('quorum in words, and a calm sign for what is nobody’s business', () => {
  const p = (location: string, state: 'up' | 'down') => ({ location, state, since: null, consecutive: 1, uptime_24h: 1, runs_24h: 1, last: null, recent: [] });
  assert.equal(quorumWords(check('a', 'down', { places: [p('hub', 'down'), p('eu', 'down'), p('us', 'up')], failing: ['hub', 'eu'], need: 2, silent: ['us'] })), '2 of 3 places see it down; 2 must agree; us is silent');
  assert.equal(quorumWords(check('a', 'up', { places: [p('hub', 'up')], need: 1 })), 'one place: hub');
  assert.equal(signOfPlace(check('a', 'maintenance'), 'down'), 'silenced');
  assert.equal(signOfPlace(check('a', 'degraded'), 'down'), 'page');
});

test('start times become exact nanoseconds', () => {
  assert.equal(unixNanos('2026-11-23T04:27:29.123456789Z'), '1795408049123456789');
  assert.equal(unixNanos('2026-11-23T05:27:29.5+01:00'), '1795408049500000000');
  assert.equal(unixNanos('1970-01-01T00:00:01Z'), '1000000000');
  assert.equal(unixNanos('often'), '');
});

test('the strip of states is made of changes, newest first', () => {
  const ch = (at: number, from: Change['from'], to: Change['to']): Change => ({ check: 'a', at: new Date(at).toISOString(), from, to, text: '' });
  assert.deepEqual(segments([ch(80, 'up', 'down'), ch(40, 'down', 'up'), ch(30, 'up', 'down')], 'down', 35, 100), [
    { state: 'down', from: 35, to: 40 },
    { state: 'up', from: 40, to: 80 },
    { state: 'down', from: 80, to: 100 },
  ]);
  assert.deepEqual(segments([], 'up', 0, 10), [{ state: 'up', from: 0, to: 10 }]);
  assert.deepEqual(segments([ch(50, 'up', 'down')], 'down', 60, 70), [{ state: 'down', from: 60, to: 70 }]);
  assert.deepEqual(segments([ch(90, 'up', 'down')], 'down', 60, 70), [{ state: 'up', from: 60, to: 70 }]);
});

test('before and after in one sentence', () => {
  const of = (m: Record<string, [number, number] | number>): Phases => Object.fromEntries(Object.entries(m).map(([k, v]) => [k, Array.isArray(v) ? { median: v[0], p95: v[1] } : { median: v, p95: v }]));
  const f = (a: Phases, b: Phases, want: string) => assert.equal(compareSentence(a, b), want);
  f(of({ connect: 0.01, processing: 0.24 }), of({ connect: 0.0101, processing: 0.09 }), 'Connect is unchanged; processing fell from 240 ms to 90 ms (-62 %).');
  f(of({ connect: 0.01, tls: 0.03 }), of({ connect: 0.01, tls: 0.03 }), 'All phases are unchanged.');
  f(of({ resolve: 0.001, connect: 0.01, tls: 0.03, processing: 0.1 }), of({ resolve: 0.001, connect: 0.01, tls: 0.13, processing: 0.13 }), 'Resolve and connect are unchanged; tls rose from 30 ms to 130 ms (4.33 times); processing rose from 100 ms to 130 ms (+30 %).');
  f(of({ processing: [0.1, 0.2] }), of({ processing: [0.1, 0.9] }), 'Processing is unchanged in the middle, but its slowest 5 % rose from 200 ms to 900 ms (4.5 times).');
  f(of({ connect: 0.01, processing: 0.1 }), of({ connect: 0.01 }), 'Connect is unchanged; processing was not reached after it.');
  f(of({ connect: 0.01 }), {}, 'Nothing was measured after that time.');
  f({}, of({ connect: 0.01 }), 'Nothing was measured before that time.');
  f({}, {}, 'Nothing was measured on either side of that time.');
  // Half a millisecond is no change, however large its share.
  assert.equal(changed(0.0002, 0.0007), false);
  assert.equal(changed(0, 0.002), true);
  assert.equal(changeWords(0.2, 0.21), '+5 %');
  const s = (phase: string, v: string) => ({ metric: { phase }, value: [1, v] as [number, string] });
  assert.deepEqual(spreads([s('tls', '0.2'), s('odd', '1'), s('connect', 'NaN')], [s('tls', '0.4')]), { tls: { median: 0.2, p95: 0.4 } });
});

test('YAML reads what it wrote', () => {
  const f = (v: Yaml) => assert.deepEqual(readYaml(writeYaml(v)), v, writeYaml(v));
  f({ name: 'front page', url: 'https://shop.example/?a=b#c', interval: '30s', n: 3, ok: true, no: false, nil: null });
  f({ text: 'a: b', hash: 'a #b', yes: 'true', num: '12', empty: '', dash: '- x', quote: 'say "no"', colon: 'x:', star: '*a', brace: '{{base}}/', space: ' x ', comma: 'a, b' });
  f({ status: ['200', 404], headers: { 'X-A': 'b, c', 'Content-Type': '.*' }, none: [], empty: {} });
  f({ body: 'line 1\n  line 2\n\nline 4\n', open: 'a\nb', trail: 'x\n\n' });
  f({ flow: { steps: [{ name: 'a', request: { url: 'https://x/', headers: { A: 'b' } }, extract: [{ name: 't', json: '$.token' }] }, { name: 'b', wait: '2s' }, { name: 'c', nested: { deep: { deeper: [1, [2, 3], { x: [] }] } } }] } });
  f({ 'key: odd': 1, '12': 'a', 'true': 'b' });
});

test('YAML as people write it', () => {
  const f = (text: string, want: Yaml) => assert.deepEqual(readYaml(text), want, text);
  f('# a check\nname: shop front   # its name\nurl: https://shop.example.org/#top\nlabels: {team: shop, tier: "front"}\n', { name: 'shop front', url: 'https://shop.example.org/#top', labels: { team: 'shop', tier: 'front' } });
  f('checks:\n- name: a\n  url: x\n- name: b\n', { checks: [{ name: 'a', url: 'x' }, { name: 'b' }] });
  f('a:\n  - - 1\n    - 2\n  -\n    b: c\n', { a: [[1, 2], { b: 'c' }] });
  f('a: |\n  x: y\n   # kept\n\n  z\nb: >-\n  one\n  two\n', { a: 'x: y\n # kept\n\nz\n', b: 'one two' });
  f('a: [1,\n  2, {b: c}]\n', { a: [1, 2, { b: 'c' }] });
  f("a: 'it''s'\nb: \"t\\tx\"\n", { a: "it's", b: 't\tx' });
  f('---\na: 0x10\nb: 1e3\nc: 007\nd: 1.2.3\ne: ~\nf:\n', { a: 16, b: 1000, c: 7, d: '1.2.3', e: null, f: null });
  f('cron: 0 3 * * 0\nwindow: 09:30-17:00\n', { cron: '0 3 * * 0', window: '09:30-17:00' });
  f('', null);
  const bad = (text: string, line: number) => assert.throws(() => readYaml(text), (e: unknown) => e instanceof YamlError && e.line === line, text);
  bad('a: 1\na: 2\n', 2);
  bad('a: 1\n  b: 2\n', 2);
  bad('a: 1\n\tb: 2\n', 2);
  bad('a: [1, 2\nb: 3\n', 1);
  bad('a: &x 1\n', 1);
  bad('a: 1\n---\nb: 2\n', 2);
  bad('just words\nand: more\n', 2);
});

test('the form and the object say the same', () => {
  const all = kindDefs.flatMap((k) => [...k.fields, ...k.expect]);
  const def = (key: string) => all.find((d) => d.key === key)!;
  const f = (d: FieldDef, text: string, want: unknown) => {
    const v = fromField(d, text);
    assert.deepEqual(v, want, d.key);
    if (want !== undefined) assert.equal(toField(d, v), text.trim());
  };
  f(def('expect.status'), '200, 3xx', ['200', '3xx']);
  f(def('expect.max_seconds'), '1.5', 1.5);
  f(def('expect.max_seconds'), 'soon', 'soon');
  f(def('headers'), 'A=b\nC=d=e', { A: 'b', C: 'd=e' });
  f(def('method'), 'POST', 'POST');
  assert.equal(fromField(def('method'), 'GET'), undefined);
  assert.equal(fromField(def('follow_redirects'), 'true'), undefined);
  assert.equal(fromField(def('follow_redirects'), 'false'), false);
  assert.equal(fromField(def('http2'), 'false'), undefined);

  let o = setPath({}, 'expect.status', ['200']);
  o = setPath(o, 'name', 'a');
  assert.deepEqual(o, { expect: { status: ['200'] }, name: 'a' });
  assert.deepEqual(setPath(o, 'expect.status', undefined), { name: 'a' });
  assert.deepEqual(getPath(o, 'expect.status'), ['200']);
  assert.equal(getPath(o, 'name.x'), undefined);
  assert.deepEqual(hiddenKeys({ name: 'a', url: 'x', resolver: '1.1.1.1:53', expect: { status: 200, json: [1] }, tls: { cert_file: 'c' } }, 'http'), ['resolver', 'expect.json', 'tls.cert_file']);
  assert.equal(kindOf({ url: 'grpcs://x' }), 'grpc');
  assert.equal(kindOf({ url: 'https://x' }), 'http');
  assert.equal(kindOf({ flow: {} }), 'flow');
  assert.equal(kindOf({ kind: 'evm', url: 'http://x' }), 'evm');
  // The templates of kinds written as YAML are YAML that is read here.
  for (const k of kindDefs) if (k.template) assert.equal((readYaml(k.template) as { kind: string }).kind, k.kind);
});

test('an error stands at the field that it names', () => {
  const shown = shownKeys('http');
  const f = (message: string, key: string, field: string) => {
    const k = errorKey(message);
    assert.equal(k.key, key, message);
    assert.equal(fieldFor(k.key, shown), field, message);
  };
  f('alert.quorum: "x": want such as 2 of 3, 2 or 50%', 'alert.quorum', 'alert.quorum');
  f('url: is missing; want such as https://shop.example.org/health', 'url', 'url');
  f('checks[0].expect.status: "9": want a code', 'expect.status', 'expect.status');
  f('check "a": timeout: "x": want a duration', 'timeout', 'timeout');
  f('expect.json[1].path: "x": want a path', 'expect.json[1].path', '');
  f('basic_auth: want a user', 'basic_auth', 'basic_auth.username');
  f('headers.X-A: is set twice', 'headers.X-A', 'headers');
  f('the disk is full', '', '');
});

test('maintenance in words', () => {
  const c = (cron: string, want: string) => assert.equal(cronWords(cron), want);
  c('0 3 * * 0', 'every Sunday at 03:00');
  c('30 22 * * 1-5', 'every working day at 22:30');
  c('0 4 * * *', 'every day at 04:00');
  c('15 * * * *', 'every hour at minute 15');
  c('0 2 1 * *', 'every month on day 1 at 02:00');
  c('0 2 * * 2,4', 'every Tuesday and Thursday at 02:00');
  c('*/5 * * * *', '*/5 * * * *');
  c('0 3 * * 9', '0 3 * * 9');
  const w = (id: string, more: Partial<Window>): Window => ({ id, name: id, source: 'api', checks: [], labels: {}, locations: [], start: null, end: null, cron: '', duration_seconds: 0, zone: '', exclude_from_slo: false, active: false, next_start: null, next_end: null, ...more });
  const list = [w('old', { end: '2026-01-01T00:00:00Z' }), w('later', { next_start: '2027-02-01T00:00:00Z' }), w('newer', { end: '2026-02-01T00:00:00Z' }), w('now', { active: true }), w('soon', { next_start: '2027-01-01T00:00:00Z' })];
  assert.deepEqual(list.sort(compareWindows).map((x) => x.id), ['now', 'soon', 'later', 'newer', 'old']);
  assert.equal(stateOf(w('x', {})), 'over');
  assert.equal(whatWords(w('x', {})), 'all checks');
  assert.equal(whatWords(w('x', { checks: ['a'], labels: { team: 'b' }, locations: ['eu'] })), 'a, all with team=b from eu');
});

test('the report in a sentence', () => {
  const row = (name: string, up: number | null, down = 0, incidents = 0): ReportRow => ({ id: name, name, labels: {}, uptime: up, runs: 1, failed: 0, down_seconds: down, unknown_seconds: 0, maintenance_seconds: 0, incidents, mtta_seconds: null, mttr_seconds: null, p50_seconds: null, p95_seconds: null, days: [] });
  assert.equal(reportSentence('2026-11', true, [row('a', 1), row('b', 0.98, 7200, 3), row('c', null)]), 'November 2026 so far: 99 % over 2 checks; the worst is b with 98 %, down for 2 h in 3 incidents.');
  assert.equal(reportSentence('2026-10', false, [row('a', 1)]), 'October 2026: a was up 100 %; none was ever down.');
  assert.equal(reportSentence('2026-10', false, []), 'October 2026: nothing is known of any check.');
  assert.equal(stepMonth('2026-01', -1), '2025-12');
  assert.equal(stepMonth('2026-12', 1), '2027-01');
});

test('the way down to a label is a selector', () => {
  assert.equal(selector({ __name__: 'a"b', 'http.route': '/x' }), '{__name__="a\\"b","http.route"="/x"}');
  assert.equal(narrowed(' {job="shop"} ', ''), '{job="shop"}');
  assert.equal(narrowed('up', ''), 'up');
  assert.equal(narrowed('{job="shop",}', 'up'), '{__name__="up",job="shop"}');
  assert.equal(narrowed('{}', 'up'), '{__name__="up"}');
  assert.equal(narrowed('other{zone="a"}', 'up'), '{__name__="up",zone="a"}');
  assert.equal(cardinalityPath('', '', ''), '/api/v1/cardinality?topN=25');
  assert.equal(cardinalityPath('', 'up', 'job'), '/api/v1/cardinality?topN=100&match%5B%5D=%7B__name__%3D%22up%22%7D&focus=job');
});

test('growth says by how much and stays silent without history', () => {
  const f = (now: number, before: number | null, want: string) => assert.equal(growth(now, before).text, want);
  f(1200, 1000, '+200 (+20 %)');
  f(1000, 1200, '−200 (−16.7 %)');
  f(10, 0, '+10');
  f(10, 10, '0');
  f(10, null, '–');
});

test('the screen of cardinality begins with what is wrong', () => {
  const d = {
    series: 50, max_series: 100, metrics: [{ name: 'up', series: 40 }], refusals: [], disk: { free: 1, total: 2, full_in_days: null, held_by: 'retention.metrics' },
  } as unknown as Cardinality;
  const f = (of: Partial<Cardinality>, state: string, text: string) => assert.deepEqual(cardinalitySentence({ ...d, ...of }), { state, text });
  f({}, 'ok', '50 series in memory, 50 % of the limit; up has most, 40.');
  f({ metrics: [], series: 0, max_series: -1 }, 'ok', '0 series in memory; no metric has come yet.');
  f({ series: 81 }, 'warning', '81 of at most 100 series are in memory, 81 %.');
  f({ series: 100 }, 'page', 'New series are refused: 100 are in memory, the limit is 100.');
  f({ disk: { ...d.disk, full_in_days: 5.2 } }, 'warning', 'The disk is full in 5.2 days.');
  f({ disk: { ...d.disk, full_in_days: 0.5 } }, 'page', 'The disk is full in 12 hours.');
  f({ refusals: [{ limit: 'max_labels', metric: 'a', count: 1, last: '', text: '' }] }, 'warning', '1 sample over a limit was refused since the start.');
  assert.equal(diskWords(d.disk), 'no: retention.metrics holds');
  assert.equal(diskWords({ ...d.disk, full_in_days: 5.2 }), 'in 5.2 days, by what else is on it');
  assert.equal(diskWords({ ...d.disk, full_in_days: 5.2, held_by: '' }), 'in 5.2 days');
  assert.equal(hintTitle({ text: 'label a has 48211 values that look like UUIDs', values: 48211 } as Cardinality['hints'][number]), 'Label a has 48,211 values that look like UUIDs');
  assert.equal(pasted("- action: labeldrop\n  regex: 'id'\n").split('\n')[2], "    regex: 'id'");
});

const entityOf = (more: Partial<Entity>): Entity => ({ kind: 'service', name: 'a', labels: { job: 'a' }, sources: ['x'], state: 'ok', text: '', rate: null, error_ratio: null, p99: null, saturation: null, saturation_of: '', depth: null, up: null, ...more });

test('signals in words', () => {
  assert.equal(listSentence([]).text, 'Nothing reports its signals yet.');
  assert.equal(listSentence([entityOf({})]).text, '1 service reports; none breaches.');
  assert.equal(listSentence([entityOf({}), entityOf({ name: 'b' }), entityOf({ kind: 'host' })]).text, '2 services and 1 host report; none breaches.');
  const worse = listSentence([entityOf({}), entityOf({ name: 'w', state: 'warning', text: 'slow' }), entityOf({ name: 'p', state: 'page', text: '9 % of its requests fail' })]);
  assert.deepEqual(worse, { state: 'page', text: '2 of 3 breach: p, 9 % of its requests fail.' });
  assert.equal(entitySentence(entityOf({ rate: 12.34, error_ratio: 0, p99: 0.212, saturation: 0.01, saturation_of: 'open files' })), 'a: 12.3 requests a second, none fails, 99 % within 212 ms.');
  assert.equal(entitySentence(entityOf({ state: 'page', text: '6 % of its requests fail', rate: 12, error_ratio: 0.06 })), 'a: 6 % of its requests fail, 12 requests a second.');
  assert.equal(entitySentence(entityOf({ kind: 'queue', rate: 3, depth: 1 })), 'a: 3 messages a second, 1 waits.');
  assert.equal(entitySentence(entityOf({ kind: 'host', saturation: 0.4, saturation_of: 'CPU' })), 'a: CPU 40 % of the limit.');
  assert.equal(entitySentence(entityOf({})), 'a: it reports.');
});

test('the identity of what reports stands in the address', () => {
  const labels = { topic: 'a=b', consumergroup: 'x & y' };
  assert.deepEqual(idOf(labels), ['consumergroup=x & y', 'topic=a=b']);
  assert.deepEqual(labelsOf(idOf(labels)), labels);
  assert.deepEqual(labelsOf(['=x', 'none']), {});
});

test('values and legends of panels', () => {
  assert.equal(valueIn('ms')(1500), '1.5 s');
  assert.equal(valueIn('s')(0.0015), '1.5 ms');
  assert.equal(valueIn('ratio')(0.05), '5 %');
  assert.equal(valueIn('/s')(12.34), '12.3/s');
  assert.equal(valueIn('days')(3), '3 days');
  assert.equal(valueIn('')(null), '–');
  assert.equal(legendOf('p99', {}), 'p99');
  assert.equal(legendOf('{{device}} read', { device: 'sda' }), 'sda read');
  assert.equal(legendOf('{{http.route}}', { 'http.route': '/x' }), '/x');
  assert.equal(legendOf('{{pool}}', {}), 'none');
});

test('classic buckets become rows of their own counts', () => {
  const s = (le: string, ...v: (number | null)[]) => ({ metric: { le }, values: v.flatMap((x, i) => (x === null ? [] : [[100 + 10 * i, String(x)] as [number, string]])) });
  // Out of order, with a gap, and a bucket that rounding put below its neighbour.
  const h = classicHeat([s('+Inf', 5, null, 3), s('0.1', 1, null, 3), s('1', 4, null, 2.999)], [100, 110, 120], 10);
  assert.deepEqual(h.rows, [{ lo: 0, hi: 0.1 }, { lo: 0.1, hi: 1 }, { lo: 1, hi: Infinity }]);
  assert.deepEqual(h.rates, [[1, null, 3], [3, null, 0], [1, null, 0]]);
  assert.deepEqual(classicHeat([], [100], 10).rows, []);
  assert.deepEqual(heatSpan(h.rows), [0.05, 2]);
  assert.equal(cellWords(h, { row: 1, col: 0 }, String), '30 in 10 s, 0.1 to 1');
  assert.equal(cellWords(h, { row: 2, col: 1 }, String), 'nothing reported, above 1');
  assert.equal(cellWords(h, { row: 0, col: 0 }, String), '10 in 10 s, up to 0.1');
});

test('empty rows around the heat go, a few stay', () => {
  const rows = Array.from({ length: 12 }, (_, i) => ({ lo: i, hi: i + 1 }));
  const t = trimHeat({ times: [0], step: 1, rows, rates: rows.map((_, i) => [i === 5 ? 1 : 0]) }, 4);
  assert.equal(t.rows.length, 4);
  assert.ok(t.rows.some((r) => r.lo === 5));
  assert.equal(trimHeat({ times: [0], step: 1, rows, rates: rows.map(() => [0]) }).rows.length, 0);
});

test('native buckets are joined on one grid and lose nothing', () => {
  assert.deepEqual(gridBucket(1, 0), [0.5, 1]);
  assert.deepEqual(gridBucket(1.0001, 0), [1, 2]);
  assert.deepEqual(gridBucket(3, -1), [1, 4]);
  const b = (lo: number, hi: number, n: number): [number, string, string, string] => [0, String(lo), String(hi), String(n)];
  // Two resolutions, a bucket of zero, and an empty one between that was not sent.
  const h = nativeHeat([[0, { count: '6', sum: '1', buckets: [b(-1e-9, 1e-9, 1), b(0.5, 1, 2), b(2, 4, 3)] }], [20, { count: '4', sum: '1', buckets: [b(0.5, 2 ** -0.5, 4)] }]], [0, 10, 20], 10);
  assert.equal(h.rates.reduce((n, r) => n + (r[0] ?? 0), 0), 6);
  assert.equal(h.rates.reduce((n, r) => n + (r[2] ?? 0), 0), 4);
  assert.ok(h.rates.every((r) => r[1] === null), 'a time without an answer is a gap');
  assert.equal(h.rows[0]!.lo, 0);
  for (let i = 1; i < h.rows.length; i++) assert.ok(Math.abs(h.rows[i]!.lo - h.rows[i - 1]!.hi) < 1e-9, `row ${i} begins where the last ends`);
  const fine = Array.from({ length: 200 }, (_, i) => b(2 ** ((i - 1) / 8), 2 ** (i / 8), 1));
  const many = nativeHeat([[0, { count: '200', sum: '1', buckets: fine }]], [0], 10);
  assert.ok(many.rows.length <= 34, `${many.rows.length} rows`);
  assert.equal(many.rates.reduce((n, r) => n + r[0]!, 0), 200);
});

test('the scale of counts', () => {
  assert.deepEqual(countClasses(0), []);
  assert.deepEqual(countClasses(60), [1, 2, 5, 10, 20, 50]);
  assert.ok(countClasses(1e6).length <= 8);
  assert.ok(countClasses(0.2).length > 1 && countClasses(0.2).every((c) => c <= 0.2));
  const c = [1, 2, 5];
  assert.deepEqual([0.1, 1, 1.9, 2, 5, 99].map((n) => classOf(n, c)), [0, 0, 0, 1, 2, 2]);
});

test('colours of the scale are evenly apart in lightness, in both themes', () => {
  assert.equal(oklch(1, 0, 0), '#ffffff');
  assert.equal(oklch(0, 0, 0), '#000000');
  assert.equal(oklch(0.6279, 0.2577, 29.23), '#ff0000');
  // OKLab's lightness of #rrggbb, after Ottosson.
  const lightness = (hex: string) => {
    const [r, g, b] = [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16) / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)) as [number, number, number];
    const l = Math.cbrt(0.4122214708 * r + 0.5363325363 * g + 0.0514459929 * b);
    const m = Math.cbrt(0.2119034982 * r + 0.6806995451 * g + 0.1073969566 * b);
    const s = Math.cbrt(0.0883024619 * r + 0.2817188376 * g + 0.6299787005 * b);
    return 0.2104542553 * l + 0.793617785 * m - 0.0040720468 * s;
  };
  for (const dark of [false, true]) {
    const l = ramp(8, dark).map(lightness);
    const steps = l.slice(1).map((x, i) => x - l[i]!);
    const mean = steps.reduce((a, b) => a + b, 0) / steps.length;
    assert.equal(mean > 0, dark);
    for (const s of steps) assert.ok(Math.abs(s / mean - 1) < 0.15, `steps ${steps.map((x) => x.toFixed(3)).join(' ')}`);
  }
});
