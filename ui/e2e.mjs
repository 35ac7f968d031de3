// Drives the page by its keyboard paths in a real Chromium:
//
//   node e2e.mjs http://127.0.0.1:7575
//
// Without an address it starts the mock server. It ends with 1 when a step does
// not hold, a script fails, the console shows an error, or the page asks another
// host for anything.
import { spawn } from 'node:child_process';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { isMock, openBrowser } from './browser.mjs';

const here = dirname(fileURLToPath(import.meta.url));
let base = process.argv[2];
let server;
if (!base) {
  server = spawn(process.execPath, [join(here, 'mock/server.mjs'), '--port', '0'], { stdio: ['ignore', 'pipe', 'inherit'] });
  // It ends with this process, however that ends.
  process.on('exit', () => server.kill());
  for (const sig of ['SIGINT', 'SIGTERM']) process.on(sig, () => process.exit(1));
  base = await new Promise((done, fail) => {
    server.stdout.once('data', (d) => done(/http:\/\/[^/\s]+/.exec(String(d))[0]));
    server.once('exit', (c) => fail(new Error(`the mock server ended with ${c}`)));
  });
}
const mock = await isMock(base);
const scenario = (q) => fetch(`${base}/mock?${q}`).then((r) => r.json());

const browser = await openBrowser();
const problems = [];
let page;
let expected = /^$/; // console errors that a step provokes on purpose

async function fresh(options = {}) {
  await page?.context().close();
  const ctx = await browser.newContext({ viewport: { width: 1440, height: 900 }, ...options });
  page = await ctx.newPage();
  page.setDefaultTimeout(8000);
  page.on('pageerror', (e) => problems.push(`script error: ${e.message}`));
  page.on('console', (m) => {
    if (m.type() === 'error' && !expected.test(m.text())) problems.push(`console: ${m.text()}`);
  });
  page.on('request', (r) => {
    if (!r.url().startsWith(base) && !/^(data|about|blob):/.test(r.url())) problems.push(`asked a foreign host: ${r.url()}`);
  });
}

async function step(name, f) {
  const before = problems.length;
  try {
    // A page that hangs answers nothing, not even with an error.
    await Promise.race([f(), new Promise((_, fail) => setTimeout(() => fail(new Error('took longer than 60 s')), 60_000).unref())]);
  } catch (e) {
    problems.push(`${name}: ${e.message.split('\n')[0]}`);
  }
  console.log(`${problems.length === before ? 'ok  ' : 'FAIL'} ${name}`);
}

const hash = () => page.evaluate(() => location.hash);
const at = async (want) => {
  await page.waitForFunction((w) => new RegExp(w).test(location.hash), want).catch(async () => {
    throw new Error(`the address is ${await hash()}, want ${want}`);
  });
};
const visible = (sel) => page.waitForSelector(sel, { state: 'visible' });
const gone = (sel) => page.waitForSelector(sel, { state: 'detached' });
const equal = (got, want, what) => {
  if (got !== want) throw new Error(`${what}: got ${got}, want ${want}`);
};

if (mock) await scenario('scenario=full&login=0&live=1');
await fresh();

await step('the first screen comes in four files', async () => {
  const files = [];
  page.on('response', (r) => {
    if (!r.url().includes('/api/')) files.push(new URL(r.url()).pathname);
  });
  await page.goto(base + '/');
  await visible('h1.sentence');
  await at('^#/now');
  await visible('table');
  equal(files.filter((f) => !f.endsWith('favicon.ico')).length, 4, `files (${files.join(' ')})`);
});

await step('g and a letter go to every screen', async () => {
  for (const [key, where] of [['c', 'checks'], ['e', 'explore'], ['a', 'alerts'], ['x', 'itself'], ['n', 'now']]) {
    await page.keyboard.press('g');
    await page.keyboard.press(key);
    await at(`^#/${where}`);
    await visible('h1.sentence');
  }
});

await step('/ opens the palette, typing finds, Enter opens', async () => {
  await page.keyboard.press('/');
  await visible('.palette-input');
  await page.keyboard.type('Itself');
  await page.waitForSelector('.found li[aria-selected=true] >> text=Itself');
  await page.keyboard.press('Enter');
  await at('^#/itself');
  await gone('.palette-input');
});

await step('Ctrl-K opens and Esc closes the palette', async () => {
  await page.keyboard.press('Control+k');
  await visible('.palette-input');
  await page.keyboard.press('Escape');
  await gone('.palette-input');
});

await step('? lists the keys', async () => {
  await page.keyboard.press('?');
  await visible('[role=dialog] table.keys');
  await page.keyboard.press('Escape');
  await gone('[role=dialog]');
});

