// Folds that belong together, and the ledger's table. The page is whole without it.
addEventListener("DOMContentLoaded", () => {
  // A prediction is answered by outputs and by words: opening one opens the others.
  for (const answer of document.querySelectorAll("details.answer")) {
    const outputs = document.querySelectorAll(`.tag_answer-${answer.dataset.answer} > details.hide`);
    const group = [answer, ...outputs];
    for (const one of group) {
      one.addEventListener("toggle", () => group.forEach((other) => (other.open = one.open)));
    }
  }
  document.querySelectorAll("table.sortable").forEach(makeSortable);
});

// Paper cannot be unfolded.
let opened = [];
addEventListener("beforeprint", () => {
  opened = [...document.querySelectorAll(".bd-article details:not([open])")];
  for (const fold of opened) fold.open = true;
});
addEventListener("afterprint", () => {
  for (const fold of opened) fold.open = false;
});

function makeSortable(table) {
  const body = table.tBodies[0];
  const rows = [...body.rows];
  [...table.tHead.rows[0].cells].forEach((heading, column) => {
    const button = document.createElement("button");
    button.textContent = heading.textContent;
    heading.replaceChildren(button);
    button.addEventListener("click", () => {
      const order = heading.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending";
      for (const other of heading.parentNode.cells) other.removeAttribute("aria-sort");
      heading.setAttribute("aria-sort", order);
      const sign = order === "ascending" ? 1 : -1;
      const text = (row) => row.cells[column].textContent;
      rows.sort((a, b) => sign * text(a).localeCompare(text(b), "en", { numeric: true }));
      body.append(...rows);
    });
  });
  const label = document.createElement("label");
  const field = document.createElement("input");
  label.className = "filter";
  label.append("Show rows with ", field);
  field.type = "search";
  field.addEventListener("input", () => {
    for (const row of rows) row.hidden = !row.textContent.toLowerCase().includes(field.value.toLowerCase());
  });
  table.parentNode.before(label);
}
