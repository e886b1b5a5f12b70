// Every feature: its type, who reads it, how complete it is; and what is served beside what models were trained on.

import { pair } from "./charts.js";
import { ago, count, h, mark, percent, table } from "./dom.js";

const UNREAD_MS = 30 * 86400 * 1000;
/** Distributions that are drawn, those that differ most. */
const DRAWN_MAX = 60;

export function features(content, known) {
  const list = h("section", { "aria-live": "off" });
  const drawn = h("section");
  const text = h("input", { type: "search", "aria-label": "Part of a name", placeholder: "part of a name", oninput: show });
  const unread = h("input", { type: "checkbox", onchange: show });
  function show() {
    const { overview } = known;
    const wanted = (view, feature) => `${view.name}.${feature.name}`.includes(text.value) && (!unread.checked || isUnread(feature, overview));
    const views = overview.views.map((view) => [view, view.features.filter((feature) => wanted(view, feature))]).filter(([, features]) => features.length > 0);
    const open = text.value !== "" || unread.checked;
    const shown = new Set([...list.querySelectorAll("details[open]")].map((details) => details.dataset.view));
    list.replaceChildren(...views.map(([view, features]) => of_view(view, features, known, open || shown.has(view.name))));
    if (views.length === 0) list.replaceChildren(h("p", { class: "quiet" }, "No feature is so."));
  }
  const refresh = () => {
    show();
    drawn.replaceChildren(...distributions(known.watch));
  };
  const since = known.overview.used_since;
  content.replaceChildren(
    h("h1", null, "Features"),
    h("div", { class: "filter" }, text, h("label", null, unread, ` nobody has read them for 30 days`), since && h("span", { class: "quiet" }, `what is read is noted since ${ago(since, known.overview.now)}`)),
    list,
    drawn,
  );
  refresh();
  // Only what changes by itself: what is typed and opened stays as it is.
  return () => drawn.replaceChildren(...distributions(known.watch));
}

/** Not read for thirty days, as far as that is known for so long. */
function isUnread(feature, overview) {
  const last = feature.asked_at ?? overview.used_since;
  return last !== undefined && Date.parse(overview.now) - Date.parse(last) >= UNREAD_MS;
}

function of_view(view, features, { overview, watch }, open) {
  const read = (feature) => watch.reading.targets[view.name]?.features.find((of) => of.feature === feature.name);
  const columns = [
    ["feature", (feature) => feature.name],
    ["type", (feature) => feature.type],
    ["read by", (feature) => feature.outputs.join(", ") || h("span", { class: "quiet" }, "no service")],
    ["read last", (feature) => (feature.asked_at ? ago(feature.asked_at, overview.now) : isUnread(feature, overview) ? mark("not for 30 days", "warn") : h("span", { class: "quiet" }, "not yet")), "number"],
    ["coverage", (feature) => percent(read(feature)?.coverage), "number"],
  ];
  const keys = view.keys.map((key) => key.name).join(", ");
  const details = h(
    "details",
    { open, "data-view": view.name },
    h("summary", null, h("b", null, view.name), h("span", { class: "quiet" }, `by ${keys} · ${features.length} features · from ${view.sources.join(", ")}`)),
    table(`Features of ${view.name}`, columns, features, ""),
    h("pre", { tabindex: "0" }, view.sql),
  );
  return details;
}

/** Histograms of training and of serving, side by side; those that differ most come first. */
function distributions(watch) {
  const of_targets = Object.entries(watch.reading.targets).flatMap(([name, target]) => target.features.map((feature) => ({ name, ...feature })));
  const of_scores = Object.entries(watch.reading.deployments).flatMap(([name, deployment]) => deployment.scores.map((score) => ({ name, ...score })));
  const known = [...of_scores, ...of_targets].filter((feature) => feature.drift).sort((a, b) => b.drift.psi - a.drift.psi);
  const heading = h("h2", null, "Training and serving, side by side");
  if (known.length === 0) {
    return [heading, h("p", { class: "quiet" }, "Nothing to compare yet: a model that is deployed with a training set says what its features were like, and what is served is compared once there is enough of it.")];
  }
  const figure = ({ name, feature, sampled, drift }) => {
    const against = drift.against === "training" ? "training" : "what was served first";
    const beyond = drift.psi > drift.psi_by_chance;
    const says = `${name}.${feature}: population stability index ${drift.psi.toFixed(3)} against ${against}, Kolmogorov–Smirnov ${drift.ks.toFixed(3)}`;
    const bars = drift.bins.map((bin) => ({ label: bin.label, training: bin.reference, serving: bin.served }));
    return h(
      "figure",
      null,
      h("figcaption", null, h("b", null, `${name}.${feature}`), " ", beyond ? mark(`PSI ${drift.psi.toFixed(3)}`, drift.psi > 0.2 ? "bad" : "warn") : h("span", { class: "quiet" }, `PSI ${drift.psi.toFixed(3)}, as by chance`)),
      pair(bars, says),
      h("div", { class: "quiet" }, `KS ${drift.ks.toFixed(3)} · ${count(sampled)} values served, ${count(drift.reference_values)} of ${against} · NULL ${percent(drift.reference_nulls)}, served ${percent(drift.nulls)}`),
    );
  };
  const legend = h("p", { class: "legend" }, h("span", null, "training"), h("span", null, "serving"));
  const more = known.length > DRAWN_MAX && h("p", { class: "quiet" }, `and ${known.length - DRAWN_MAX} more that differ less`);
  return [heading, legend, h("div", { class: "pairs" }, known.slice(0, DRAWN_MAX).map(figure)), more].filter(Boolean);
}