await step('j, k and Enter walk the table of checks', async () => {
  await page.keyboard.press('g');
  await page.keyboard.press('c');
  await at('^#/checks$');
  await visible('main [data-row]');
  await page.keyboard.press('j');
  const first = await page.evaluate(() => document.activeElement.dataset.row);
  if (!first) throw new Error('no row has the focus after j');
  if ((await page.locator('main [data-row]').count()) > 1) {
    await page.keyboard.press('j');
    const second = await page.evaluate(() => document.activeElement.dataset.row);
    if (second === first) throw new Error('j did not move on');
    await page.keyboard.press('k');
    equal(await page.evaluate(() => document.activeElement.dataset.row), first, 'row after k');
  }
  await page.keyboard.press('Enter');
  await at('^#/checks/.+');
  await visible('text=Phases over time');
});

await step('t swaps the chart for its table and back', async () => {
  const row = await page.waitForSelector('.chart .u-over, .section .empty').then((e) => e.evaluate((x) => x.className));
  if (row === 'empty') return;
  await page.keyboard.press('t');
  await at('view=table');
  await visible('caption:has-text("Phases over time")');
  await gone('.chart');
  await page.keyboard.press('t');
  await visible('.chart .u-over');
});

await step('a run opens beside the list, Esc closes it', async () => {
  await visible('caption:has-text("Runs of") ~ tbody [data-row]');
  await page.locator('caption:has-text("Runs of") ~ tbody [data-row]').first().focus();
  await page.keyboard.press('Enter');
  await at('run=');
  await visible('.waterfall .wf');
  await page.keyboard.press('Escape');
  await gone('.panel');
});

await step('Run now runs the check', async () => {
  await page.click('button:has-text("Run now")');
  await page.waitForSelector('.toolbar [role=status]');
});

await step('Explore takes a query by keyboard', async () => {
  await page.keyboard.press('g');
  await page.keyboard.press('e');
  await visible('.cm-content');
  await page.click('.cm-content');
  await page.keyboard.type('up');
  await page.keyboard.press('Escape');
  await page.keyboard.press('Control+Enter');
  await at('q=up');
  await visible('table caption:has-text("Series with their values")');
  await visible('.chart .u-over');
});

await step('completion offers metric names', async () => {
  await page.click('.cm-content');
  await page.keyboard.press('Control+a');
  await page.keyboard.type('prob');
  await page.waitForSelector('.cm-tooltip-autocomplete >> text=probe');
  await page.keyboard.press('Escape');
  await page.keyboard.press('Escape');
});

await step('drag zooms, Back returns', async () => {
  await page.goto(base + '/#/explore?range=5m&q=up');
  const box = await (await visible('.chart .u-over')).boundingBox();
  await page.mouse.move(box.x + box.width * 0.3, box.y + 60);
  await page.mouse.down();
  await page.mouse.move(box.x + box.width * 0.995, box.y + 60, { steps: 5 });
  await page.mouse.up();
  await at('from=\\d+&to=\\d+');
  await visible('.chart .u-over');
  await page.locator('.chart .u-over').dblclick();
  await at('^#/explore\\?range=5m&q=up$');
});

await step('a click on a series isolates it, Esc shows all', async () => {
  await visible('.series-name');
  await page.locator('.series-name').first().click();
  await at('only=');
  await page.keyboard.press('Escape');
  await page.waitForFunction(() => !location.hash.includes('only='));
});

await step('a broken query is a sentence', async () => {
  expected = /400/;
  await page.goto(base + '/#/explore?q=sum(');
  await visible('.problem');
  if (!/parse error/.test(await page.textContent('.problem'))) throw new Error('no parse error is shown');
  expected = /^$/;
});

await step('d opens the range, a preset stands in the address', async () => {
  await page.goto(base + '/#/explore?q=up');
  await visible('h1.sentence');
  await page.keyboard.press('d');
  await visible('.popup');
  await page.click('.popup >> text="6h"');
  await at('range=6h');
  await page.keyboard.press('d');
  await visible('.popup');
  await page.keyboard.press('Escape');
  await gone('.popup');
});

await step('c copies the link', async () => {
  await page.context().grantPermissions(['clipboard-read', 'clipboard-write'], { origin: base }).catch(() => undefined);
  await page.locator('main').focus();
  await page.keyboard.press('c');
  await visible('.toast');
});

await step('p pauses and goes on', async () => {
  await page.keyboard.press('p');
  await at('live=0');
  await page.keyboard.press('p');
  await page.waitForFunction(() => !location.hash.includes('live='));
});

await step('the parts of Alerts have addresses', async () => {
  for (const tab of ['silences', 'outbox', 'rules']) {
    await page.goto(`${base}/#/alerts?tab=${tab}`);
    await visible(`.tabs a[aria-current=page]`);
    await page.waitForSelector('main table, main .empty');
  }
});

await step('a silence by hand is made and ended', async () => {
  await page.goto(`${base}/#/alerts?tab=silences`);
  await page.click('text=New silence');
  await page.fill('[aria-label="Matcher 1"]', 'alertname="E2eMadeThis"');
  await page.click('[role=dialog] button[type=submit]');
  await gone('[role=dialog]');
  await visible('text=E2eMadeThis');
  await page.locator('tr:has-text("E2eMadeThis") button').click();
  await page.waitForSelector('text=E2eMadeThis', { state: 'detached' });
});

