// Every feature: its type, who reads it, how complete it is, now and over time; and what is served beside what models were trained on.

import { STATUSES, bands, pair } from "./charts.js";
import { ago, count, h, mark, percent, table } from "./dom.js";
import { ask } from "./page.js";

const UNREAD_MS = 30 * 86400 * 1000;
/** Distributions that are drawn, those that differ most. */
const DRAWN_MAX = 60;
const WORDS = { present: "real", null: "NULL", expired: "EXPIRED", not_found: "NOT_FOUND", error: "ERROR" };

/** Statuses over time, by service or view: asked for what is open. */
const histories = new Map();

export function features(content, known) {
  const list = h("section", { "aria-live": "off" });
  const drawn = h("section");
  const text = h("input", { type: "search", "aria-label": "Part of a name", placeholder: "part of a name", oninput: show });
  const unread = h("input", { type: "checkbox", onchange: show });
  function show() {
    const { overview } = known;
    const wanted = (of, feature) => `${of.name}.${feature.name}`.includes(text.value) && (!unread.checked || isUnread(feature, overview));
    const some = (of, features) => [of, features.filter((feature) => wanted(of, feature))];
    const views = overview.views.map((view) => some(view, view.features)).filter(([, features]) => features.length > 0);
    const services = unread.checked ? [] : overview.services.map((service) => some(service, service.outputs)).filter(([, outputs]) => outputs.length > 0);
    const open = text.value !== "" || unread.checked;
    const shown = new Set([...list.querySelectorAll("details[open]")].map((details) => details.dataset.name));
    const entry = (of, features, summary, columns) => entries(of, features, summary, columns, known, open || shown.has(of.name));
    list.replaceChildren(
      legend(),
      ...(services.length > 0 ? [h("h2", null, "Of services")] : []),
      ...services.map(([service, outputs]) => entry(service, outputs, of_service(service), of_outputs())),
      ...(views.length > 0 ? [h("h2", null, "Of views")] : []),
      ...views.map(([view, features]) => entry(view, features, of_view(view), of_features(known.overview))),
    );
    if (views.length + services.length === 0) list.replaceChildren(h("p", { class: "quiet" }, "No feature is so."));
  }
  const refresh = () => {
    drawn.replaceChildren(...distributions(known.watch));
    list.querySelectorAll("details[open]").forEach((details) => over_time(details, known));
  };
  const since = known.overview.used_since;
  content.replaceChildren(
    h("h1", null, "Features"),
    h("div", { class: "filter" }, text, h("label", null, unread, ` nobody has read them for 30 days`), since && h("span", { class: "quiet" }, `what is read is noted since ${ago(since, known.overview.now)}`)),
    list,
    drawn,
  );
  show();
  refresh();
  // Only what changes by itself: what is typed and opened stays as it is.
  return refresh;
}

/** What the colours of statuses are. */
function legend() {
  return h("p", { class: "quiet" }, STATUSES.map((kind) => h("span", { class: `key ${kind}` }, WORDS[kind])));
}

/** Not read for thirty days, as far as that is known for so long. */
function isUnread(feature, overview) {
  const last = feature.asked_at ?? overview.used_since;
  return last !== undefined && Date.parse(overview.now) - Date.parse(last) >= UNREAD_MS;
}

const of_service = (service) => `${service.outputs.length} outputs${service.models.length > 0 ? ` · for ${service.models.join(", ")}` : ""}`;
const of_view = (view) => `by ${view.keys.map((key) => key.name).join(", ")} · ${view.features.length} features · from ${view.sources.join(", ")}`;
const quiet = (text) => h("span", { class: "quiet" }, text);

function of_outputs() {
  return [
    ["output", (output) => output.name],
    ["type", (output) => output.type],
    ["reads", (output) => output.reads.join(", ") || quiet("the request")],
  ];
}

function of_features(overview) {
  return [
    ["feature", (feature) => feature.name],
    ["type", (feature) => feature.type],
    ["read by", (feature) => feature.outputs.join(", ") || quiet("no service")],
    ["read last", (feature) => (feature.asked_at ? ago(feature.asked_at, overview.now) : isUnread(feature, overview) ? mark("not for 30 days", "warn") : quiet("not yet")), "number"],
  ];
}

/** A service or view with its features; how complete they are is filled in once it is open. */
function entries(of, features, summary, columns, known, open) {
  const cell = (name) => (feature) => h("span", { "data-cell": name, "data-feature": feature.name });
  const all = [...columns, ["coverage", cell("coverage"), "number"], ["by status over time", cell("over-time")], ["not real", cell("others")]];
  const details = h(
    "details",
    { open, "data-name": of.name, ontoggle: () => details.open && over_time(details, known) },
    h("summary", null, h("b", null, of.name), quiet(summary)),
    table(`Features of ${of.name}; coverage is of what is asked by this name`, all, features, ""),
    h("pre", { tabindex: "0" }, of.sql),
  );
  return details;
}

/** Fills in how complete the features are of what is open, and asks how complete they were. */
async function over_time(details, known) {
  const { name } = details.dataset;
  fill(details, known, histories.get(name));
  if (Date.now() - (histories.get(name)?.asked ?? 0) < 10000) return;
  histories.set(name, { ...histories.get(name), asked: Date.now() });
  const history = await ask(`/v1/watch/${encodeURIComponent(name)}`).catch(() => null);
  histories.set(name, { ...history, asked: Date.now() });
  fill(details, known, histories.get(name));
}

function fill(details, { watch }, history) {
  const read = watch.reading.targets[details.dataset.name]?.features ?? [];
  for (const cell of details.querySelectorAll("[data-cell]")) {
    const feature = read.find((of) => of.feature === cell.dataset.feature);
    const counts = history?.features?.[cell.dataset.feature];
    const name = `${details.dataset.name}.${cell.dataset.feature}`;
    if (cell.dataset.cell === "coverage") cell.replaceChildren(percent(feature?.coverage));
    if (cell.dataset.cell === "others") cell.replaceChildren(feature ? others(feature.by_status) : quiet("not asked lately"));
    if (cell.dataset.cell === "over-time") cell.replaceChildren(...(counts ? [bands(counts, `${name} by status over the last hours: ${percent(feature?.coverage) || "none"} real in the window`)] : []));
  }
}

/** What is not real, in words: the colours say it to those who see them. */
function others(by_status) {
  const all = STATUSES.reduce((sum, kind) => sum + by_status[kind], 0);
  return STATUSES.slice(1).filter((kind) => by_status[kind] > 0).map((kind) => `${WORDS[kind]} ${percent(by_status[kind] / all)}`).join(", ");
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
    const against = { training: "training", published: "the run that is published", first: "what was served first" }[drift.against];
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
  const sides = h("p", { class: "legend" }, h("span", null, "training"), h("span", null, "serving"));
  const more = known.length > DRAWN_MAX && h("p", { class: "quiet" }, `and ${known.length - DRAWN_MAX} more that differ less`);
  return [heading, sides, h("div", { class: "pairs" }, known.slice(0, DRAWN_MAX).map(figure)), more].filter(Boolean);
}
