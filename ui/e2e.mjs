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
  for (const [key, where] of [['s', 'signals'], ['c', 'checks'], ['e', 'explore'], ['a', 'alerts'], ['k', 'cardinality'], ['x', 'itself'], ['n', 'now']]) {
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
  await page.waitForSelector('.tries[role=status] li >> text=/ok in|failed at/');
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
  for (const h of ['#/now', '#/checks', '#/checks?tab=maintenance', '#/checks?tab=report', '#/checks?tab=places', '#/checks?tab=new', '#/alerts', '#/alerts?tab=outbox', '#/explore?q=up', '#/cardinality', '#/itself']) {
    await page.goto(base + '/' + h);
    await visible('h1.sentence');
    await page.waitForTimeout(400);
    const over = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
    if (over > 0) throw new Error(`${h} is ${over} px too wide`);
  }
});

if (mock) {
  await step('the matrix shows each place, filters by the address and groups', async () => {
    await fresh();
    await page.goto(base + '/#/checks');
    await visible('.matrix [data-row]');
    equal(await page.locator('.matrix [data-row]').first().getAttribute('data-row'), 'billing', 'the first row');
    equal(await page.locator('.matrix thead th.place').count(), 4, 'places');
    const cell = await page.textContent('[data-row=images] td.place:last-child');
    if (!/down/.test(cell) || !/tls/.test(cell)) throw new Error(`the cell of a failing place says “${cell}”`);
    await visible('.whyrow >> text=the TLS handshake took longer than 10 s');
    await page.selectOption('[aria-label=State]', 'breach');
    await at('state=breach');
    await page.waitForFunction(() => document.querySelectorAll('.matrix [data-row]').length === 6);
    await page.fill('[aria-label="Filter checks"]', 'kind-of-nothing');
    await visible('text=No check matches the filter.');
    await page.click('text=Show all');
    await page.waitForFunction(() => document.querySelectorAll('.matrix [data-row]').length > 20);
    await page.selectOption('[aria-label=Groups]', 'team');
    await at('group=team');
    await visible('.grouprow >> text=shop');
    await page.goto('about:blank');
    await page.goto(base + '/#/checks?find=ethereum&kind=evm');
    await page.waitForFunction(() => document.querySelectorAll('.matrix [data-row]').length === 2);
  });

  await step('signals are found, opened and read by keyboard', async () => {
    await page.goto(base + '/#/signals');
    await page.fill('[aria-label="Find by name or source"]', 'kafka');
    await at('find=kafka');
    await page.waitForFunction(() => document.querySelectorAll('main [data-row]').length === 1);
    await page.fill('[aria-label="Find by name or source"]', '');
    await page.keyboard.press('Tab');
    await page.keyboard.press('j');
    await page.keyboard.press('Enter');
    await at('^#/signals/service\\?.*id=job');
    await visible('h1 >> text=/pricing: 6.1 % of its requests fail/');
    await visible('.heatmap canvas');
    await visible('.heatscale .swatch');
    await page.focus('.heatmap');
    await page.keyboard.press('ArrowLeft');
    await page.waitForFunction(() => /\d+ in \d+ \w+, /.test(document.getElementById('say').textContent));
    await visible('.heatmap .tip');
    await page.keyboard.press('t');
    await at('view=table');
    await visible('.signal th >> text="p99"');
    await page.keyboard.press('t');
    await visible('.heatmap canvas');
    await page.focus('.heatmap');
    await page.keyboard.press('ArrowLeft');
    await page.keyboard.press('Enter');
    await at('^#/explore\\?.*histogram_quantile');
    await at('from=\\d+');
  });

  await step('a click on the heat goes to its time, a drag zooms', async () => {
    await page.goto(base + '/#/signals/service?id=job%3Dpricing');
    const box = await (await visible('.heatmap canvas')).boundingBox();
    await page.mouse.move(box.x + box.width * 0.6, box.y + 80);
    await page.mouse.down();
    await page.mouse.move(box.x + box.width * 0.7, box.y + 80, { steps: 4 });
    await page.mouse.move(box.x + box.width * 0.8, box.y + 80, { steps: 4 });
    await page.mouse.up();
    await at('^#/signals/service.*from=\\d+.*to=\\d+');
    await visible('.heatscale .swatch');
    await page.mouse.click(box.x + box.width * 0.5, box.y + 90);
    await at('^#/explore\\?.*from=\\d+');
  });

  await step('run now from all places shows each result', async () => {
    await page.goto(base + '/#/checks/images');
    await visible('.multiples figure >> nth=2');
    await page.keyboard.press('w');
    await page.waitForFunction(() => document.querySelectorAll('.tries li').length === 3 && /1 of 3 places sees it fail/.test(document.querySelector('.tries').textContent));
    await visible('.tries li:has-text("ap-southeast") >> text=failed at tls');
  });

  await step('before and after a marker is a sentence', async () => {
    await page.goto(base + '/#/checks/front?range=2d');
    await page.locator('[aria-label=Marker] option:has-text("shop 2.4.1")').waitFor({ state: 'attached' });
    await page.selectOption('[aria-label=Marker]', { value: 'm2' });
    await at('at=\\d+');
    await visible('.saying >> text=/Resolve, connect, tls and transfer are unchanged; processing fell from .* ms to .* ms \\(-\\d+ %\\)\\./');
    await page.click('text="6 h"');
    await at('span=21600');
    await visible('.side >> text=6 h before');
  });

  await step('a click on a chart chooses the time', async () => {
    await page.goto(base + '/#/checks/front');
    const box = await (await visible('.multiples .u-over')).boundingBox();
    await page.mouse.click(box.x + box.width / 2, box.y + box.height / 2);
    await at('at=\\d+');
    await visible('.saying');
  });

  await step('a flow is a waterfall by step, a browser run has its picture', async () => {
    await page.goto(base + '/#/checks/checkout-flow');
    await page.locator('caption:has-text("Runs of") ~ tbody tr.breach [data-open]').first().click();
    await visible('.waterfall.lines .step.is-failed >> text=check out');
    await visible('.waterfall.lines .step.is-not_reached >> text=pay');
    await page.locator('.hopline button').first().click();
    await visible('.hop-open .wf');
    await page.goto(base + '/#/checks/storefront');
    await page.locator('caption:has-text("Runs of") ~ tbody tr.breach [data-open]').first().click();
    await page.waitForFunction(() => (document.querySelector('img.screenshot')?.naturalWidth ?? 0) > 0);
    await visible('text=Console of the browser');
  });

  await step('a link to one run finds it, however old', async () => {
    const old = (await fetch(`${base}/api/v1/checks/front/runs?limit=1&location=hub&before=${new Date(Date.now() - 86400e3).toISOString()}`).then((r) => r.json())).runs[0];
    await page.goto('about:blank');
    await page.goto(`${base}/#/checks/front?run=${encodeURIComponent(old.start)}&from_place=hub`);
    await visible('.panel .waterfall');
  });

  await step('Silence on a check comes prefilled', async () => {
    await page.goto(base + '/#/checks/checkout');
    await page.click('a:has-text("Silence")');
    await visible('[role=dialog] [aria-label="Matcher 1"]');
    equal(await page.inputValue('[aria-label="Matcher 1"]'), 'check="checkout page"', 'matcher');
    await page.keyboard.press('Escape');
    await gone('[role=dialog]');
    await page.waitForFunction(() => !location.hash.includes('silence='));
  });

  await step('a check from a file is read-only and can be copied', async () => {
    await page.goto(base + '/#/checks/checkout');
    await visible('text=From vedette.yml: read-only here.');
    equal(await page.locator('.toolbar button:text-is("Delete")').count(), 0, 'Delete buttons');
    await page.keyboard.press('e');
    await at('edit=1');
    await visible('pre.yamlview >> text=name: checkout page');
    await visible('button:has-text("Copy as YAML")');
  });

  await step('a check is made, tried, refused, changed as YAML, paused and deleted', async () => {
    await page.goto(base + '/#/checks');
    await visible('.matrix [data-row]');
    await page.keyboard.press('n');
    await at('tab=new');
    await page.fill('[data-field=url]', 'shop.example.org');
    await page.fill('[data-field=name]', 'made by e2e');
    expected = /400/;
    await page.click('.formend .main');
    await visible('[data-field=url][aria-invalid=true]');
    await visible('.ff:has([data-field=url]) .wrong >> text=want such as https://');
    expected = /^$/;
    await page.fill('[data-field=url]', 'https://shop.example.org/');
    await page.fill('[data-field=labels]', 'team=e2e');
    await page.click('text=Try it');
    await visible('.tries >> text=It is well from all 3 places.');
    await page.click('.checkform >> text="YAML"');
    await visible('.cm-content >> text=made by e2e');
    await page.click('.cm-content');
    await page.keyboard.press('Control+End');
    await page.keyboard.type('interval: 5m\n');
    await page.click('.checkform >> text="Form"');
    equal(await page.inputValue('[data-field=interval]'), '5m', 'interval from the YAML');
    await page.click('.formend .main');
    await at('#/checks/made-by-e2e$');
    await visible('h1 >> text=made by e2e is up');
    await page.click('text=Pause');
    await visible('h1 >> text=paused');
    await page.click('text=Resume');
    await visible('h1 >> text=is up');
    await page.click('.toolbar >> text=Delete');
    await page.click('[role=dialog] button.main');
    await at('^#/checks$');
    await visible('.matrix [data-row]');
    await page.waitForFunction(() => !document.querySelector('[data-row=made-by-e2e]'));
  });

  await step('YAML that cannot be read here says so and keeps its text', async () => {
    await page.goto('about:blank');
    await page.goto(base + '/#/checks?tab=new&as=yaml');
    await visible('.cm-content');
    await page.click('.cm-content');
    await page.keyboard.press('Control+a');
    await page.keyboard.type('name: &n a\n');
    await page.click('.checkform >> text="Form"');
    await visible('.problem >> text=anchors, aliases and tags are not read here');
    await visible('.cm-content .badline');
    await at('as=yaml');
  });

  await step('a maintenance window is made, ended and deleted', async () => {
    await page.goto(base + '/#/checks?tab=maintenance');
    await page.click('text=New window');
    await page.click('[role=dialog] button.main');
    await visible('.wrong >> text=Give it a name');
    await page.fill('[role=dialog] input >> nth=0', 'work of e2e');
    await page.fill('[placeholder="team=shop"]', 'team=shop');
    await visible('text=/It covers \\d checks\\./');
    await page.click('[role=dialog] button.main');
    await gone('[role=dialog]');
    await visible('tr:has-text("work of e2e") >> text=in force');
    await page.goto(base + '/#/checks');
    await visible('.strip >> text=work of e2e');
    await page.goto(base + '/#/now');
    await visible('.strip >> text=work of e2e');
    await page.goto(base + '/#/checks?tab=maintenance');
    await page.click('tr:has-text("work of e2e") >> text=End now');
    await visible('tr:has-text("work of e2e") >> text=over');
    page.once('dialog', (d) => d.accept());
    await page.click('[aria-label="Delete work of e2e"]');
    await page.waitForSelector('tr:has-text("work of e2e")', { state: 'detached' });
  });

  await step('the report of a month, its CSV, its paper', async () => {
    await page.goto(base + '/#/checks?tab=report');
    await visible('.daybars >> nth=5');
    await page.click('[aria-label="The month before"]');
    await at('month=\\d{4}-\\d\\d');
    await visible('h1 >> text=/\\d % over/');
    const csv = await page.getAttribute('a:text-is("CSV")', 'href');
    const got = await fetch(base + csv);
    if (!/text\/csv/.test(got.headers.get('content-type'))) throw new Error(`the CSV link answers ${got.headers.get('content-type')}`);
    await page.emulateMedia({ media: 'print' });
    equal(await page.locator('.rail').isVisible(), false, 'rail on paper');
    equal(await page.locator('.toolbar').first().isVisible(), false, 'toolbar on paper');
    await page.emulateMedia({ media: 'screen' });
  });

  await step('places tell who is silent and how to add one', async () => {
    await page.goto(base + '/#/checks?tab=places');
    await visible('tr:has-text("us-east") >> text=silent');
    await visible(`text=vedette agent --hub ${base} --location NAME --token-file FILE`);
  });

  await step('the palette knows the parts of Checks', async () => {
    await page.keyboard.press('/');
    await page.keyboard.type('uptime rep');
    await page.waitForSelector('.found li[aria-selected=true] >> text=Uptime report');
    await page.keyboard.press('Enter');
    await at('tab=report');
  });

  await step('ten thousand checks stay few in the page', async () => {
    await scenario('scenario=many');
    await page.goto('about:blank');
    await page.goto(base + '/#/checks');
    await visible('.matrix [data-row]');
    const count = () => page.locator('.matrix [data-row]').count();
    if ((await count()) > 150) throw new Error(`${await count()} rows are in the page`);
    const tall = await page.evaluate(() => document.documentElement.scrollHeight);
    if (tall < 250_000) throw new Error(`the page is ${tall} px tall, want that of ten thousand rows`);
    await page.evaluate(() => scrollTo(0, document.body.scrollHeight / 2));
    await page.waitForFunction(() => [...document.querySelectorAll('.matrix [data-row]')].some((r) => r.getBoundingClientRect().top > 0 && r.getBoundingClientRect().top < innerHeight));
    if ((await count()) > 150) throw new Error(`${await count()} rows are in the page after scrolling`);
    await page.evaluate(() => scrollTo(0, 0));
    for (let i = 0; i < 100; i++) await page.keyboard.press('j');
    if (!(await page.evaluate(() => document.activeElement.dataset.row))) throw new Error('j lost the row');
    await page.fill('[aria-label="Filter checks"]', 'team=platform bastion');
    await page.waitForFunction(() => document.querySelectorAll('.matrix [data-row]').length > 0 && [...document.querySelectorAll('.matrix [data-row] .name')].every((n) => /bastion/.test(n.textContent)));
    await scenario('scenario=full');
  });

  await step('without checks it says what to paste', async () => {
    await scenario('scenario=empty');
    await page.goto('about:blank');
    await page.goto(base + '/#/checks');
    await visible('pre >> text=vedette agent --hub');
    await page.goto(base + '/#/checks?tab=maintenance');
    await visible('pre >> text=maintenance:');
    await scenario('scenario=full');
  });

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
    const tall = await page.evaluate(() => document.documentElement.scrollHeight);
    if (tall < 25_000) throw new Error(`the page is ${tall} px tall, want that of a thousand rows`);
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
