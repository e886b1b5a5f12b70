// What is wrong now, how far sources and views are, and what has served.

import { line } from "./charts.js";
import { age, ago, bytes, count, h, mark, moment, percent, rate, table } from "./dom.js";
import { perSecond } from "./page.js";

export function now(content, known) {
  const parts = ["signals", "sources", "views", "deployments", "server"].map((name) => [name, h("section")]);
  const sections = Object.fromEntries(parts);
  content.replaceChildren(h("h1", null, "Now"), ...Object.values(sections));
  const refresh = () => {
    const { status, watch, overview } = known;
    sections.signals.replaceChildren(...signals(watch));
    sections.sources.replaceChildren(h("h2", null, "Sources"), sources(status, watch, overview));
    sections.views.replaceChildren(h("h2", null, "Views and services"), targets(status, watch, overview));
    sections.deployments.replaceChildren(...(overview.deployments.length > 0 ? [h("h2", null, "Deployments"), deployments(overview, watch)] : []));
    sections.server.replaceChildren(h("h2", null, "Server"), server(status, watch));
  };
  refresh();
  return refresh;
}

/** Causes, each with what it explains under it. */
function signals({ signals, now }) {
  const causes = signals.filter((signal) => !signal.cause);
  if (causes.length === 0) return [h("p", { class: "fine", role: "status" }, "Nothing is wrong: every limit that is declared is kept.")];
  const explained = (of) => signals.filter((signal) => signal.cause === of.id).flatMap((signal) => [signal, ...explained(signal)]);
  const entry = (signal) => {
    const follows = explained(signal);
    return h(
      "li",
      { class: signal.severity },
      h("p", null, mark(signal.severity, signal.severity === "critical" ? "bad" : "warn"), " ", h("b", null, signal.what)),
      h("p", { class: "quiet" }, `${signal.kind} · since ${moment(signal.since)}, ${ago(signal.since, now)}`),
      h("p", null, signal.todo),
      follows.length > 0 && h("ul", { "aria-label": "What follows from it" }, follows.map((of) => h("li", null, of.what))),
    );
  };
  return [h("ul", { class: "signals", role: "status", "aria-label": "Signals" }, causes.map(entry))];
}

/** A number above its limit is marked. */
function limited(seconds, limit) {
  const text = age(seconds);
  if (limit === undefined || seconds === undefined) return text;
  return h("span", { class: seconds > limit ? "bad" : null }, `${text} `, h("span", { class: "quiet" }, `of ${age(limit)}`));
}

/** The lag that 99 looks of 100 were beneath, beside what training counts with. */
function measured({ lag_p99_seconds: p99, serving_lag_seconds: declared }) {
  if (p99 === undefined || !(declared > 0) || p99 <= declared) return age(p99);
  return h("span", { class: "warn" }, `${age(p99)} `, mark("more than declared", "warn"));
}

function sources(status, watch, overview) {
  const { sources } = watch.reading;
  const entries = overview.sources.map((source) => ({ source, read: sources[source.name] ?? {}, told: status.sources.find((of) => of.source === source.name) ?? {} }));
  const says = (name, of) => `${of} of ${name} over the last hours`;
  const state = ({ read, source }) => {
    if (read.stopped) return h("span", null, mark("stopped", "bad"), ` ${read.stopped}`);
    if (read.followed) return mark("followed", "good");
    return h("span", { class: "quiet" }, source.stream ? "not followed here" : "history only");
  };
  const rows = ({ read }) => {
    const counted = read.rows ?? {};
    const odd = [["late", counted.late], ["dead letters", counted.dead_letters], ["conflicts", counted.conflicts], ["duplicates", counted.duplicates], ["of no entity", counted.without_entity]];
    return odd.filter(([, number]) => number > 0).map(([name, number]) => `${name} ${count(number)}`).join(", ");
  };
  const columns = [
    ["source", ({ source }) => h("a", { href: "#lineage" }, source.name)],
    ["", state],
    ["lag", ({ read }) => age(read.lag_seconds), "number"],
    ["", ({ source }) => line(watch.history.lag_seconds[source.name] ?? [], null, says(source.name, "lag"))],
    ["p50", ({ read }) => age(read.lag_p50_seconds), "number"],
    ["p99", ({ read }) => measured(read), "number"],
    ["declared", ({ read }) => (read.serving_lag_seconds > 0 ? age(read.serving_lag_seconds) : h("span", { class: "quiet" }, "none")), "number"],
    ["silence", ({ read }) => limited(read.silence_seconds, read.expect_events_every_seconds), "number"],
    ["behind", ({ read }) => (read.behind_rows === undefined ? "" : count(read.behind_rows)), "number"],
    ["events/s", ({ source }) => rate(watch.history.applied_per_second[source.name]?.at(-1)), "number"],
    ["", ({ source }) => line(watch.history.applied_per_second[source.name] ?? [], null, says(source.name, "events a second"))],
    ["applied", ({ read }) => count(read.rows?.applied ?? 0), "number"],
    ["put aside", rows],
  ];
  return table("How far each source is, and what became of its rows; p50 and p99 are of its lag, and declared is its serving_lag, which training counts with", columns, entries, "No sources are defined.");
}

