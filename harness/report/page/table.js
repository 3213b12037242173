"use strict";
// The tables: rows of what the filters show, sorted by a heading, each opening its point.
(() => {
  const { data, points, state, passes, open, whenever, byId } = page;
  const table = byId("points-table");

  function sortable() {
    const headings = [...table.tHead.rows[0].cells];
    headings.forEach((heading, column) => heading.firstElementChild.addEventListener("click", () => {
      const down = heading.getAttribute("aria-sort") === "ascending";
      headings.forEach((h) => h.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", down ? "descending" : "ascending");
      table.classList.add("sorted"); // no longer a workload after the other
      const key = (tr) => tr.cells[column].dataset.order;
      const rows = [...table.tBodies[0].rows].sort((a, b) => {
        const [p, q] = [key(a), key(b)];
        if (p === "" || q === "") return (p === "") - (q === ""); // what is not known goes last either way
        return (down ? -1 : 1) * (isNaN(p) || isNaN(q) ? p.localeCompare(q) : p - q);
      });
      table.tBodies[0].append(...rows);
    }));
  }

  const rows = [...document.querySelectorAll("tr[data-id]")];
  const few = data.listed === null ? null : new Set(data.listed); // of very many, until more are asked for
  let all = few === null;
  function list() {
    for (const row of rows) {
      const hidden = !passes(points.get(row.dataset.id)) || !(all || state.filters.size || few.has(row.dataset.id));
      if (row.hidden !== hidden) row.hidden = hidden;
    }
    if (byId("listed")) byId("listed").hidden = all || state.filters.size > 0;
  }
  byId("listed")?.querySelector("button").addEventListener("click", () => {
    all = true;
    list();
  });
  whenever((what) => {
    if (what === "filters" || what === "all") list();
    if (what === "point" || what === "all") for (const row of table.tBodies[0].rows) row.classList.toggle("chosen", row.dataset.id === state.point);
  });
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button[data-open]");
    if (button) open(button.dataset.open);
  });
  sortable();
})();
