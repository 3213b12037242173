"use strict";
// What lies under the pointer, or was reached with the arrow keys: the value, its interval, and the run it leads to.
(() => {
  const { runs, orders, charts } = JSON.parse(document.getElementById("data").textContent);
  const said = (value) => (value === 0 ? "0" : value.toLocaleString("en", { maximumSignificantDigits: 4 }));

  for (const place of document.querySelectorAll("[data-chart]")) {
    const { runs: order, unit, values, low, high } = charts[place.dataset.chart];
    const numbers = orders[order];
    const reading = place.parentElement.querySelector(".reading");
    const pointer = document.createElement("span");
    pointer.className = "line pointer";
    pointer.hidden = true;
    place.append(pointer);
    let at = -1;

    function read(next) {
      at = next;
      const [x, name, href] = runs[numbers[at]];
      const interval = low.length && low[at] !== null ? ` (${said(low[at])}–${said(high[at])})` : "";
      const link = document.createElement(href ? "a" : "span");
      if (href) link.href = href;
      link.textContent = name;
      reading.replaceChildren(`${said(values[at])}${interval} ${unit} · `, link);
      pointer.style.left = `${x / 100}%`;
      pointer.hidden = false;
    }

    place.addEventListener("pointermove", (event) => {
      const box = place.getBoundingClientRect();
      const x = ((event.clientX - box.left) / box.width) * 10000;
      let nearest = 0;
      for (let i = 1; i < numbers.length; i++) if (Math.abs(runs[numbers[i]][0] - x) <= Math.abs(runs[numbers[nearest]][0] - x)) nearest = i;
      if (nearest !== at) read(nearest);
    });
    place.addEventListener("click", (event) => {
      const href = at >= 0 && !event.target.closest("a") && runs[numbers[at]][2];
      if (href) location.assign(href);
    });
    place.addEventListener("keydown", (event) => {
      if (event.key === "Enter") return place === event.target && place.click();
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!step) return;
      event.preventDefault();
      read(at < 0 ? numbers.length - 1 : Math.min(numbers.length - 1, Math.max(0, at + step)));
    });
  }
})();
