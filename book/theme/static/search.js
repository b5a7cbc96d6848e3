// The search page's excerpts. Sphinx (7.4) shows the first place where a word's stem occurs, be it inside another word,
// in the page's menu or in the source of a formula. Here an excerpt holds the word itself, and prose comes before code.
(function () {
  "use strict";

  const LENGTH = 240;
  const BEFORE = 80;
  const BLOCKS = "p, li, dt, dd, td, th, summary, h2, h3, h4, h5, h6, pre";
  const stemmer = new Stemmer();

  // The words that were typed, each with the stem that Sphinx looks for.
  function typedWords(stems) {
    const query = new URLSearchParams(window.location.search).get("q") || "";
    return splitQuery(query.toLowerCase())
      .map(function (word) { return { word: word, stem: stemmer.stemWord(word) }; })
      .filter(function (one) { return stems.has(one.stem); });
  }

  // A formula without commands and groups can be read as it is typed; of another only its place is shown.
  function readable(formula) {
    const source = formula.textContent.replace(/^\\\(|\\\)$/g, "").replace(/\{(\w)\}/g, "$1");
    return /[\\{]/.test(source) ? " … " : source;
  }

  // The texts of a page, or of the part that `anchor` names, from small blocks in their order.
  function blocksOf(html, anchor) {
    const page = new DOMParser().parseFromString(html, "text/html");
    page.querySelectorAll(".headerlink, script, style, div.math").forEach(function (part) { part.remove(); });
    page.querySelectorAll("span.math").forEach(function (formula) { formula.replaceWith(readable(formula)); });
    const target = anchor ? page.getElementById(anchor.slice(1)) : null;
    if (target && target.matches("dt")) {
      const definition = target.nextElementSibling;
      return [{ text: [target, definition].map(plain).join(": "), code: false }];
    }
    const part = target || page.querySelector(".bd-article");
    return [...part.querySelectorAll(BLOCKS)]
      .filter(function (block) { return !block.querySelector(BLOCKS); })
      .map(function (block) { return { text: plain(block), code: block.matches("pre, h2, h3, h4, h5, h6") }; });
  }

  function plain(element) {
    return element ? element.textContent.replace(/\s+/g, " ").trim() : "";
  }

  // Where `text` has one of the words: as typed (3), in another form (2), or inside a longer word (1).
  function places(text, wanted) {
    const found = [];
    for (const match of text.matchAll(/[\p{Letter}\p{Number}_]+/gu)) {
      const word = match[0].toLowerCase();
      for (const one of wanted) {
        let value = 0;
        if (word === one.word) value = 3;
        else if (word[0] === one.word[0] && stemmer.stemWord(word) === one.stem) value = 2;
        else if (word.includes(one.stem)) value = 1;
        if (value) found.push({ start: match.index, end: match.index + match[0].length, value: value, stem: one.stem });
      }
    }
    return found;
  }

  // How well a block answers: each word counts once, by its best place; code and headings come after prose.
  function worth(block, found) {
    const best = {};
    found.forEach(function (place) { best[place.stem] = Math.max(best[place.stem] || 0, place.value); });
    const sum = Object.values(best).reduce(function (total, value) { return total + value; }, 0);
    return sum && sum - (block.code ? 0.5 : 0);
  }

  function excerpt(text, found) {
    const first = found.reduce(function (best, place) { return place.value > best.value ? place : best; });
    let start = Math.max(first.start - BEFORE, 0);
    if (start > 0) start = text.indexOf(" ", start) + 1 || start;
    if (start > first.start) start = first.start;
    let end = Math.min(start + LENGTH, text.length);
    if (end < text.length) end = Math.max(text.lastIndexOf(" ", end), first.end);

    const summary = document.createElement("p");
    summary.className = "context";
    let at = start;
    summary.append(start > 0 ? "… " : "");
    found.filter(function (place) { return place.start >= start && place.end <= end; }).forEach(function (place) {
      if (place.start < at) return;
      const mark = document.createElement("span");
      mark.className = "highlighted";
      mark.textContent = text.slice(place.start, place.end);
      summary.append(text.slice(at, place.start), mark);
      at = place.end;
    });
    summary.append(text.slice(at, end), end < text.length ? " …" : "");
    return summary;
  }

  Search.makeSearchSummary = function (html, stems, anchor) {
    const wanted = typedWords(stems);
    let best = null;
    for (const block of blocksOf(html, anchor)) {
      const found = places(block.text, wanted);
      const value = worth(block, found);
      if (value && (best === null || value > best.value)) best = { text: block.text, found: found, value: value };
    }
    // A word that stands in a formula alone has no excerpt.
    return best === null ? document.createDocumentFragment() : excerpt(best.text, best.found);
  };

  // A page that was opened from disk may not read the other pages.
  if (window.location.protocol === "file:") {
    DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;
    const note = document.createElement("p");
    const command = document.createElement("code");
    command.textContent = "make serve";
    note.className = "from-disk";
    note.append("The site was opened from disk, where a search finds pages but cannot show what is in them; served by ", command, " it shows both.");
    document.getElementById("search-results").before(note);
  }
})();
