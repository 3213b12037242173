"use strict";
// What every part of the page stands on: the data, what the reader has chosen, and how a chart is drawn.
const page = (() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const root = document.documentElement;
  const byId = (id) => document.getElementById(id);
  const points = new Map(data.points.map((p) => [p.id, p]));

  // ---- what the reader has chosen, kept in the page's address --------------------------------------
  const usual = { point: data.chosen, percentile: data.percentile };
  const state = { filters: new Map(), ...usual };
  const listeners = [];
  const whenever = (redraw) => listeners.push(redraw);

  function write() {
    const said = new URLSearchParams();
    for (const setting of data.settings) for (const value of state.filters.get(setting.path) ?? []) said.append(setting.name, value);
    for (const key of Object.keys(usual)) if (state[key] !== usual[key]) said.set(key, state[key]);
    history.replaceState(null, "", `#${said}`);
  }

  function read() {
    const said = new URLSearchParams(location.hash.slice(1));
    state.filters.clear();
    for (const setting of data.settings) {
      const known = said.getAll(setting.name).filter((value) => setting.values.includes(value));
      if (known.length) state.filters.set(setting.path, new Set(known));
    }
    state.point = points.has(said.get("point")) ? said.get("point") : usual.point;
    state.percentile = data.percentiles.includes(said.get("percentile")) ? said.get("percentile") : usual.percentile;
  }

  function change(key, value) {
    if (key === "filters") state.filters = value;
    else state[key] = value;
    write();
    listeners.forEach((redraw) => redraw(key));
  }

  const passes = (p) => [...state.filters].every(([path, values]) => values.has(p.values[path]));
  const visible = () => data.points.filter(passes);

  // ---- charts --------------------------------------------------------------------------------------
  const drawn = {}; // chart -> how it was last drawn
  const hidden = {}; // chart -> what its legend has put away

  // The colour "@c0" is the custom property --c0 of the style sheet, in whichever theme holds now.
  const themed = (node, css) => {
    if (Array.isArray(node)) return node.some((v) => v !== null && typeof v === "object") ? node.map((v) => themed(v, css)) : node;
    if (node === null || typeof node !== "object") return node;
    return Object.fromEntries(Object.entries(node).map(([key, v]) => {
      const colour = /color$/.test(key) && typeof v === "string" && v.startsWith("@");
      return [key, colour ? css.getPropertyValue("--" + v.slice(1)).trim() : themed(v, css)];
    }));
  };
  // Plotly reads its strings as a small HTML.
  const plain = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  const digits = (value) => value.toLocaleString("en", { maximumSignificantDigits: 3 });

  // A linear axis from 0, or a logarithmic one where the values span far.
  function axis(title, values, more = {}) {
    const positive = values.filter((v) => v > 0);
    const far = positive.length > 0 && Math.max(...positive) > 20 * Math.min(...positive);
    const base = { title: { text: title }, gridcolor: "@grid", zerolinecolor: "@grid", linecolor: "@grid", automargin: true, exponentformat: "none", separatethousands: true };
    if (!far) return { ...base, rangemode: "tozero", ...more };
    const ticks = [];
    for (let d = Math.floor(Math.log10(Math.min(...positive))) - 1; d <= Math.ceil(Math.log10(Math.max(...positive))) + 1; d++) for (const m of [1, 2, 5]) ticks.push(m * 10 ** d);
    return { ...base, type: "log", tickvals: ticks, ticktext: ticks.map((t) => t.toLocaleString("en", { maximumFractionDigits: 10 })), ...more };
  }

  // Draws, or hides the plot and says why there is nothing to draw.
  function draw(id, { traces, layout = {}, height = 420, note = "" }) {
    const place = byId(id);
    if (!place) return;
    drawn[id] = () => draw(id, { traces, layout, height, note });
    byId(`${id}-note`).textContent = note;
    place.hidden = traces.length === 0;
    hidden[id] ??= new Set();
    const css = getComputedStyle(root);
    if (traces.length) {
      const shown = traces.map((t) => ({ ...themed(t, css), showlegend: false, visible: !hidden[id].has(t.legendgroup) }));
      const whole = themed({
        margin: { l: 64, r: 16, t: 30, b: 48 }, hovermode: "closest", ...layout, height,
        paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
        font: { family: getComputedStyle(document.body).fontFamily, size: 12.5, color: "@ink" },
        modebar: { bgcolor: "rgba(0,0,0,0)", color: "@faint", activecolor: "@ink" },
        hoverlabel: { align: "left", bgcolor: "@panel", bordercolor: "@grid", font: { color: "@ink" } },
      }, css);
      place.style.height = height + "px";
      Plotly.react(place, shown, whole, { responsive: true, displayModeBar: "hover", displaylogo: false, modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]] });
      if (!place.opens) {
        place.opens = true; // a mark opens its point's details
        place.on("plotly_click", (event) => event.points[0]?.customdata && open(event.points[0].customdata));
      }
    }
    legend(id, traces);
  }

  // In HTML below the chart: it can never cover data, it wraps, and a keyboard reaches it.
  function legend(id, traces) {
    const groups = new Map(traces.filter((t) => t.meta?.legend).map((t) => [t.legendgroup, t]));
    const place = document.querySelector(`.legend[data-for="${id}"]`);
    place?.replaceChildren(...[...groups].map(([group, trace]) => {
      const button = document.createElement("button");
      button.type = "button";
      button.setAttribute("aria-pressed", String(!hidden[id].has(group)));
      button.append(swatch(trace), trace.meta.legend);
      button.addEventListener("click", () => {
        if (!hidden[id].delete(group)) hidden[id].add(group);
        drawn[id]();
      });
      return button;
    }));
  }

  function swatch(trace) {
    const make = (name, attributes) => {
      const element = document.createElementNS("http://www.w3.org/2000/svg", name);
      for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
      return element;
    };
    const svg = make("svg", { width: 26, height: 12, "aria-hidden": "true" });
    const colour = `var(--${(trace.line?.color ?? trace.marker.color).slice(1)})`;
    const dash = { dash: "6 4", dot: "2 3", dashdot: "6 3 2 3", longdash: "9 4" }[trace.line?.dash] ?? "";
    if (trace.type === "bar" || trace.mode === "markers") svg.append(make("rect", { x: 7, y: 1, width: 11, height: 10, rx: 2, style: `fill:${colour}` }));
    else svg.append(make("line", { x1: 0, x2: 26, y1: 6, y2: 6, "stroke-width": 2.5, "stroke-dasharray": dash, style: `stroke:${colour}` }));
    return svg;
  }

  // ---- one point -----------------------------------------------------------------------------------
  const read_once = new Map();
  function own(id) {
    if (!read_once.has(id)) {
      const script = byId(`point-${id}`);
      read_once.set(id, script ? JSON.parse(script.textContent) : null);
    }
    return read_once.get(id);
  }

  function open(id) {
    change("point", id);
    byId("point").scrollIntoView();
    byId("chosen")?.focus({ preventScroll: true });
  }

  const redraw = () => Object.values(drawn).forEach((again) => again());

  function start() {
    whenever(() => (byId("percentile").value = state.percentile));
    const again = () => {
      read();
      listeners.forEach((listener) => listener("all"));
    };
    again();
    addEventListener("hashchange", () => byId(location.hash.slice(1)) ?? again()); // else it is a place on the page
    // Links to places on the page leave the address to what is chosen.
    document.querySelectorAll('nav a[href^="#"]').forEach((link) => link.addEventListener("click", (event) => {
      event.preventDefault();
      byId(link.hash.slice(1)).scrollIntoView();
    }));
    byId("percentile").addEventListener("change", (event) => change("percentile", event.target.value));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
    // Paper is light, and as wide as the style sheet's A4 landscape.
    const printing = (on) => {
      root.classList.toggle("print", on);
      listeners.forEach((listener) => listener("width"));
      redraw();
      document.querySelectorAll(".js-plotly-plot").forEach((plot) => Plotly.relayout(plot, { width: on ? plot.clientWidth : null, autosize: !on }));
    };
    addEventListener("beforeprint", () => printing(true));
    addEventListener("afterprint", () => printing(false));
    let columns = null;
    addEventListener("resize", () => {
      const now = innerWidth < 700 ? 1 : innerWidth < 1050 ? 2 : 3;
      if (columns !== now) listeners.forEach((listener) => listener("width"));
      columns = now;
    });
  }

  return { data, points, state, change, whenever, visible, passes, draw, axis, plain, digits, own, open, start, byId };
})();
