// The plots: they share a time axis and a cursor, and shade the time with a circuit not closed.

import { byId, oncePerFrame, setText } from "./dom.js";
import { clock, count, figure, percent } from "./format.js";
import { spans } from "./model.js";
import { Plot } from "./plot.js";

const GAP_MS = 3_500;
const FEWEST_MS = 1;

const PLOTS = {
  window: {
    series: [{ of: (item) => item.window_failures, colour: "--failures", fill: true }],
    threshold: (circuit) => circuit?.failure_threshold,
    top: (most, circuit) => Math.max(most, (circuit?.failure_threshold ?? 10) * 1.18),
    axis: count,
    read: ([failures], circuit) =>
      `${count(failures)} of ${count(circuit?.failure_threshold)} failures`,
  },
  rate: {
    series: [{ of: (item) => item.per_second, colour: "--throughput", fill: true }],
    top: (most) => Math.max(most * 1.1, 10),
    axis: count,
    read: ([rate]) => `${figure(rate)} / s`,
  },
  latency: {
    series: [
      { of: (item) => item.p50_ms, colour: "--latency-50" },
      { of: (item) => item.p99_ms, colour: "--latency-99" },
    ],
    top: (most) => Math.max(most * 1.1, FEWEST_MS),
    axis: (value) => `${figure(value)}`,
    read: ([p50, p99]) => `p50 ${figure(p50)} · p99 ${figure(p99)} ms`,
  },
  hold: {
    series: [{ of: (item) => (item.instances ? item.holding : null), colour: "--holding", fill: true }],
    top: () => 1,
    axis: percent,
    read: ([holding]) => (holding === null ? "no instance reports" : `${percent(holding)} of the time`),
  },
};

/** Draw the plots, and draw them again whenever the model changes. */
export function showPlots({ model }) {
  let seconds = 300;
  const plots = Object.entries(PLOTS).map(([name, form]) => ({
    form,
    reading: byId(`read-${name}`),
    plot: new Plot(byId(`plot-${name}`), form, (index) => read(index)),
  }));
  let items = [];

  function read(index) {
    const item = index === null ? items.at(-1) : items[index];
    for (const { form, reading } of plots) {
      const values = form.series.map(({ of }) => (item ? of(item) : null));
      const when = index !== null && item ? `${clock(item.time)} · ` : "";
      setText(reading, item ? when + form.read(values, model.circuit) : "");
    }
  }

  const render = oncePerFrame(() => {
    const now = model.now();
    items = withGaps(model.vitals.filter((item) => item.time > now - (seconds + 5) * 1000));
    const shades = spans(model.history, model.circuit, now);
    const range = [now / 1000 - seconds, now / 1000];
    for (const { plot } of plots) plot.draw(items, { range, shades, circuit: model.circuit });
    if (!plots.some(({ plot }) => plot.pointed)) read(null);
  });

  for (const input of document.querySelectorAll("input[name=span]")) {
    input.addEventListener("change", () => {
      seconds = Number(input.value);
      render();
    });
  }
  for (const topic of ["vitals", "circuit", "history"]) model.addEventListener(topic, render);
  addEventListener("breakwater-theme", () => {
    for (const { plot } of plots) plot.recolour();
    render();
  });
  setInterval(render, 1000);
  render();
}

/** Return the rows with an empty row in each gap, so that the plot's line breaks there. */
function withGaps(vitals) {
  const found = [];
  for (const item of vitals) {
    const before = found.at(-1);
    if (before && item.time - before.time > GAP_MS) found.push({ time: before.time + 1000 });
    found.push(item);
  }
  return found;
}
