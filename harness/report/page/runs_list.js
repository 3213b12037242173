"use strict";
// The list of runs: what passes the filters, a page of it at a time. The address keeps the filters and the page.
(() => {
  const A_PAGE = 100;
  const { columns, numeric, filtered, badge, rows } = listed; // runs.js
  const [RUN, SCENARIO, OUTCOME] = ["run", "scenario", "outcome"].map((title) => columns.indexOf(title));
  const [HREF, SCENARIO_PAGE] = [columns.length, columns.length + 1];
  const count = (many) => many.toLocaleString("en");
  const byId = (id) => document.getElementById(id);
  const inputs = new Map([...document.querySelectorAll("[data-filter]")].map((input) => [input.dataset.filter, input]));
  const reset = document.querySelector("#filters .reset");
  const body = byId("runs-table").tBodies[0];
  const texts = rows.map((row) => row.slice(0, columns.length).join("\n").toLowerCase());
  let chosen = new Map();
  let page = 0;

  for (const name of filtered) {
    const column = columns.indexOf(name);
    const values = [...new Set(rows.map((row) => row[column]))].sort((a, b) => a.localeCompare(b));
    inputs.get(name).append(...values.map((value) => new Option(value, value)));
    inputs.get(name).parentElement.hidden = values.length < 2;
  }

  function read() {
    const said = new URLSearchParams(location.hash.slice(1));
    chosen = new Map();
    for (const [name, input] of inputs) {
      input.value = said.get(name) ?? ""; // a choice that isn't there stays empty
      if (input.value) chosen.set(name, input.value);
    }
    page = Math.max(0, (parseInt(said.get("page"), 10) || 1) - 1);
  }

  function write() {
    const said = new URLSearchParams([...chosen]);
    if (page > 0) said.set("page", page + 1);
    history.replaceState(null, "", `#${said}`);
  }

  function passing() {
    const wanted = filtered.filter((name) => chosen.has(name)).map((name) => [columns.indexOf(name), chosen.get(name)]);
    const words = (chosen.get("text") ?? "").toLowerCase().split(/\s+/).filter(Boolean);
    const since = chosen.get("since") ?? "";
    return rows.filter((row, i) => row[0] >= since && wanted.every(([column, value]) => row[column] === value) && words.every((word) => texts[i].includes(word)));
  }

  function cell(row, column) {
    const made = document.createElement(column === RUN ? "th" : "td");
    if (column === RUN) made.scope = "row";
    if (numeric[column]) made.className = "numeric";
    const href = column === RUN ? row[HREF] : column === SCENARIO ? row[SCENARIO_PAGE] : null;
    const inner = href ? document.createElement("a") : column === OUTCOME ? document.createElement("span") : made;
    if (href) inner.href = href;
    if (column === OUTCOME) inner.className = `badge ${badge[row[column]]}`;
    inner.textContent = row[column];
    if (inner !== made) made.append(inner);
    return made;
  }

  function show() {
    const found = passing();
    const pages = Math.max(1, Math.ceil(found.length / A_PAGE));
    page = Math.min(page, pages - 1);
    const first = page * A_PAGE;
    const shown = found.slice(first, first + A_PAGE);
    body.replaceChildren(...shown.map((row) => {
      const line = document.createElement("tr");
      line.append(...columns.map((_, column) => cell(row, column)));
      return line;
    }));
    byId("count").textContent = `${count(found.length)} of ${count(rows.length)} runs`;
    byId("page").textContent = `${count(first + 1)}–${count(first + shown.length)} of ${count(found.length)}`;
    byId("newer").disabled = page === 0;
    byId("older").disabled = page === pages - 1;
    document.querySelector(".pages").hidden = pages === 1;
    reset.hidden = chosen.size === 0;
  }

  function change(to) {
    page = to;
    write();
    show();
  }

  for (const [name, input] of inputs) input.addEventListener("input", () => {
    if (input.value) chosen.set(name, input.value);
    else chosen.delete(name);
    change(0);
  });
  reset.addEventListener("click", () => {
    for (const input of inputs.values()) input.value = "";
    chosen.clear();
    change(0);
  });
  byId("newer").addEventListener("click", () => change(page - 1));
  byId("older").addEventListener("click", () => change(page + 1));
  addEventListener("hashchange", () => {
    read();
    show();
  });
  byId("filters").hidden = false;
  read();
  show();
})();
