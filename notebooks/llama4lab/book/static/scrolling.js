// What is wider than its box fades out at the side that has more (see book.css), and scrolls with the keyboard, too.
const resized = new ResizeObserver((entries) => entries.forEach((entry) => markSides(entry.target)));

function markSides(box) {
  const beyond = box.scrollWidth - box.clientWidth;
  box.classList.toggle("more-left", box.scrollLeft > 1);
  box.classList.toggle("more-right", beyond - box.scrollLeft > 1);
  if (beyond > 1 && !box.closest("[tabindex]")) box.tabIndex = 0;
}

function watchBoxes(selector) {
  for (const box of document.querySelectorAll(selector)) {
    resized.observe(box); // reports at once, and again when a fold around the box is opened
    box.addEventListener("scroll", () => markSides(box), { passive: true });
  }
}

addEventListener("load", () => {
  watchBoxes("pre, div.wide, .pst-scrollable-table-container, [data-explorer]");
  if (window.MathJax?.startup) MathJax.startup.promise.then(() => watchBoxes("mjx-container"));
});
