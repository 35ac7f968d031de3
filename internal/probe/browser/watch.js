// Runs in a world of its own in each document, before the page's scripts: it
// measures, finds elements and hides secrets. The page sees none of it.
(() => {
  if (window.top !== window) return;
  const v = {id: performance.timeOrigin};
  let sent = '';
  const tell = () => {
    const s = JSON.stringify(v);
    if (s !== sent) { sent = s; __vedette(s); }
  };
  const observers = [];
  const see = (type, take, more) => {
    try {
      const o = new PerformanceObserver(l => { l.getEntries().forEach(take); tell(); });
      o.observe({type, buffered: true, ...more});
      observers.push([o, take]);
    } catch (e) {} // a browser that does not measure it
  };
  see('paint', e => { if (e.name === 'first-contentful-paint') v.fcp = e.startTime; });
  see('largest-contentful-paint', e => { v.lcp = e.startTime; });
  // The largest sum of shifts within five seconds and without a pause of one.
  let sum = 0, first = 0, last = 0;
  v.cls = 0;
  see('layout-shift', e => {
    if (e.hadRecentInput) return;
    if (sum > 0 && e.startTime - last < 1000 && e.startTime - first < 5000) sum += e.value;
    else { sum = e.value; first = e.startTime; }
    last = e.startTime;
    v.cls = Math.max(v.cls, sum);
  });
  const interaction = e => { if (e.interactionId || e.entryType === 'first-input') v.inp = Math.max(v.inp || 0, e.duration); };
  see('event', interaction, {durationThreshold: 16});
  see('first-input', interaction);
  const times = () => {
    const n = performance.getEntriesByType('navigation')[0];
    if (!n) return;
    if (n.responseStart > 0) v.ttfb = n.responseStart;
    if (n.domContentLoadedEventEnd > 0) v.dcl = n.domContentLoadedEventEnd;
    if (n.loadEventEnd > 0) v.load = n.loadEventEnd;
  };
  addEventListener('load', () => setTimeout(() => { times(); tell(); }, 0));

  const pause = ms => new Promise(done => setTimeout(done, ms));
  const trim = s => (s || '').replace(/\s+/g, ' ').trim();
  const shown = e => {
    const r = e.getBoundingClientRect();
    return r.width > 0 && r.height > 0 && e.checkVisibility({visibilityProperty: true});
  };
  const words = e => {
    if (e instanceof HTMLInputElement && /^(submit|button|reset)$/.test(e.type)) return trim(e.value);
    return trim(e.innerText) || trim(e.getAttribute('aria-label'));
  };
  const name = e => {
    let s = e.localName;
    if (e.id) s += '#' + e.id;
    else if (e.classList.length) s += '.' + [...e.classList].join('.');
    return s.slice(0, 80);
  };
  const buttons = 'a,button,input[type=submit],input[type=button],input[type=reset],label,summary,[role=button],[role=link],[role=tab],[role=menuitem],[onclick]';
  const all = (selector, text) => {
    if (!text) return [...document.querySelectorAll(selector)];
    const want = trim(text);
    const best = list => {
      list = list.filter(e => words(e).includes(want));
      return [...list.filter(e => words(e) === want), ...list.filter(e => words(e) !== want)];
    };
    let list = best([...document.querySelectorAll(selector || buttons)]);
    if (list.length || selector || !document.body) return list;
    const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walk.nextNode()) if (trim(walk.currentNode.nodeValue).includes(want)) list.push(walk.currentNode.parentElement);
    return best(list);
  };
  const one = (selector, text) => {
    const list = all(selector, text);
    return list.find(shown) || list[0];
  };
  let undo = [];
  globalThis.V = {
    // find tells whether an element can be used, and where it is.
    find(selector, text, scroll) {
      const e = one(selector, text);
      if (!e) return {state: 'missing'};
      if (!shown(e)) return {state: 'hidden'};
      if (e.disabled || e.getAttribute('aria-disabled') === 'true') return {state: 'disabled'};
      if (scroll) e.scrollIntoView({block: 'center', inline: 'center', behavior: 'instant'});
      const r = e.getBoundingClientRect();
      const x = r.left + r.width / 2, y = r.top + r.height / 2;
      const top = document.elementFromPoint(x, y);
      if (scroll && top && top !== e && !e.contains(top) && !top.contains(e) && !(e.labels && [...e.labels].some(l => l.contains(top)))) return {state: 'covered', by: name(top)};
      return {state: 'ok', x, y};
    },
    // focus makes a field ready for a text in place of what it has; true when it
    // is one that takes no keys and was filled already.
    focus(selector, text) {
      const e = one(selector);
      e.focus();
      if (e instanceof HTMLInputElement && /^(date|time|datetime-local|month|week|color|range)$/.test(e.type)) {
        e.value = text;
        e.dispatchEvent(new Event('input', {bubbles: true}));
        e.dispatchEvent(new Event('change', {bubbles: true}));
        return 'filled';
      }
      if (e.isContentEditable) getSelection().selectAllChildren(e);
      else if (e instanceof HTMLInputElement || e instanceof HTMLTextAreaElement) e.select();
      else return 'none';
      if (e.readOnly) return 'readonly';
      return 'ready';
    },
    choose(selector, option) {
      const e = one(selector);
      if (!e) return 'missing';
      if (!(e instanceof HTMLSelectElement)) return 'none';
      if (e.disabled) return 'disabled';
      const want = trim(option);
      const o = [...e.options].find(o => o.value === option) || [...e.options].find(o => trim(o.text) === want);
      if (!o) return 'unknown';
      if (o.disabled) return 'disabled';
      e.focus();
      e.value = o.value;
      o.selected = true;
      e.dispatchEvent(new Event('input', {bubbles: true}));
      e.dispatchEvent(new Event('change', {bubbles: true}));
      return 'ok';
    },
    // look tells what an expectation asks for.
    look(q) {
      const out = {url: location.href.slice(0, 4096), title: document.title.slice(0, 300)};
      const list = q.selector ? [...document.querySelectorAll(q.selector)] : document.body ? [document.body] : [];
      out.elements = list.length;
      const texts = q.text || q.notText || q.selector ? list.map(e => trim('value' in e && e.localName !== 'li' && e.localName !== 'button' ? e.value : e.innerText)) : [];
      out.text = !q.text || texts.some(s => s.includes(trim(q.text)));
      out.notText = !q.notText || !texts.some(s => s.includes(trim(q.notText)));
      out.said = (texts.find(s => s) || '').slice(0, 200);
      if (q.count) out.count = document.querySelectorAll(q.count).length;
      return out;
    },
    // flush gives what was measured and not told yet.
    async flush() {
      await Promise.race([new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done))), pause(200)]);
      await pause(0);
      for (const [o, take] of observers) o.takeRecords().forEach(take);
      times();
      tell();
    },
    // mask makes secrets unreadable until unmask.
    mask(secrets) {
      const has = s => s && secrets.some(x => s.includes(x));
      const clean = s => secrets.reduce((s, x) => s.split(x).join('(removed)'), s);
      const walk = root => {
        const it = document.createTreeWalker(root, NodeFilter.SHOW_TEXT | NodeFilter.SHOW_ELEMENT);
        while (it.nextNode()) {
          const n = it.currentNode;
          if (n.nodeType === Node.TEXT_NODE) {
            if (has(n.nodeValue)) { const old = n.nodeValue; undo.push(() => { n.nodeValue = old; }); n.nodeValue = clean(old); }
            continue;
          }
          if (n.shadowRoot) walk(n.shadowRoot);
          if (n.localName === 'iframe') { try { if (n.contentDocument) walk(n.contentDocument); } catch (e) {} }
          if (has(n.value)) {
            const old = n.style.getPropertyValue('-webkit-text-security'), how = n.style.getPropertyPriority('-webkit-text-security');
            undo.push(() => n.style.setProperty('-webkit-text-security', old, how));
            n.style.setProperty('-webkit-text-security', 'disc', 'important');
          }
          if (has(n.placeholder)) { const old = n.placeholder; undo.push(() => { n.placeholder = old; }); n.placeholder = clean(old); }
        }
      };
      walk(document);
    },
    unmask() {
      undo.reverse().forEach(f => f());
      undo = [];
    },
  };
})();
