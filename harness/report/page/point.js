"use strict";
// The chosen point: all its figures, and what was recorded of it over time.
(() => {
  const { data, state, change, whenever, draw, axis, plain, own, byId } = page;
  const select = byId("chosen");
  if (!select) return;
  const line = (name, colour, x, y, extra = {}) => ({ type: "scatter", mode: "lines", name: plain(name), legendgroup: name, x, y, line: { color: colour, width: 1.8 }, meta: { legend: name }, ...extra });
  const scaled = (values, by) => values.map((v) => (v === null ? null : v / by));
  const seen = (values) => values.some((v) => v !== null);
  const time = () => axis("seconds into the measured phase", [], { rangemode: "normal" });
  const span = (x0, x1, colour) => ({ type: "rect", xref: "x", yref: "paper", x0, x1, y0: 0, y1: 1, fillcolor: colour, opacity: 0.14, line: { width: 0 }, layer: "below" });
  // The warm-up, and the initial transient: neither is in a latency figure.
  const before = (x, transient) => ({ shapes: [span(Math.min(0, ...x.filter((v) => v !== null)), 0, "@c6"), ...(transient?.skipped ? [span(0, transient.skipped_s, "@c5")] : [])] });
  const place = (id, traces, layout, height, note, empty) => draw(id, { traces, layout, height, note: traces.length ? note : empty });

  function requests(point) {
    const { time_s: x, latency_ms: y, class: kind, error, warmup: early } = point.dots;
    const pick = (keep) => x.flatMap((_, i) => (keep(i) ? [i] : []));
    const dots = (indices, name, marker) => ({ type: "scatter", mode: "markers", name: plain(name), legendgroup: name, x: indices.map((i) => x[i]), y: indices.map((i) => y[i]), marker, hovertemplate: "%{y:.4~r} ms at %{x:.3~f} s<extra></extra>", meta: { legend: name } });
    const traces = point.classes.map((name, c) => dots(pick((i) => kind[i] === c && !error[i] && !early[i]), name, { color: `@c${[0, 2, 3, 4, 5][c % 5]}`, size: 4, opacity: 0.65 }));
    traces.push(dots(pick((i) => !error[i] && early[i]), "warm-up, not counted", { color: "@c6", size: 4, opacity: 0.5 }));
    traces.push(dots(pick((i) => error[i]), "error", { color: "@c1", size: 8, symbol: "x-thin-open", line: { width: 2 } }));
    const ok = y.filter((_, i) => !error[i]);
    const far = ok.length && Math.max(...ok) > 20 * Math.min(...ok);
    const shown = x.length < point.of ? `${x.length.toLocaleString("en")} of ${point.of.toLocaleString("en")} requests: the slowest and fastest of each moment, errors, and an even sample of the rest.` : `All ${point.of.toLocaleString("en")} requests.`;
    const transient = point.transient;
    const spans = transient?.skipped ? `Shaded: the warm-up in grey; then the initial transient (${transient.skipped_s.toPrecision(2)} s, ${transient.skipped.toLocaleString("en")} requests), which is in no latency figure.` : "The shaded span is the warm-up.";
    const never = transient?.never ? ` It was never steady: ${transient.never}.` : "";
    const up = { ...axis("latency, ms", []), ...(far ? { type: "log", dtick: 1, rangemode: "normal" } : {}) };
    place("raw", traces.filter((t) => t.x.length), { xaxis: time(), yaxis: up, ...before(x, transient) }, 380, `${shown} Placed at the intended send. ${spans}${never}`, "No request was recorded.");
  }

  function host(h, transient) {
    const none = "The host was not observed at this point.";
    const cores = h ? [["Triton", "@c0", h.server_cores], ["load generator", "@c1", h.client_cores], ["other processes", "@c3", h.foreign_cores], ["stolen by the hypervisor", "@c5", h.stolen_cores], ["whole host", "@c6", h.host_cores]] : [];
    const memory = h ? [["Triton", "@c0", h.server_memory_bytes], ["load generator", "@c1", h.client_memory_bytes]] : [];
    const lines = (list, by) => list.filter(([, , v]) => seen(v)).map(([name, colour, v]) => line(name, colour, h.time_s, scaled(v, by)));
    const unseen = (list) => list.filter(([, , v]) => !seen(v)).map(([name]) => `Not observed: ${name}.`).join(" ");
    place("cpu", lines(cores, 1), { xaxis: time(), yaxis: axis("cores in use", []), ...before(h?.time_s ?? [], transient) }, 300, `A core is a core-second a second; the host has ${data.cores ?? "an unknown number"}. ${unseen(cores)}`, none);
    place("memory", lines(memory, 2 ** 20), { xaxis: time(), yaxis: axis("memory, MiB", []), ...before(h?.time_s ?? [], transient) }, 300, unseen(memory), none);
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
    const layout = { grid: { rows: panels.length, columns: 1, pattern: "coupled", ygap: 0.18 }, xaxis: time(), ...before(list?.[0].time_s ?? [], transient) };
    panels.forEach(([title, fields], row) => {
      const suffix = row ? row + 1 : "";
      layout[`yaxis${suffix}`] = axis(title, []);
      list.forEach((g, i) => fields.filter(([key]) => g[key]).forEach(([key, of, dash]) => {
        const color = `@c${i % 7}`;
        traces.push(line(g.name + of, color, g.time_s, g[key], { yaxis: `y${suffix}`, connectgaps: true, line: { color, width: 1.8, dash } }));
      }));
    });
    place("gpu", traces, layout, 90 + 150 * Math.max(panels.length, 1), "Utilization is the share of time in which any kernel ran. Activity is how much of the GPU worked: its SMs (solid), its tensor cores (dashed), its memory bandwidth (dotted).", "No GPU was observed at this point.");
  }

  select.addEventListener("change", () => change("point", select.value));
  whenever((what) => {
    if (what !== "point" && what !== "all") return;
    const point = own(state.point);
    if (!point) return;
    select.value = state.point;
    const details = document.createElement("template");
    details.innerHTML = point.details; // written by harness's own template, in which all text of others is escaped
    byId("details").replaceChildren(details.content);
    requests(point);
    host(point.host, point.transient);
    gpus(point.gpu, point.transient);
  });
})();
