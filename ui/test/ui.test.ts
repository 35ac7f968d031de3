import test from 'node:test';
import assert from 'node:assert/strict';
import { age, bytes, count, guessUnit, seconds, seriesName, sig3, uptime } from '../src/base/format.ts';
import { match } from '../src/base/match.ts';
import { buildHash, parseHash } from '../src/base/router.ts';
import { autoStep, parseDuration, parseRange } from '../src/base/time.ts';
import { joinInstant, joinRange } from '../src/screens/results.ts';
import { alertSentence, joinAlerts, matcherText, parseMatcher } from '../src/screens/alertdata.ts';
import { distinct, keepOrder } from '../src/ui/table.tsx';

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
