// What CSS alone cannot do: give whatever scrolls sideways a place in the tab order, and what has none a name.
(function () {
  "use strict";

  function wrapTables() {
    document.querySelectorAll(".bd-article table").forEach(function (table) {
      if (table.closest(".scroll, .pst-scrollable-table-container, .highlighttable")) return;
      const box = document.createElement("div");
      box.className = "scroll";
      table.parentNode.insertBefore(box, table);
      box.appendChild(table);
    });
  }

  // In running text a formula has parts for screen readers that stand out by some pixels: those do not count.
  function markWideFormulas() {
    document.querySelectorAll(".bd-article span.math").forEach(function (formula) {
      const set = formula.querySelector("mjx-math");
      const wide = set !== null && set.getBoundingClientRect().width > formula.clientWidth + 1;
      formula.classList.toggle("wide", wide);
      if (wide) formula.tabIndex = 0;
      else formula.removeAttribute("tabindex");
    });
  }

  function openToKeyboard() {
    markWideFormulas();
    markCutCode();
    const boxes = ".scroll, .pst-scrollable-table-container, .cell_output, .cell_output .output, pre, mjx-container[display=true]";
    document.querySelectorAll(".bd-article :is(" + boxes + ")").forEach(function (box) {
      if (box.scrollWidth > box.clientWidth + 1) {
        box.tabIndex = 0;
        if (box.matches("div") && !box.hasAttribute("role")) {
          box.setAttribute("role", "group");
          box.setAttribute("aria-label", "Wide content, scrolls sideways");
        }
      } else if (box.tabIndex === 0) {
        box.removeAttribute("tabindex");
      }
    });
  }

  // Code that goes on beyond the right edge of its box fades there.
  function markCutCode() {
    document.querySelectorAll(".bd-article .highlight > pre").forEach(function (code) {
      const mark = function () {
        const hidden = code.scrollWidth - code.clientWidth - code.scrollLeft;
        code.parentNode.classList.toggle("cut", hidden > 1);
      };
      mark();
      code.onscroll = mark;
    });
  }

  // A dark page would be printed in pale letters, or on black paper.
  function printLight() {
    const root = document.documentElement;
    let theme = null;
    window.addEventListener("beforeprint", function () {
      theme = root.dataset.theme;
      root.dataset.theme = "light";
    });
    window.addEventListener("afterprint", function () {
      if (theme !== null) root.dataset.theme = theme;
    });
  }

  // The theme (pydata-sphinx-theme 0.16) folds the sidebar's branches under buttons that have an icon and no name.
  function nameFolds() {
    document.querySelectorAll(".bd-sidebar-primary li > details > summary").forEach(function (summary) {
      const link = summary.closest("li").querySelector("a");
      if (link) summary.setAttribute("aria-label", "Pages under " + link.textContent.trim());
    });
  }

  // docutils 0.21 gives the entries of a bibliography a role that is withdrawn, in a list that may not hold it.
  function plainCitations() {
    document.querySelectorAll(".citation-list, .citation-list > .citation, .citation-list .backrefs").forEach(function (part) {
      part.removeAttribute("role");
    });
  }

  function start() {
    nameFolds();
    plainCitations();
    wrapTables();
    openToKeyboard();
    printLight();
    window.addEventListener("resize", openToKeyboard);
    if (window.MathJax && window.MathJax.startup && window.MathJax.startup.promise) {
      window.MathJax.startup.promise.then(openToKeyboard);
    }
  }

  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