function targets(status, watch, overview) {
  const all = [...overview.views.map((view) => ({ kind: "view", ...view })), ...overview.services.map((service) => ({ kind: "service", ...service }))];
  const reading = (of) => (of.kind === "view" ? watch.reading.views[of.name] : undefined) ?? {};
  const coverage = (of) => watch.reading.targets[of.name]?.coverage;
  const columns = [
    ["name", (of) => h("a", { href: `#lookup/${encodeURIComponent(of.name)}` }, of.name)],
    ["", (of) => h("span", { class: "quiet" }, of.kind === "view" ? `version ${of.version}` : "service")],
    ["lag", (of) => limited(reading(of).lag_seconds, reading(of).max_staleness_seconds), "number"],
    ["newest event", (of) => (reading(of).watermark_age_seconds === undefined ? "" : `${age(reading(of).watermark_age_seconds)} ago`), "number"],
    ["coverage", (of) => percent(coverage(of)), "number"],
    ["", (of) => (watch.history.coverage[of.name] ? line(watch.history.coverage[of.name], 1, `coverage of ${of.name} over the last hours`) : "")],
    ["lookups/s", (of) => rate(perSecond(`${of.kind}s`, of.name, "asked")), "number"],
    ["events/s", (of) => (of.kind === "view" ? rate(perSecond("views", of.name, "applied")) : ""), "number"],
    ["", (of) => (reading(of).hottest ? h("span", { class: "quiet" }, `${percent(reading(of).hottest.share)} of events are of ${reading(of).hottest.key}`) : "")],
    ["state", (of) => (of.kind === "view" ? bytes(of.bytes) : ""), "number"],
    ["asked last", (of) => (of.asked_at ? ago(of.asked_at, status.now) : h("span", { class: "quiet" }, "never")), "number"],
  ];
  const waiting = watch.reading.versions.map((version) => {
    const how = version.published_micros === undefined ? "waits for its backfill" : version.caught_up ? "has caught up" : `catches up${version.behind_rows === undefined ? "" : `, ${count(version.behind_rows)} rows behind`}`;
    return h("p", null, mark("next", "warn"), ` ${version.view} version ${version.version} of definitions ${version.definitions} ${how}`);
  });
  return h("div", null, table("How fresh and how complete they are, and how much they are used", columns, all, "No views are defined."), waiting);
}

function deployments(overview, watch) {
  const ways = (name) => Object.entries(watch.reading.deployments[name]?.ways ?? {}).filter(([, rows]) => rows > 0);
  const columns = [
    ["deployment", (of) => of.name],
    ["models", (of) => of.stages.map((stage) => `${stage.step === stage.model ? "" : `${stage.step}: `}${stage.model} on ${stage.runtime}`).join(", ")],
    ["rows/s", (of) => rate(perSecond("deployments", of.name, "asked")), "number"],
    ["ways", (of) => ways(of.name).map(([way, rows]) => `${way} ${count(rows)}`).join(", ")],
    ["failures", (of) => count(of.stages.reduce((sum, stage) => sum + stage.failures, 0)), "number"],
    ["asked last", (of) => (of.asked_at ? ago(of.asked_at, overview.now) : h("span", { class: "quiet" }, "never")), "number"],
  ];
  return table("What is scored, by which models, and which way rows go", columns, overview.deployments, "");
}

function server(status, watch) {
  const facts = [];
  for (const breaker of status.breakers) {
    facts.push(h("li", null, `${breaker.of}: `, breaker.state === "CLOSED" ? mark("the disk is asked", "good") : mark("the disk is not asked", "bad"), breaker.stalled > 0 ? ` ${breaker.stalled} wait for it` : ""));
  }
  const log = status.feature_log;
  facts.push(h("li", null, log ? `log of what is served: ${percent(log.share)} of vectors, ${count(log.logged)} logged, ${count(log.dropped)} dropped, ${bytes(log.bytes)}${log.failing ? ` · ${log.failing}` : ""}` : "what is served is not logged"));
  const { replay } = watch.reading;
  if (replay) {
    const differ = replay.differ === 0 ? mark("0 differ", "good") : mark(`${count(replay.differ)} differ`, "bad");
    facts.push(h("li", null, `computed again of what was served: ${count(replay.values)} values, `, differ, replay.why_not ? ` · ${replay.why_not}` : ""));
    const lost = Object.entries(replay.not_auditable);
    if (lost.length > 0) facts.push(h("li", null, `not computed again: ${lost.map(([why, vectors]) => `${count(vectors)} vectors, since ${why}`).join("; ")}`));
  }
  return h("ul", null, facts);
}

export function releases(content, known) {
  const moves = h("section");
  const refresh = () => {
    const { overview } = known;
    const how = (move) => [move.kind === "promote" ? "promoted" : "went back", move.forced && "forced", move.automatic && "by itself"].filter(Boolean).join(", ");
    const columns = [
      ["epoch", (move) => String(move.epoch), "number"],
      ["release", (move) => String(move.release), "number"],
      ["definitions", (move) => String(move.definitions), "number"],
      ["", (move) => (move === overview.releases[0] ? mark("serves", "good") : "")],
      ["how", how],
      ["since", (move) => moment(move.at)],
      ["by", (move) => move.by ?? ""],
      ["why", (move) => move.reason ?? ""],
    ];
    const snapshots = [
      ["snapshot", (of) => of.name],
      ["answers up to", (of) => moment(of.moment)],
      ["made", (of) => moment(of.created_at)],
      ["its own", (of) => bytes(of.own_bytes), "number"],
      ["why", (of) => of.reason ?? ""],
      ["", (of) => (of.damage ? h("span", null, mark("damaged", "bad"), ` ${of.damage}`) : "")],
    ];
    moves.replaceChildren(
      h("h2", null, "Releases"),
      table("Each move of the pointer to what serves, the newest first", columns, overview.releases, "No release was promoted yet: the newest definitions serve once their views have caught up."),
      h("h2", null, "Snapshots"),
      table("The newest first", snapshots, overview.snapshots, "There are no snapshots."),
    );
  };
  content.replaceChildren(h("h1", null, "Releases and snapshots"), moves);
  refresh();
  return refresh;
}
