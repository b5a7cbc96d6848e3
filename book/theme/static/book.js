// What CSS alone cannot do: give whatever scrolls sideways a place in the tab order, and a name.
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

  function openToKeyboard() {
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

  function start() {
    wrapTables();
    openToKeyboard();
    window.addEventListener("resize", openToKeyboard);
    if (window.MathJax && window.MathJax.startup && window.MathJax.startup.promise) {
      window.MathJax.startup.promise.then(openToKeyboard);
    }
  }

  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
