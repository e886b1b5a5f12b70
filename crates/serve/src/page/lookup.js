// One entity's features, with their statuses, and how each came about.

import { age, h, mark, moment, table } from "./dom.js";
import { spans } from "./charts.js";
import { ask } from "./page.js";

const KINDS = { PRESENT: "good", NULL: "", NOT_FOUND: "warn", EXPIRED: "warn", ERROR: "bad" };

export function lookup(content, known) {
  const { overview } = known;
  const targets = [...overview.services.map((of) => ({ name: of.name, columns: of.request })), ...overview.views.map((of) => ({ name: of.name, columns: of.keys }))];
  const wanted = decodeURIComponent(location.hash.split("/")[1] ?? "");
  const fields = h("div", { class: "lookup" });
  const outcome = h("section", { "aria-live": "polite" });
  const select = h("select", { name: "_target", onchange: ask_for }, targets.map(({ name }) => h("option", { value: name, selected: name === wanted }, name)));
  function ask_for() {
    const { columns } = targets.find(({ name }) => name === select.value) ?? { columns: [] };
    const inputs = columns.map((column) => h("label", null, `${column.name} · ${column.type}`, h("input", { name: column.name, autocomplete: "off", spellcheck: "false" })));
    const at = h("label", null, "as of · now where it is empty", h("input", { name: "_as_of", placeholder: "2013-07-01T12:00:00Z", autocomplete: "off", spellcheck: "false" }));
    fields.replaceChildren(h("label", null, "service or view", select), ...inputs, at, h("button", null, "Look up"));
  }
  async function submit(event) {
    event.preventDefault();
    const given = [...new FormData(event.target)].filter(([name, value]) => name !== "_target" && value !== "");
    outcome.replaceChildren(h("p", { class: "quiet" }, "One moment …"));
    try {
      const said = await ask(`/v1/explain/${encodeURIComponent(select.value)}?${new URLSearchParams(given)}`);
      outcome.replaceChildren(...answer(said, Object.fromEntries(given)._as_of ?? known.status.now));
    } catch (error) {
      outcome.replaceChildren(h("p", { class: "bad", role: "alert" }, error.message));
    }
  }
  ask_for();
  content.replaceChildren(
    h("h1", null, "Look up"),
    h("p", { class: "lead" }, "The features of one entity as a request gets them, and the tiles and events that each came from. It counts as no request."),
    h("form", { onsubmit: submit }, fields),
    outcome,
  );
}

/** Where the moment was given, the answer does not say it again. */
function answer({ answer, explained }, given) {
  const at = answer.moment ?? given;
  // Of candidates there is a value for each that is answered, and there may be none.
  const areCandidates = (answer.candidates ?? []).length > 0;
  const plain = (value) => (value === null ? "NULL" : JSON.stringify(value).replace(/^"|"$/g, ""));
  const status = (feature) => {
    const kind = feature.statuses?.[0] ?? "";
    const filled = feature.filled_by?.[0];
    const stale = feature.stale?.[0];
    return h("span", null, mark(kind, KINDS[kind]), filled && filled !== "NONE" ? [" ", mark(`filled by ${filled}`, "warn")] : null, stale ? [" ", mark("stale", "bad")] : null);
  };
  const columns = [
    ["feature", (feature) => feature.name],
    ["value", (feature) => (areCandidates ? `[${feature.values.map(plain).join(", ")}]` : plain(feature.values[0])), "value"],
    ["status", status],
    ["newest event behind it", (feature) => (feature.event_times?.[0] ? `${moment(feature.event_times[0])}` : "")],
    ["type", (feature) => feature.type],
  ];
  const reads = answer.reads.map((read) => `${read.view} version ${read.version}${read.lag_seconds === undefined ? "" : `, lag ${age(read.lag_seconds)}`}`);
  return [
    table(`as of ${moment(at)}, by the ${answer.time} time · ${reads.join(" · ")}`, columns, answer.features, "no features"),
    h("h2", null, "What it came from"),
    ...(explained.candidates ? [h("p", null, counted(explained.candidates))] : []),
    ...explained.reads.map(read),
    h("p", { class: "quiet" }, `read ${explained.keys} keys in ${explained.rounds} rounds, ${explained.bytes} bytes`),
  ];
}

function counted({ unnested, left, answered, by_fallback: byFallback }) {
  return `${unnested} candidates, ${left} left by the conditions, ${answered} answered${byFallback ? " by the fallback" : ""}`;
}

function read({ role, view, version, entity, windows, answered }) {
  const name = role === view ? view : `${role}: ${view}`;
  const out = answered === false ? [" ", mark("not answered", "warn")] : null;
  return h("div", null, h("h3", null, `${name} version ${version} of ${entity}`, out), windows.map(window));
}

function window({ window, features, tiles, events }) {
  const inTiles = tiles.reduce((sum, tile) => sum + tile.events, 0);
  const says = tiles.length + events.length === 0 ? "no events" : [tiles.length > 0 && `${tiles.length} tiles with ${inTiles} events`, events.length > 0 && `${events.length} single events`].filter(Boolean).join(", and ");
  return h(
    "details",
    null,
    h("summary", null, h("b", null, h("code", null, window)), says, h("div", { class: "quiet" }, features.join(", "))),
    tiles.length + events.length > 0 && h("div", null, spans(tiles, events, says)),
    h("ul", { class: "quiet" }, tiles.map((tile) => h("li", null, `tile of ${moment(tile.from)} to ${moment(tile.to)}, ${tile.events} events`)), events.map((event) => h("li", null, `event of ${moment(event)}`))),
  );
}
