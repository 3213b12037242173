"use strict";
// The charts of all points: small multiples by workload, heat maps of settings, and what one configuration does.
(() => {
  const { data, points, state, visible, whenever, draw, axis, plain, digits, own, open, byId } = page;
  const MOST_PANELS = 12, MOST_NAMES = 4, MOST_LABELS = 12, MOST_CURVES = 7, MOST_BARS = 24;
  const COLOURS = ["@c0", "@c1", "@c2", "@c3", "@c4", "@c5"];
  const SYMBOLS = { inconclusive: "diamond-open", invalid: "x-thin-open" };
  const title = () => data.titles[state.percentile];

  const value = (p) => p.latency[state.percentile]?.[0] ?? null;
  const holds = (p) => p.throughput !== null && values_good(p) && (p.standing === "met" || p.standing === "none");
  const values_good = (p) => p.values.verdict === "valid";

  function hover(p) {
    const known = p.latency[state.percentile], low = p.at_least[state.percentile];
    const between = (low_, high) => (low_ === null || low_ === undefined ? "" : ` (${digits(low_)}–${digits(high)})`);
    const said = known ? `${title()} ${digits(known[0])} ms${between(known[1], known[2])}` : low ? `${title()} ≥ ${digits(low[0])} ms (sample ${digits(low[1])})` : `no ${title()}`;
    const lines = [`<b>${plain(p.words)}</b>`, said];
    if (p.throughput !== null) lines.push(`${digits(p.throughput)} inferences/s${p.interval ? between(...p.interval) : ""}`);
    if (p.bottleneck) lines.push(`bottleneck: ${plain(p.bottleneck)}`);
    if (p.standing !== "none") lines.push(`objective: ${{ met: "met", missed: "missed", unknown: "can't tell" }[p.standing]}`);
    if (!values_good(p)) lines.push(p.values.verdict, ...p.reasons.map(plain));
    return lines.join("<br>");
  }

  const bars = (list, at, ends) => ({
    type: "data", symmetric: false, thickness: 1, width: 3,
    array: list.map((p) => (ends(p)?.[1] === undefined || ends(p)[1] === null ? null : Math.max(ends(p)[1] - at(p), 0))),
    arrayminus: list.map((p) => (ends(p)?.[0] === undefined || ends(p)[0] === null ? null : Math.max(at(p) - ends(p)[0], 0))),
  });
  // A list of marks; null is a gap in its line.
  const marks = (list, at, extra) => ({
    type: "scatter", connectgaps: false, x: list.map((p) => p && p.throughput), y: list.map((p) => p && at(p)),
    hovertext: list.map((p) => (p ? hover(p) : "")), hoverinfo: "text", customdata: list.map((p) => p && p.id), ...extra,
  });

  // No other valid point has both more throughput and a lower latency.
  function front(list) {
    const known = list.filter((p) => values_good(p) && p.throughput !== null && value(p) !== null);
    known.sort((a, b) => b.throughput - a.throughput || value(a) - value(b));
    let lowest = Infinity;
    return known.filter((p) => value(p) < lowest && ((lowest = value(p)), true)).reverse();
  }

  const grouped = (list, key) => {
    const groups = new Map();
    for (const p of list) groups.set(key(p), [...(groups.get(key(p)) ?? []), p]);
    return groups;
  };
  const by_load = (a, b) => (a.size ?? 0) - (b.size ?? 0);

  function panel(list, workload, suffix) {
    const on = { xaxis: `x${suffix}`, yaxis: `y${suffix}` };
    const measured = list.filter((p) => p.throughput !== null);
    const lines = [...grouped(measured, (p) => p.configuration).values()].map((line) => line.sort(by_load));
    const muted = lines.flatMap((line) => [...line.map((p) => (values_good(p) ? p : null)), null]);
    const best = points.get(workload.best), traces = [], notes = [];
    const add = (part, at, extra) => part.some((p) => p && at(p) !== null) && traces.push({ ...marks(part, at, extra), ...on });
    add(muted, value, { name: "configurations", mode: "lines+markers", line: { color: "@c6", width: 1 }, marker: { color: "@c6", size: 5 }, opacity: 0.5 });
    const spoilt = measured.filter((p) => !values_good(p));
    add(spoilt, value, { name: "not valid", mode: "markers", marker: { color: "@c6", size: 8, symbol: spoilt.map((p) => SYMBOLS[p.values.verdict]), line: { color: "@c6", width: 1.5 } } });
    add(measured.filter((p) => p.at_least[state.percentile]), (p) => p.at_least[state.percentile][0], { name: "at least", mode: "markers", marker: { color: "@c6", size: 8, symbol: "triangle-up-open" } });
    const edge = front(measured);
    add(edge, value, {
      name: "front", mode: edge.length <= MOST_LABELS ? "lines+markers+text" : "lines+markers", text: edge.map((p) => plain(p.load)), textposition: "top left", textfont: { size: 11 },
      line: { color: "@c0", width: 2.5 }, marker: { color: "@c0", size: 8 }, error_x: bars(edge, (p) => p.throughput, (p) => p.interval), error_y: bars(edge, value, (p) => p.latency[state.percentile]?.slice(1)),
    });
    if (best && list.includes(best) && best.throughput !== null) {
      const at = (p) => value(p) ?? p.at_least[state.percentile]?.[0] ?? null;
      add([best], at, { name: "best", mode: "markers", marker: { color: "@c1", size: 17, symbol: "circle-open", line: { color: "@c1", width: 2.5 } } });
    }
    const limit = data.limits[state.percentile];
    if (limit !== undefined && measured.length) {
      const far = Math.max(...measured.map((p) => p.throughput)), near = Math.min(...measured.map((p) => p.throughput));
      const said = `objective: ${title()} ≤ ${digits(limit)} ms`;
      traces.push({ type: "scatter", mode: "lines", name: "objective", x: [far > 20 * near ? near : 0, far], y: [limit, limit], line: { color: "@ink", dash: "longdash", width: 1 }, hovertext: said, hoverinfo: "text", ...on });
    }
    // A few lines have their names at their ends; many are read by pointing at them.
    if (lines.length > 1 && lines.length <= MOST_NAMES) {
      for (const line of lines) {
        const last = line.filter((p) => values_good(p) && value(p) !== null).at(-1);
        if (last) notes.push({ point: last, text: plain(data.configurations[last.configuration]) });
      }
    }
    return { traces, notes, measured };
  }

  function curves(shown) {
    const groups = grouped(shown, (p) => p.workload);
    const panels = [...groups].slice(0, MOST_PANELS);
    const width = byId("curve")?.parentElement.clientWidth ?? 1000;
    const columns = Math.min(panels.length, width < 700 ? 1 : panels.length <= 2 || width < 1000 ? 2 : 3) || 1;
    const rows = Math.ceil(panels.length / columns) || 1;
    const tall = panels.length === 1 ? 420 : 290, height = rows * tall + 30;
    const layout = { annotations: [], margin: { l: 60, r: 20, t: 34, b: 48 } };
    const traces = [];
    panels.forEach(([index, list], i) => {
      const suffix = i ? i + 1 : "", column = i % columns, row = Math.floor(i / columns);
      const made = panel(list, data.workloads[index], suffix);
      traces.push(...made.traces);
      const gap = columns > 1 ? 0.075 : 0, across = (1 - gap * (columns - 1)) / columns;
      const between = rows > 1 ? 0.33 / rows : 0, down = (1 - between * (rows - 1)) / rows;
      const x = [column * (across + gap), column * (across + gap) + across], y = [1 - row * (down + between) - down, 1 - row * (down + between)];
      const ys = made.traces.flatMap((t) => t.y).filter((v) => v !== null);
      const x_axis = axis("throughput, inferences/s", made.measured.map((p) => p.throughput), { domain: x, anchor: `y${suffix}` });
      const y_axis = axis(column ? "" : `${title()} latency, ms`, ys, { domain: y.map((v) => Math.min(Math.max(v, 0), 1)), anchor: `x${suffix}` });
      layout[`xaxis${suffix}`] = x_axis;
      layout[`yaxis${suffix}`] = y_axis;
      const name = data.workloads[index].name;
      if (name) layout.annotations.push({ text: `<b>${plain(name)}</b>`, xref: "paper", yref: "paper", x: x[0], y: y[1], xanchor: "left", yanchor: "bottom", yshift: 6, showarrow: false });
      for (const { point, text } of made.notes) {
        const at = (v, given) => (given.type === "log" ? Math.log10(v) : v);
        layout.annotations.push({ text, xref: `x${suffix}`, yref: `y${suffix}`, x: at(point.throughput, x_axis), y: at(value(point), y_axis), xanchor: "right", yanchor: "top", yshift: -6, showarrow: false, bgcolor: "@paper", borderpad: 1, font: { size: 11, color: "@faint" } });
      }
    });
    const without = shown.filter((p) => value(p) === null && !p.at_least[state.percentile]);
    const rest = groups.size > MOST_PANELS ? ` ${MOST_PANELS} of ${groups.size} workloads are drawn: choose others by the filters.` : "";
    const note = shown.length === 0 ? "No point passes the filters." : traces.length === 0 ? "No request succeeded at any point." :
      `Blue: the points that no other beats in both, each with its load. Ringed: the best. Grey: all others, a line for each configuration in order of load; diamonds are inconclusive, crosses invalid, triangles what a latency is at least. Bars are 95% intervals. Point at a mark to read it, click it for all of its figures.${rest}`;
    draw("curve", { traces, layout, height, note });
    byId("curve-absent").textContent = absent(without);
  }

  function absent(list) {
    if (list.length === 0) return "";
    const more = list.length > 3 ? ` and ${list.length - 3} more` : "";
    return `Without a ${title()}, because the sample can't support one, and so not drawn: ${list.slice(0, 3).map((p) => p.words).join("; ")}${more}.`;
  }

  // ---- heat maps: a table for each workload, which a keyboard and a screen reader can walk -----------
  const chosen = data.settings.filter((s) => s.role === "configuration");
  function heat(shown) {
    const place = byId("heat-maps");
    if (!place) return;
    const across = chosen.find((s) => s.path === byId("across").value), down = chosen.find((s) => s.path === byId("down")?.value && s !== across);
    const groups = [...grouped(shown, (p) => p.workload)].slice(0, MOST_PANELS);
    place.replaceChildren(...groups.map(([index, list]) => heat_map(data.workloads[index], list, across, down)));
  }

  const rank = (p, rule) => (rule === "knee" ? p.throughput / p.mean : p.throughput);
  function heat_map(workload, list, across, down) {
    const make = (name, text, more = {}) => Object.assign(document.createElement(name), { textContent: text, ...more });
    const table = make("table", "");
    table.append(make("caption", workload.name || "all points"));
    const at = (column, row) => list.filter((p) => p.values[across.path] === column && (!down || p.values[down.path] === row));
    const top = (found) => found.filter(holds).reduce((a, b) => (a && rank(a, workload.rule) >= rank(b, workload.rule) ? a : b), null);
    const rows = down ? down.values : [""];
    const best = rows.map((row) => across.values.map((column) => top(at(column, row))));
    const known = best.flat().filter(Boolean).map((p) => p.throughput);
    const [least, most] = [Math.min(...known), Math.max(...known)];
    const head = table.createTHead().insertRow();
    head.append(make("th", down ? `${down.name} ↓  ${across.name} →` : across.name, { scope: "col" }), ...across.values.map((v) => make("th", v, { scope: "col" })));
    rows.forEach((row, r) => {
      const line = table.tBodies[0]?.insertRow() ?? table.createTBody().insertRow();
      line.append(make("th", row, { scope: "row" }));
      across.values.forEach((column, c) => {
        const cell = line.insertCell(), p = best[r][c];
        if (p) {
          const share = most > least ? (p.throughput - least) / (most - least) : 1;
          cell.style.setProperty("--heat", `${Math.round(8 + 42 * share)}%`);
          const button = make("button", digits(p.throughput), { type: "button", title: p.words });
          button.dataset.open = p.id;
          cell.append(button);
          cell.className = p.id === workload.best ? "heat best" : "heat";
        } else {
          cell.append(make("span", at(column, row).length ? "none" : "", { className: "faint", title: at(column, row).length ? "no point of it may be named" : "not measured" }));
        }
      });
    });
    return table;
  }

  // ---- what the chosen point's configuration does with other data -----------------------------------
  function against(id, x, label, x_title, what) {
    const one = points.get(state.point);
    if (!one || !byId(id)) return;
    const list = data.points.filter((p) => p.configuration === one.configuration && values_good(p));
    const rest = (p, c) => [c.name, p.values.load, ...data.settings.filter((s) => s.role === "workload" && !what(s.path, c)).map((s) => `${s.name} ${p.values[s.path]}`)].filter(Boolean).join(", ");
    const lines = grouped(list.flatMap((p) => p.classes.filter((c) => x(c) !== null).map((c) => ({ p, c }))), ({ p, c }) => rest(p, c));
    const values = [...new Set([...lines.values()].flat().map(({ c }) => x(c)))].sort((a, b) => a - b);
    const drawable = [...lines].filter(([, line]) => new Set(line.map(({ c }) => x(c))).size > 1);
    const ys = [], traces = [], notes = [];
    drawable.forEach(([name, line], i) => {
      line.sort((a, b) => x(a.c) - x(b.c));
      const at = ({ c }) => c.latency[state.percentile]?.[0] ?? null, ends = ({ c }) => c.latency[state.percentile]?.slice(1);
      const colour = i < COLOURS.length ? COLOURS[i] : "@c6";
      ys.push(...line.map(at));
      traces.push({ type: "scatter", mode: "lines+markers", name: plain(name), legendgroup: name, x: line.map(({ c }) => x(c)), y: line.map(at), customdata: line.map(({ p }) => p.id), hovertext: line.map(({ p, c }) => hover({ ...p, latency: c.latency, at_least: {} })), hoverinfo: "text", line: { color: colour, width: 2 }, marker: { color: colour, size: 7 }, error_y: bars(line, at, ends) });
      const last = line.filter((each) => at(each) !== null).at(-1);
      if (last && i < COLOURS.length) notes.push({ name, x: x(last.c), y: at(last), colour });
    });
    const y_axis = axis(`${title()} latency, ms`, ys.filter((v) => v !== null));
    const log = (v) => (y_axis.type === "log" ? Math.log10(v) : v);
    const names = Object.fromEntries([...lines.values()].flat().map(({ c }) => [x(c), label(c)]));
    // Names of lines that end close together stand apart.
    const span = y_axis.type === "log" ? [Math.min(...ys.filter((v) => v > 0)), Math.max(...ys)].map(log) : [0, Math.max(...ys)];
    const pixels = (n) => ((log(n.y) - span[0]) / (span[1] - span[0] || 1)) * 270;
    notes.sort((a, b) => a.y - b.y);
    notes.forEach((n, i) => (n.up = i ? Math.max(0, pixels(notes[i - 1]) + notes[i - 1].up + 14 - pixels(n)) : 0));
    const layout = {
      xaxis: axis(x_title([...lines.values()].flat()[0]?.c), values, { tickvals: values, ticktext: values.map((v) => plain(names[v])) }), yaxis: y_axis, margin: { l: 64, r: 120, t: 20, b: 48 },
      annotations: notes.map((n) => ({ text: plain(n.name), x: values.length && axis("", values).type === "log" ? Math.log10(n.x) : n.x, y: log(n.y), xanchor: "left", xshift: 8, yshift: n.up, showarrow: false, font: { size: 11, color: n.colour } })),
    };
    const configuration = data.configurations[one.configuration];
    byId(`figure-${id}`).hidden = traces.length === 0;
    draw(id, { traces, layout, height: 360, note: `Of ${configuration ? `the chosen point's configuration, ${configuration}` : "all points"}: a line for everything else that varies, its name at its end. Bars are 95% intervals. Valid points only.` });
  }

  // ---- whole distributions, and where the time goes --------------------------------------------------
  function named(shown, most) {
    const wanted = new Set();
    const ids = new Set(shown.map((p) => p.id));
    for (const w of data.workloads) if (ids.has(w.best)) wanted.add(w.best);
    if (ids.has(state.point)) wanted.add(state.point);
    for (const w of data.workloads) for (const id of w.ties) if (ids.has(id)) wanted.add(id);
    for (const p of shown) if (wanted.size < most) wanted.add(p.id);
    return [...wanted].slice(0, most).map((id) => points.get(id));
  }

  function distributions(shown) {
    const list = named(shown.filter((p) => data.drawable.includes(p.id)), MOST_CURVES);
    const traces = [], ys = [];
    list.forEach((p, i) => {
      const curve = own(p.id).quantiles;
      if (!curve.of) return;
      const colour = i < COLOURS.length ? COLOURS[i] : "@c6";
      const rare = curve.share.map((s) => 1 / (1 - s));
      const split = rare.filter((r) => r < curve.of / 10).length; // beyond it fewer than ten requests are slower
      [[0, split + 1, 1], [split, rare.length, 0.35]].forEach(([from, to, opacity]) => {
        if (from >= rare.length) return;
        traces.push({ type: "scatter", mode: "lines", name: plain(p.words), legendgroup: p.id, x: rare.slice(from, to), y: curve.latency_ms.slice(from, to), opacity, line: { color: colour, width: values_good(p) ? 2 : 1 }, hovertemplate: "%{y:.3~f} ms, 1 request in %{x:.4~r} is slower", meta: { legend: p.words + (values_good(p) ? "" : ` (${p.values.verdict})`) } });
      });
      ys.push(...curve.latency_ms);
    });
    const shares = [0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999, 0.999999, 0.9999999];
    const layout = { xaxis: { ...axis("percentile of requests", []), rangemode: "normal", type: "log", tickvals: shares.map((s) => 1 / (1 - s)), ticktext: shares.map((s) => `${+(s * 100).toPrecision(9)}%`) }, yaxis: axis("latency, ms", ys) };
    const rest = shown.length > list.length ? ` ${list.length} of ${shown.length.toLocaleString("en")} points are drawn, those that the answers name first.` : "";
    draw("percentiles", { traces, layout, height: 420, note: traces.length ? `Every request that succeeded after the initial transient. Faint: fewer than ten requests are slower.${rest}` : "No samples of these points are at hand." });
  }

  const PARTS = { client: "@c1", network: "@c4", queue: "@c5", input: "@c2", compute: "@c0", output: "@c3" };
  const HATCHES = { valid: "", inconclusive: "/", invalid: "x" };
  function breakdown(shown) {
    const list = named(shown, MOST_BARS).sort((a, b) => data.points.indexOf(a) - data.points.indexOf(b));
    const rows = list.map((_, i) => i), seen = list.filter((p) => p.parts);
    const narrow = (byId("breakdown")?.parentElement.clientWidth ?? 1000) < 700; // a name has two lines there
    const name_of = (p) => p.words.split(", ").map(plain).reduce((a, b, i, all) => `${a},${narrow && i === Math.ceil(all.length / 2) ? "<br>" : " "}${b}`);
    const labels = list.map((p) => name_of(p) + (values_good(p) ? "" : ` (${p.values.verdict})`));
    const traces = seen.length === 0 ? [] : Object.entries(PARTS).map(([name, color]) => ({
      type: "bar", orientation: "h", name, legendgroup: name, y: rows, x: list.map((p) => p.parts?.[name] ?? null), customdata: list.map((p) => p.id),
      marker: { color, pattern: { shape: list.map((p) => HATCHES[p.values.verdict]), fillmode: "overlay", fgcolor: "@paper", size: 6 } },
      hovertext: list.map((p, i) => `${labels[i]}<br>${name}: ${p.parts?.[name] === null || !p.parts ? "not observed" : `${digits(p.parts[name])} ms`}`), hoverinfo: "text", meta: { legend: name },
    }));
    const layout = { barmode: "stack", bargap: 0.3, xaxis: axis("mean per request, ms", []), yaxis: { tickvals: rows, ticktext: labels, range: [rows.length - 0.5, -0.5], automargin: true, showgrid: false } };
    const without = list.length - seen.length;
    const said = without ? ` ${without} ${without === 1 ? "point" : "points"} without Triton's statistics: no bar.` : "";
    const rest = shown.length > list.length ? ` ${list.length} of ${shown.length.toLocaleString("en")} points, those that the answers name first.` : "";
    draw("breakdown", { traces, layout, height: 90 + (narrow ? 36 : 26) * Math.max(rows.length, 2), note: traces.length ? `Means per request. Client: from the intended send to the actual one. Queue, input, compute and output: by Triton's own statistics. Network: the rest, that is the wire, Triton's front end, the client's own handling. Hatched bars: not valid.${said}${rest}` : list.length ? "Triton's statistics could not be read at any point." : "No point passes the filters." });
  }

  const is_axis = (path, c) => path.startsWith("requests.") && !path.endsWith(".batch") && (c.name === "" || path.startsWith(`requests.${c.name}.`));
  const is_batch = (path, c) => path.endsWith(".batch") && (c.name === "" || path.startsWith(`requests.${c.name}.`));
  for (const id of ["across", "down"]) byId(id)?.addEventListener("change", () => heat(visible()));
  whenever((what) => {
    const shown = visible();
    if (what !== "point") curves(shown);
    if (what === "filters" || what === "all") heat(shown);
    if (what !== "width") {
      against("size", (c) => c.elements, (c) => c.sizes, (c) => c?.axes ?? "", is_axis);
      against("batch", (c) => c.batch, (c) => String(c.batch), () => "batch of one request, inferences", is_batch);
    }
    if (what !== "percentile" && what !== "width") distributions(shown);
    if (what !== "percentile") breakdown(shown);
  });
})();