await step('the dark theme is kept', async () => {
  await page.goto(base + '/#/now');
  await visible('h1.sentence');
  await page.selectOption('.top-end select >> nth=-1', 'dark');
  equal(await page.evaluate(() => document.documentElement.dataset.theme), 'dark', 'theme');
  await page.reload();
  await visible('h1.sentence');
  equal(await page.evaluate(() => document.documentElement.dataset.theme), 'dark', 'theme after a reload');
});

await step('nothing is wider than 390 px', async () => {
  await fresh({ viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true });
  for (const h of ['#/now', '#/checks', '#/alerts', '#/alerts?tab=outbox', '#/explore?q=up', '#/itself']) {
    await page.goto(base + '/' + h);
    await visible('h1.sentence');
    await page.waitForTimeout(400);
    const over = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
    if (over > 0) throw new Error(`${h} is ${over} px too wide`);
  }
});

if (mock) {
  await step('an alert is silenced in two clicks', async () => {
    await fresh();
    await page.goto(base + '/#/alerts');
    await page.click('button[aria-label="Silence OrdersErrors"]');
    await page.click('[role=dialog] button[type=submit]');
    await gone('[role=dialog]');
    await page.waitForSelector('tr:has-text("OrdersErrors") >> text=silenced');
  });

  await step('a failed notification is tried again', async () => {
    await page.goto(base + '/#/alerts?tab=outbox');
    await page.locator('tr:has-text("failed") button:has-text("Retry")').first().click();
    await page.waitForFunction(() => document.querySelectorAll('tbody .mark.is-warning').length === 1);
  });

  await step('a thousand rows stay few in the page', async () => {
    await scenario('scenario=many');
    await page.goto('about:blank');
    await page.goto(base + '/#/now');
    await visible('main [data-row]');
    const rows = await page.locator('main [data-row]').count();
    if (rows > 150) throw new Error(`${rows} rows are in the page`);
    for (let i = 0; i < 120; i++) await page.keyboard.press('j');
    const key = await page.evaluate(() => document.activeElement.dataset.row);
    if (!key) throw new Error('j lost the row');
  });

  await step('with nothing reporting it teaches', async () => {
    await scenario('scenario=empty');
    await page.goto('about:blank');
    await page.goto(base + '/#/now');
    await visible(`text=${new URL(base).host}/api/v1/write`);
  });

  await step('an error is a sentence', async () => {
    expected = /503/;
    await scenario('scenario=error');
    await page.goto('about:blank');
    await page.goto(base + '/#/now');
    await visible('.problem >> text=the disk is full');
    await scenario('scenario=full');
    await page.click('text=Try again');
    await visible('table');
    expected = /^$/;
  });

  await step('without the stream it polls', async () => {
    expected = /503|ERR_/;
    await scenario('scenario=full&live=0');
    await page.goto('about:blank');
    await page.goto(base + '/#/now');
    await page.waitForSelector('.livemode:has-text("each 10 s")', { timeout: 25000 });
    await scenario('live=1');
    await page.waitForSelector('.livemode:text-is("Live")', { timeout: 30000 });
    expected = /^$/;
  });

  await step('a stale screen says since when', async () => {
    expected = /ERR_|503/;
    await page.goto('about:blank');
    await page.goto(base + '/#/now');
    await visible('table');
    await page.context().setOffline(true);
    await scenario('live=0');
    await page.waitForSelector('.staleline >> text=No news from Vedette since', { timeout: 25000 });
    await scenario('live=1');
    await page.context().setOffline(false);
    await page.click('text=Try now');
    await gone('.staleline');
    expected = /^$/;
  });

  await step('another tenant is asked for by header and stands in the address', async () => {
    await page.goto('about:blank');
    await page.goto(base + '/#/now');
    await visible('table');
    const asked = page.waitForRequest((r) => r.url().endsWith('/api/v1/now') && r.headers()['x-vedette-tenant'] === 'acme');
    await page.selectOption('.top-end select >> nth=0', 'acme');
    await asked;
    await at('tenant=acme');
  });

  await step('401 leads to the sign-in and back', async () => {
    expected = /401/;
    await scenario('scenario=full&login=1&live=1');
    await page.goto('about:blank');
    await page.goto(base + '/#/checks');
    await visible('input[name=password]');
    await page.fill('input[name=user]', 'ada');
    await page.fill('input[name=password]', 'wrong');
    await page.keyboard.press('Enter');
    await visible('.wrong');
    await page.fill('input[name=password]', 'correct');
    await page.keyboard.press('Enter');
    await at('^#/checks');
    await visible('table');
    await page.click('text=Sign out');
    await visible('input[name=password]');
    await scenario('login=0');
    expected = /^$/;
  });
}

await browser.close();
if (mock) await scenario('scenario=full&login=0&live=1');
if (problems.length) {
  console.error('\n' + problems.join('\n'));
  process.exit(1);
}
console.log('\nall steps hold');
process.exit(0);
