// A title or an excerpt that was found runs as most of its letters do: by its first letter an English sentence about an Arabic word would turn round.
new MutationObserver(() => {
  for (const text of document.querySelectorAll('#search-results li > :is(a, span, .context):not([dir])')) {
    const count = letters => (text.textContent.match(letters) ?? []).length;
    text.dir = count(/\p{Script=Arabic}/gu) > count(/\p{Script=Latin}/gu) ? 'rtl' : 'ltr';
  }
}).observe(document.getElementById('search-results'), { childList: true, subtree: true });
