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
const first = (await get('/api/v1/checks').catch(() => ({ checks: [] }))).checks?.[0]?.id ?? 'self';

const rate = encodeURIComponent(mock ? 'sum by (job) (rate(http_requests_total[5m]))' : 'sum by (__name__) ({__name__=~"process_cpu_seconds_total|go_goroutines"})');
const views = [
  ['now', '#/now'],
  ['checks', '#/checks'],
  ['check', `#/checks/${first}`],
  ['alerts', '#/alerts'],
  ['silences', '#/alerts?tab=silences'],
  ['outbox', '#/alerts?tab=outbox'],
  ['rules', '#/alerts?tab=rules'],
  ['explore', `#/explore?q=${rate}`],
  ['explore-start', '#/explore'],
  ['itself', '#/itself'],
];
const open = async (p) => {
  await p.keyboard.press('j');
  await p.keyboard.press('Enter');
  await p.waitForTimeout(500);
};
const more = mock
  ? [
      ['now-empty', '#/now', 'empty'],
      ['now-calm', '#/now', 'calm'],
      ['now-many', '#/now', 'many'],
      ['now-error', '#/now', 'error'],
      ['now-service', '#/now?service=pricing', 'full'],
      ['checks-many', '#/checks', 'many'],
      ['check-run', '#/checks/checkout', 'full', async (p) => { await p.waitForSelector('[data-row] time'); await open(p); }],
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
