// Small drawings. Each says in words what it shows, for who cannot see it.

import { h } from "./dom.js";

/** Values over time, from 0 to `most`; gaps where there is none. */
export function line(values, most, says) {
  const top = most ?? Math.max(...values.filter((value) => value !== null), 1e-9);
  const width = Math.max(values.length - 1, 1);
  const runs = [[]];
  values.forEach((value, at) => {
    if (value === null) runs.push([]);
    else runs.at(-1).push(`${at},${(1 - Math.min(value / top, 1)) * 20}`);
  });
  const lines = runs.filter((run) => run.length > 0).map((run) => h("polyline", { points: (run.length > 1 ? run : [run[0], run[0]]).join(" ") }));
  const ground = h("line", { x1: 0, x2: width, y1: 20.5, y2: 20.5 });
  return h("svg", { class: "line", viewBox: `0 -1 ${width} 22`, preserveAspectRatio: "none", role: "img", "aria-label": says }, h("title", null, says), ground, lines);
}

/** Kinds of values from the ground up, in the order of what matters less and less: what is real is at the bottom, and what failed on top. */
export const STATUSES = ["present", "null", "expired", "not_found", "error"];

/** Shares by kind over time, on top of each other; a gap where there was nothing. `counts` has a list for each kind, one number a moment. */
export function bands(counts, says) {
  const length = counts.present.length;
  const width = Math.max(length - 1, 1);
  const all = Array.from({ length }, (_, at) => STATUSES.reduce((sum, kind) => sum + counts[kind][at], 0));
  const runs = [];
  all.forEach((sum, at) => {
    if (sum === 0) return;
    if (at > 0 && all[at - 1] > 0) runs.at(-1).push(at);
    else runs.push([at]);
  });
  let below = Array(length).fill(0);
  const areas = STATUSES.flatMap((kind) => {
    const top = below.map((sum, at) => sum + (all[at] > 0 ? counts[kind][at] / all[at] : 0));
    const under = below;
    below = top;
    if (counts[kind].every((count) => count === 0)) return [];
    // One moment alone is as wide as half of what lies between two.
    const edges = (run) => (run.length > 1 ? run.map((at) => [at, at]) : [[run[0] - 0.25, run[0]], [run[0] + 0.25, run[0]]]);
    const y = (share) => ((1 - share) * 20).toFixed(2);
    return runs.map((run) => {
      const there = edges(run).map(([x, at]) => `${x},${y(top[at])}`);
      const back = edges(run).reverse().map(([x, at]) => `${x},${y(under[at])}`);
      return h("polygon", { class: kind, points: [...there, ...back].join(" ") });
    });
  });
  const ground = h("line", { x1: 0, x2: width, y1: 20.5, y2: 20.5 });
  return h("svg", { class: "line bands", viewBox: `0 -1 ${width} 22`, preserveAspectRatio: "none", role: "img", "aria-label": says }, h("title", null, says), ground, areas);
}

/** Two shares per bar, side by side: of training and of serving. `bars` are {label, training, serving}. */
export function pair(bars, says) {
  const top = Math.max(...bars.flatMap((bar) => [bar.training, bar.serving]), 1e-9);
  const width = 10;
  const drawn = bars.map(({ label, training, serving }, at) => {
    const bar = (share, kind, x) => {
      const height = (share / top) * 56;
      return h("rect", { class: kind, x, y: 58 - height, width: 4, height }, h("title", null, `${label}: ${(share * 100).toFixed(1)} % ${kind}`));
    };
    return [bar(training, "training", at * width + 1), bar(serving, "serving", at * width + 5)];
  });
  const ground = h("line", { x1: 0, x2: bars.length * width, y1: 58.5, y2: 58.5 });
  return h("svg", { class: "pair", viewBox: `0 0 ${bars.length * width} 60`, preserveAspectRatio: "none", role: "img", "aria-label": says }, drawn, ground);
}

/** What a window was read from: whole tiles as bars, single events as lines, on one axis of time. */
export function spans(tiles, events, says) {
  const times = [...tiles.flatMap((tile) => [Date.parse(tile.from), Date.parse(tile.to)]), ...events.map((event) => Date.parse(event))];
  const from = Math.min(...times);
  const length = Math.max(Math.max(...times) - from, 1);
  const x = (time) => ((Date.parse(time) - from) / length) * 1000;
  const bars = tiles.map((tile) =>
    h("rect", { x: x(tile.from), y: 4, width: Math.max(x(tile.to) - x(tile.from) - 1, 2), height: 24 }, h("title", null, `${tile.events} events, ${tile.from} to ${tile.to}`)),
  );
  const lines = events.map((event) => h("line", { class: "event", x1: x(event), x2: x(event), y1: 2, y2: 30 }, h("title", null, event)));
  return h("svg", { class: "spans", viewBox: "-5 0 1010 32", preserveAspectRatio: "none", role: "img", "aria-label": says }, bars, lines);
}
