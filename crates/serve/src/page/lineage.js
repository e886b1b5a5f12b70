// From sources to views, services, models and deployments: what an entry is made of, and what is made of it.

import { h } from "./dom.js";

const COLUMNS = ["sources", "views", "services", "models", "deployments"];

/** Pairs of keys, `kind/name`, each what is read and what reads it. */
export function edges(overview) {
  const pairs = [];
  const add = (from, names, to) => names.forEach((name) => pairs.push([`${from}/${name}`, to]));
  overview.views.forEach((view) => add("sources", view.sources, `views/${view.name}`));
  overview.views.forEach((view) => view.services.forEach((service) => pairs.push([`views/${view.name}`, `services/${service}`])));
  overview.models.forEach((model) => add("services", [model.service], `models/${model.name}`));
  overview.deployments.forEach((deployment) => add("models", deployment.stages.map((stage) => stage.model), `deployments/${deployment.name}`));
  return pairs;
}

/** Everything that leads to an entry, and everything that comes of it. */
export function related(pairs, key) {
  const reached = (from, to) => {
    const found = new Set([key]);
    for (let grown = -1; grown !== found.size; ) {
      grown = found.size;
      pairs.forEach((pair) => found.has(pair[from]) && found.add(pair[to]));
    }
    return found;
  };
  return new Set([...reached(0, 1), ...reached(1, 0)]);
}

export function lineage(content, known) {
  const { overview } = known;
  const pairs = edges(overview);
  const buttons = new Map();
  const drawing = h("svg", { "aria-hidden": "true" });
  const detail = h("section", { "aria-live": "polite" });
  const column = (kind) => {
    const items = overview[kind].map(({ name }) => {
      const button = h("button", { type: "button", "aria-pressed": "false", onclick: () => choose(`${kind}/${name}`) }, name);
      buttons.set(`${kind}/${name}`, button);
      return h("li", null, button);
    });
    return h("div", null, h("h2", null, kind), h("ul", null, items.length > 0 ? items : h("li", { class: "quiet" }, "none")));
  };
  const grid = h("div", { class: "lineage" }, drawing, COLUMNS.map(column));

  let chosen = null;
  function choose(key) {
    chosen = chosen === key ? null : key;
    const on = chosen ? related(pairs, chosen) : new Set();
    buttons.forEach((button, of) => {
      button.classList.toggle("on", on.has(of));
      button.setAttribute("aria-pressed", String(of === chosen));
    });
    detail.replaceChildren(...(chosen ? describe(overview, pairs, chosen) : []));
    draw(on);
  }
  function draw(on) {
    const frame = grid.getBoundingClientRect();
    const paths = pairs.flatMap((pair) => {
      const [from, to] = pair.map((key) => buttons.get(key)?.getBoundingClientRect());
      if (!from || !to) return [];
      const [x1, y1, x2, y2] = [from.right - frame.left, from.top + from.height / 2 - frame.top, to.left - frame.left, to.top + to.height / 2 - frame.top];
      const middle = (x1 + x2) / 2;
      return h("path", { class: pair.every((key) => on.has(key)) ? "on" : null, d: `M${x1},${y1} C${middle},${y1} ${middle},${y2} ${x2},${y2}` });
    });
    drawing.replaceChildren(...paths);
  }
  content.replaceChildren(
    h("h1", null, "Lineage"),
    h("p", { class: "lead" }, "What is made of what. Choose an entry to see everything that leads to it and everything that comes of it."),
    h("div", { class: "scroll" }, grid),
    detail,
  );
  draw(new Set());
  new ResizeObserver(() => draw(chosen ? related(pairs, chosen) : new Set())).observe(grid);
}

function describe(overview, pairs, key) {
  const [kind, name] = [key.slice(0, key.indexOf("/")), key.slice(key.indexOf("/") + 1)];
  const entry = overview[kind].find((of) => of.name === name);
  const list = (title, keys) => keys.length > 0 && h("p", null, `${title}: `, [...new Set(keys)].map((of) => of.slice(of.indexOf("/") + 1)).join(", "));
  const parts = [
    h("h2", null, `${name}`),
    list("made of", pairs.filter((pair) => pair[1] === key).map((pair) => pair[0])),
    list("read by", pairs.filter((pair) => pair[0] === key).map((pair) => pair[1])),
  ];
  if (kind === "services") {
    parts.push(h("ul", null, entry.outputs.map((output) => h("li", null, h("code", null, output.name), output.reads.length > 0 ? ` of ${output.reads.join(", ")}` : " of the request alone"))));
  }
  if (kind === "models") {
    parts.push(h("p", null, `${entry.inputs.join(", ")} → ${entry.predictions.join(", ")}`));
  }
  if (kind === "deployments") {
    parts.push(h("ul", null, entry.stages.map((stage) => h("li", null, `${stage.step}: ${stage.model} on ${stage.runtime}, file `, h("code", null, stage.sha256.slice(0, 12))))));
  }
  if (entry.sql) parts.push(h("pre", { tabindex: "0" }, entry.sql));
  return parts.filter(Boolean);
}
