"use strict";
// Filters that the table, the charts and the heat maps share: no value pressed is all values.
(() => {
  const { data, state, change, visible, whenever, byId } = page;
  const place = byId("filters");
  if (!place || data.settings.length === 0) return;
  const buttons = [];

  for (const setting of data.settings) {
    const group = document.createElement("div");
    group.setAttribute("role", "group");
    group.setAttribute("aria-label", `Filter by ${setting.name}`);
    const name = document.createElement("span");
    name.textContent = setting.name;
    group.append(name, ...setting.values.map((value) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = value;
      button.addEventListener("click", () => toggle(setting.path, value));
      buttons.push([button, setting.path, value]);
      return button;
    }));
    place.append(group);
  }
  const reset = document.createElement("button");
  reset.type = "button";
  reset.className = "reset";
  reset.textContent = "Show all";
  reset.addEventListener("click", () => change("filters", new Map()));
  const count = byId("count");
  place.append(reset);

  function toggle(path, value) {
    const filters = new Map([...state.filters].map(([key, values]) => [key, new Set(values)]));
    const values = filters.get(path) ?? new Set();
    if (!values.delete(value)) values.add(value);
    if (values.size) filters.set(path, values);
    else filters.delete(path);
    change("filters", filters);
  }

  whenever((what) => {
    if (what !== "filters" && what !== "all") return;
    for (const [button, path, value] of buttons) button.setAttribute("aria-pressed", String(state.filters.get(path)?.has(value) ?? false));
    const shown = visible().length;
    reset.hidden = state.filters.size === 0;
    count.textContent = state.filters.size ? `${shown} of ${data.points.length} points` : "";
  });
})();
