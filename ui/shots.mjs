// Screenshots of every screen at 1440 and 390 px, light and dark:
//
//   node shots.mjs http://127.0.0.1:7575 out [only]
//
// Against the mock server the other scenarios are taken too. With a third
// argument only the pictures whose name contains it.
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { isMock, openBrowser } from './browser.mjs';

const [base = 'http://127.0.0.1:7676', out = 'shots', only = ''] = process.argv.slice(2);
mkdirSync(out, { recursive: true });
const mock = await isMock(base);
const get = (p) => fetch(base + p).then((r) => r.json());
const first = (await get('/api/v1/checks?recent=0').catch(() => ({ checks: [] }))).checks?.[0]?.id ?? 'self';

const rate = encodeURIComponent(mock ? 'sum by (job) (rate(http_requests_total[5m]))' : 'sum by (__name__) ({__name__=~"process_cpu_seconds_total|go_goroutines"})');
const views = [
  ['now', '#/now'],
  ['signals', '#/signals'],
  ['checks', '#/checks'],
  ['check', `#/checks/${first}`],
  ['maintenance', '#/checks?tab=maintenance'],
  ['report', '#/checks?tab=report'],
  ['places', '#/checks?tab=places'],
  ['check-new', '#/checks?tab=new'],
  ['alerts', '#/alerts'],
  ['silences', '#/alerts?tab=silences'],
  ['outbox', '#/alerts?tab=outbox'],
  ['rules', '#/alerts?tab=rules'],
  ['explore', `#/explore?q=${rate}`],
  ['explore-start', '#/explore'],
  ['itself', '#/itself'],
  ['cardinality', '#/cardinality'],
];
const open = async (p) => {
  await p.keyboard.press('j');
  await p.keyboard.press('Enter');
  await p.waitForTimeout(500);
};
const show = async (p, sel) => {
  await p.evaluate((s) => document.querySelector(s)?.scrollIntoView({ block: 'start' }), sel);
  await p.waitForTimeout(300);
};
const openRun = async (p) => {
  await p.waitForSelector('caption:has-text("Runs of") ~ tbody [data-row]');
  await p.locator('caption:has-text("Runs of") ~ tbody [data-row] [data-open]').first().evaluate((a) => a.click());
  await p.waitForSelector('.panel');
  await p.waitForTimeout(500);
};
const more = mock
  ? [
      ['cardinality-empty', '#/cardinality', 'empty'],
      ['cardinality-metric', '#/cardinality?metric=http_requests_total', 'full'],
      ['cardinality-label', '#/cardinality?metric=http_requests_total&label=request_id', 'full'],
      ['now-empty', '#/now', 'empty'],
      ['now-calm', '#/now', 'calm'],
      ['now-many', '#/now', 'many'],
      ['now-error', '#/now', 'error'],
      ['now-service', '#/now?service=pricing', 'full'],
      ['signals-many', '#/signals', 'many'],
      ['signals-empty', '#/signals', 'empty'],
      ['signals-service', '#/signals/service?id=job%3Dpricing', 'full'],
      ['signals-hover', '#/signals/service?id=job%3Dpricing', 'full', async (p) => { await p.locator('.heatmap canvas').first().hover({ position: { x: innerWidth(p) / 5, y: 110 } }); await p.waitForTimeout(300); }],
      ['signals-table', '#/signals/service?id=job%3Dpricing&view=table', 'full'],
      ['signals-host', '#/signals/host?id=instance%3D10.0.0.11:9100', 'full'],
      ['signals-queue', '#/signals/queue?id=consumergroup%3Dbilling&id=topic%3Dorders', 'full'],
      ['signals-database', '#/signals/database?id=instance%3Ddb-1:9187', 'full'],
      ['signals-gone', '#/signals/service?id=job%3Dgone', 'full'],
      ['checks-many', '#/checks', 'many'],
      ['checks-groups', '#/checks?group=team', 'full'],
      ['checks-empty', '#/checks', 'empty'],
      ['checks-calm', '#/checks', 'calm'],
      ['check-run', '#/checks/checkout', 'full', async (p) => { await p.waitForSelector('[data-row] time'); await open(p); }],
      ['check-top', '#/checks/front', 'full'],
      ['check-compare', `#/checks/front?range=2d&at=${Math.round(Date.now() / 1000 - 26 * 3600)}&span=21600`, 'full', async (p) => { await p.waitForSelector('.saying'); await show(p, '[aria-label="Before and after"]'); }],
      ['check-history', '#/checks/checkout?range=2d', 'full', (p) => show(p, '[aria-label="Changes of state"]')],
      ['check-runs', '#/checks/checkout?range=1h', 'full', (p) => show(p, '[aria-label="Runs"]')],
      ['check-tries', '#/checks/images', 'full', async (p) => { await p.click('button.main'); await p.waitForSelector('.tries .mark', { timeout: 8000 }); await p.waitForTimeout(1800); }],
      ['check-flow', '#/checks/checkout-flow', 'full', (p) => openRun(p)],
      ['check-browser', '#/checks/storefront', 'full', (p) => openRun(p)],
      ['check-chain', '#/checks/eth-2', 'full', (p) => openRun(p)],
      ['check-table', '#/checks/front?view=table', 'full'],
      ['check-edit', '#/checks/front?edit=1', 'full'],
      ['check-yaml', '#/checks/front?edit=1&as=yaml', 'full', (p) => p.waitForTimeout(500)],
      ['check-readonly', '#/checks/checkout-flow?edit=1', 'full'],
      ['check-wrong', '#/checks?tab=new', 'full', async (p) => { await p.fill('[data-field=url]', 'shop.example.org'); await p.fill('[data-field=name]', 'shop'); await p.click('.formend .main'); await p.waitForTimeout(400); }],
      ['check-try', '#/checks?tab=new', 'full', async (p) => { await p.fill('[data-field=url]', 'https://shop.example.org/'); await p.fill('[data-field=name]', 'shop'); await p.fill('[data-field="expect.body_contains"]', 'nowhere'); await p.click('text=Try it'); await p.waitForSelector('.tries'); await show(p, '.tries'); }],
      ['maintenance-new', '#/checks?tab=maintenance&window=new', 'full'],
      ['maintenance-empty', '#/checks?tab=maintenance', 'empty'],
      ['places-empty', '#/checks?tab=places', 'empty'],
      ['report-past', '#/checks?tab=report&month=2026-10', 'full'],
      ['report-empty', '#/checks?tab=report', 'empty'],
      ['silence-check', '#/alerts?tab=silences&silence=check%3D%22checkout%20page%22', 'full'],
      ['alert-open', '#/alerts', 'full', open],
      ['alert-silence', '#/alerts', 'full', async (p) => { await p.click('tbody button.small'); await p.waitForTimeout(300); }],
      ['explore-thousand', '#/explore?q=thousand', 'full'],
      ['explore-two', `#/explore?q=up&q=${rate}`, 'full'],
      ['explore-native', '#/explore?q=native', 'full'],
      ['explore-error', '#/explore?q=sum(', 'full'],
      ['explore-table', `#/explore?view=table&q=${rate}`, 'full'],
      ['explore-hover', `#/explore?q=${rate}`, 'full', async (p) => { await p.mouse.move(innerWidth(p) / 2 + 100, 330); await p.waitForTimeout(300); }],
      ['palette', '#/now', 'full', async (p) => { await p.keyboard.press('/'); await p.waitForTimeout(400); await p.keyboard.type('or'); await p.waitForTimeout(200); }],
      ['keys', '#/now', 'full', async (p) => { await p.keyboard.press('?'); await p.waitForTimeout(200); }],
      ['range', '#/explore?q=up', 'full', async (p) => { await p.keyboard.press('d'); await p.waitForTimeout(200); }],
      ['alerts-empty', '#/alerts', 'empty'],
      ['itself-empty', '#/itself', 'empty'],
      ['itself-calm', '#/itself', 'calm'],
      ['login', '#/now', 'full', undefined, true],
    ]
  : [];
