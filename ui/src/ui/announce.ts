/** Speaks a sentence through the page's polite live region. */
export function announce(text: string) {
  const el = document.getElementById('say');
  if (!el) return;
  el.textContent = '';
  setTimeout(() => {
    el.textContent = text;
  }, 60);
}
