"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const root = document.documentElement;
  const byId = (id) => document.getElementById(id);
  const hidden = {}; // chart -> legend groups that the reader, or the chart itself, has put away
  const drawn = {}; // chart -> what was last drawn there

  // The colour "@c0" is the custom property --c0 of the style sheet, in whichever theme holds now.
  const themed = (node, css) => {
    if (Array.isArray(node)) return node.some((v) => v !== null && typeof v === "object") ? node.map((v) => themed(v, css)) : node;
    if (node === null || typeof node !== "object") return node;
    return Object.fromEntries(Object.entries(node).map(([key, v]) => {
      const colour = /color$/.test(key) && typeof v === "string" && v.startsWith("@");
      return [key, colour ? css.getPropertyValue("--" + v.slice(1)).trim() : themed(v, css)];
    }));
  };

  const axis = (given) => ({ gridcolor: "@grid", zerolinecolor: "@grid", linecolor: "@grid", automargin: true, exponentformat: "none", separatethousands: true, ...given });

  function draw(id, chart) {
    const place = byId(id);
    drawn[id] = chart;
    hidden[id] ??= new Set(chart.traces.filter((t) => t.meta?.hidden).map((t) => t.legendgroup));
    const percentile = byId("percentile").value;
    const css = getComputedStyle(root);
    const traces = chart.traces.map((t) => ({
      ...themed(t, css), showlegend: false,
      visible: !hidden[id].has(t.legendgroup) && (!t.meta?.percentile || t.meta.percentile === percentile),
    }));
    const chosen = chart.percentiles?.[percentile];
    const layout = { margin: { l: 64, r: 16, t: 30, b: 48 }, hovermode: "closest", ...chart.layout };
    if (chosen) {
      layout.yaxis = chosen.yaxis;
      byId(`${id}-absent`).textContent = absent(chosen.absent, percentile);
    }
    for (const key of Object.keys(layout)) if (/^[xy]axis/.test(key)) layout[key] = axis(layout[key]);
    const whole = themed({
      ...layout, height: chart.height, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: getComputedStyle(document.body).fontFamily, size: 12.5, color: "@ink" },
      modebar: { bgcolor: "rgba(0,0,0,0)", color: "@faint", activecolor: "@ink" },
      hoverlabel: { align: "left", bgcolor: "@panel", bordercolor: "@grid", font: { color: "@ink" } },
    }, css);
    place.style.height = chart.height + "px";
    Plotly.react(place, traces, whole, { responsive: true, displayModeBar: "hover", displaylogo: false, modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]] });
    legend(id, chart, percentile);
  }

  const called = (percentile) => percentile.replace(/^(p\d\d)(\d+)$/, "$1.$2");

  function absent(points, percentile) {
    if (points.length === 0) return "";
    const more = points.length > 3 ? ` and ${points.length - 3} more` : "";
    return `Without a ${called(percentile)}, because the sample can't support one, and so not drawn: ${points.slice(0, 3).join("; ")}${more}.`;
  }

  // In HTML below the chart: it can never cover data, it wraps, and a keyboard reaches it.
  function legend(id, chart, percentile) {
    const groups = new Map();
    for (const t of chart.traces) {
      if (t.meta?.percentile && t.meta.percentile !== percentile) continue;
      if (t.meta?.legend && !groups.has(t.legendgroup)) groups.set(t.legendgroup, t);
    }
    const place = document.querySelector(`.legend[data-for="${id}"]`);
    place.replaceChildren(...[...groups].map(([group, trace]) => {
      const button = document.createElement("button");
      button.type = "button";
      button.setAttribute("aria-pressed", String(!hidden[id].has(group)));
      button.append(swatch(trace), trace.meta.legend);
      button.addEventListener("click", () => {
        if (!hidden[id].delete(group)) hidden[id].add(group);
        draw(id, chart);
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
    const given = trace.line?.color ?? trace.marker.color;
    const colour = `var(--${given.slice(1)})`;
    const dash = { dash: "6 4", dot: "2 3", dashdot: "6 3 2 3", longdash: "9 4" }[trace.line?.dash] ?? "";
    if (trace.type === "bar" || trace.mode === "markers") svg.append(make("rect", { x: 7, y: 1, width: 11, height: 10, rx: 2, style: `fill:${colour}` }));
    else svg.append(make("line", { x1: 0, x2: 26, y1: 6, y2: 6, "stroke-width": 2.5, "stroke-dasharray": dash, style: `stroke:${colour}` }));
    return svg;
  }

  // ---- the chosen point -----------------------------------------------------------------------------
  const line = (name, colour, x, y, extra = {}) => ({ type: "scatter", mode: "lines", name, legendgroup: name, x, y, line: { color: colour, width: 1.8 }, meta: { legend: name }, ...extra });
  const scaled = (values, by) => values.map((v) => (v === null ? null : v / by));
  const seen = (values) => values.some((v) => v !== null);
  const time = { title: { text: "seconds into the measured phase" } };
  const span = (x0, x1, colour) => ({ type: "rect", xref: "x", yref: "paper", x0, x1, y0: 0, y1: 1, fillcolor: colour, opacity: 0.14, line: { width: 0 }, layer: "below" });
  // The warm-up, and the initial transient: neither is in a latency figure.
  const before = (x, transient) => ({ shapes: [span(Math.min(0, ...x.filter((v) => v !== null)), 0, "@c6"), ...(transient?.skipped ? [span(0, transient.skipped_s, "@c5")] : [])] });

  // Draws, or says in the note why there is nothing to draw.
  function own(id, traces, layout, height, note, empty) {
    byId(id).hidden = traces.length === 0;
    byId(`${id}-note`).textContent = traces.length ? note : empty;
    if (traces.length) return draw(id, { traces, layout, height });
    delete drawn[id];
    document.querySelector(`.legend[data-for="${id}"]`).replaceChildren();
  }

  function requests(point) {
    const { time_s: x, latency_ms: y, class: kind, error, warmup: early } = point.dots;
    const pick = (keep) => x.flatMap((_, i) => (keep(i) ? [i] : []));
    const dots = (indices, name, marker) => ({ type: "scatter", mode: "markers", name, legendgroup: name, x: indices.map((i) => x[i]), y: indices.map((i) => y[i]), marker, hovertemplate: "%{y:.4~r} ms at %{x:.3~f} s<extra></extra>", meta: { legend: name } });
    const traces = point.classes.map((name, c) => dots(pick((i) => kind[i] === c && !error[i] && !early[i]), name, { color: `@c${[0, 2, 3, 4, 5][c % 5]}`, size: 4, opacity: 0.65 }));
    traces.push(dots(pick((i) => !error[i] && early[i]), "warm-up, not counted", { color: "@c6", size: 4, opacity: 0.5 }));
    traces.push(dots(pick((i) => error[i]), "error", { color: "@c1", size: 8, symbol: "x-thin-open", line: { width: 2 } }));
    const ok = y.filter((_, i) => !error[i]);
    const far = ok.length && Math.max(...ok) > 20 * Math.min(...ok);
    const shown = x.length < point.of ? `${x.length.toLocaleString("en")} of ${point.of.toLocaleString("en")} requests: the slowest and fastest of each moment, errors, and an even sample of the rest.` : `All ${point.of.toLocaleString("en")} requests.`;
    const transient = point.transient;
    const spans = transient?.skipped ? `Shaded: the warm-up in grey; then the initial transient (${transient.skipped_s.toPrecision(2)} s, ${transient.skipped.toLocaleString("en")} requests), which is in no latency figure.` : "The shaded span is the warm-up.";
    const never = transient?.never ? ` It was never steady: ${transient.never}.` : "";
    own("raw", traces.filter((t) => t.x.length), { xaxis: time, yaxis: { title: { text: "latency, ms" }, ...(far ? { type: "log", dtick: 1 } : { rangemode: "tozero" }) }, ...before(x, transient) }, 380, `${shown} Placed at the intended send. ${spans}${never}`, "No request was recorded.");
  }

  function host(h, transient) {
    const none = "The host was not observed at this point.";
    const cores = h ? [["Triton", "@c0", h.server_cores], ["load generator", "@c1", h.client_cores], ["other processes", "@c3", h.foreign_cores], ["stolen by the hypervisor", "@c5", h.stolen_cores], ["whole host", "@c6", h.host_cores]] : [];
    const memory = h ? [["Triton", "@c0", h.server_memory_bytes], ["load generator", "@c1", h.client_memory_bytes]] : [];
    const lines = (list, by) => list.filter(([, , v]) => seen(v)).map(([name, colour, v]) => line(name, colour, h.time_s, scaled(v, by)));
    const unseen = (list) => list.filter(([, , v]) => !seen(v)).map(([name]) => `Not observed: ${name}.`).join(" ");
    own("cpu", lines(cores, 1), { xaxis: time, yaxis: { title: { text: "cores in use" }, rangemode: "tozero" }, ...before(h?.time_s ?? [], transient) }, 300, `A core is a core-second a second; the host has ${data.cores ?? "an unknown number"}. ${unseen(cores)}`, none);
    own("memory", lines(memory, 2 ** 20), { xaxis: time, yaxis: { title: { text: "memory, MiB" }, rangemode: "tozero" }, ...before(h?.time_s ?? [], transient) }, 300, unseen(memory), none);
  }

  function gpus(list, transient) {
    const panels = [
      ["utilization, %", [["utilization", "", "solid"]]],
      ["activity, %", [["sm_activity", "", "solid"], ["tensor_activity", ": tensor cores", "dash"], ["dram_activity", ": memory bandwidth", "dot"]]],
      ["power, W", [["power_w", "", "solid"]]],
      ["memory, GiB", [["memory_bytes", "", "solid"]]],
      ["SM clock, MHz", [["sm_clock_hz", "", "solid"]]],
    ].filter(([, fields]) => list?.some((g) => fields.some(([key]) => g[key])));
    const traces = [];
    const layout = { grid: { rows: panels.length, columns: 1, pattern: "coupled", ygap: 0.18 }, xaxis: time, ...before(list?.[0].time_s ?? [], transient) };
    panels.forEach(([title, fields], row) => {
      const suffix = row ? row + 1 : "";
      layout[`yaxis${suffix}`] = { title: { text: title }, rangemode: "tozero" };
      list.forEach((g, i) => fields.filter(([key]) => g[key]).forEach(([key, of, dash]) => {
        const color = `@c${i % 7}`;
        traces.push(line(g.name + of, color, g.time_s, g[key], { yaxis: `y${suffix}`, connectgaps: true, line: { color, width: 1.8, dash } }));
      }));
    });
    own("gpu", traces, layout, 90 + 150 * Math.max(panels.length, 1), "Utilization is the share of time in which any kernel ran. Activity is how much of the GPU worked: its SMs (solid), its tensor cores (dashed), its memory bandwidth (dotted).", "No GPU was observed at this point.");
  }

  function choose() {
    const point = data.points[byId("chosen").value];
    byId("details").replaceChildren(byId(`details-${byId("chosen").value}`).content.cloneNode(true));
    requests(point);
    host(point.host, point.transient);
    gpus(point.gpu, point.transient);
  }

  // ---- table ----------------------------------------------------------------------------------------
  function sortable(table) {
    const headings = [...table.tHead.rows[0].cells];
    headings.forEach((heading, column) => heading.firstElementChild.addEventListener("click", () => {
      const down = heading.getAttribute("aria-sort") === "ascending";
      headings.forEach((h) => h.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", down ? "descending" : "ascending");
      const key = (tr) => tr.cells[column].dataset.order;
      const rows = [...table.tBodies[0].rows].sort((a, b) => {
        const [p, q] = [key(a), key(b)];
        if (p === "" || q === "") return (p === "") - (q === ""); // what is not known goes last either way
        return (down ? -1 : 1) * (isNaN(p) || isNaN(q) ? p.localeCompare(q) : p - q);
      });
      table.tBodies[0].append(...rows);
    }));
  }

  const redraw = () => Object.entries(drawn).forEach(([id, chart]) => draw(id, chart));
  Object.entries(data.charts).forEach(([id, chart]) => draw(id, chart));
  byId("percentile").addEventListener("change", redraw);
  if (byId("chosen")) {
    byId("chosen").addEventListener("change", choose);
    choose();
  }
  sortable(byId("points-table"));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);

  // Paper is light, and as wide as the style sheet's A4 landscape.
  const printing = (on) => {
    root.classList.toggle("print", on);
    redraw();
    document.querySelectorAll(".js-plotly-plot").forEach((plot) => Plotly.relayout(plot, { width: on ? plot.clientWidth : null, autosize: !on }));
  };
  addEventListener("beforeprint", () => printing(true));
  addEventListener("afterprint", () => printing(false));
})();