const innerWidth = (p) => p.viewportSize().width;

const browser = await openBrowser();
for (const scheme of ['light', 'dark']) {
  for (const width of [1440, 390]) {
    const ctx = await browser.newContext({ viewport: { width, height: width === 390 ? 844 : 900 }, colorScheme: scheme, deviceScaleFactor: 1, hasTouch: width === 390, isMobile: width === 390, timezoneId: 'Europe/Berlin', locale: 'en-GB' });
    const page = await ctx.newPage();
    page.on('pageerror', (e) => console.error(`page error: ${e.message}`));
    for (const [name, hash, scenario = 'full', act, login] of [...views, ...more]) {
      const file = `${name}-${width}-${scheme}.png`;
      if (only && !file.includes(only)) continue;
      if (mock) await get(`/mock?scenario=${scenario}&login=${login ? 1 : 0}&live=1`);
      await page.goto('about:blank');
      await page.goto(base + '/' + hash);
      await page.waitForSelector('h1', { timeout: 8000 }).catch(() => console.error(`${file}: no heading came`));
      await page.waitForTimeout(600);
      await page.waitForFunction(() => !document.querySelector('[aria-busy=true]'), undefined, { timeout: 6000 }).catch(() => console.error(`${file}: still loading`));
      await page.waitForTimeout(300);
      if (act) await act(page).catch((e) => console.error(`${file}: ${e.message}`));
      const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      if (wide > 0) console.error(`${file}: ${wide} px wider than the window`);
      await page.screenshot({ path: join(out, file) });
    }
    await ctx.close();
  }
}
await browser.close();
if (mock) await get('/mock?scenario=full&login=0&live=1');
