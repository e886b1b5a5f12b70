// The frame of the page: asks the server again and again, and shows the part that the address names.

import { age, h } from "./dom.js";
import { features } from "./features.js";
import { lineage } from "./lineage.js";
import { lookup } from "./lookup.js";
import { now, releases } from "./now.js";

/** How often what changes all the time is asked for, and what changes now and then, ms. */
const EVERY = 2000;
const OVERVIEW_EVERY = 10000;
/** How long an answer may take, ms. */
const WITHIN = 10000;

const PARTS = { now, features, lineage, releases, lookup };
const content = document.getElementById("content");
const trouble = document.getElementById("trouble");
const token = document.getElementById("token");

/** What is known: the answers of the server, and those before, of which rates are made. */
const known = { status: null, overview: null, before: null, watch: null };
let shown = null;
let overviewAt = 0;

/** Asks the server; what is wrong is thrown as it says it. */
export async function ask(path) {
  const secret = sessionStorage.getItem("token");
  const headers = secret ? { authorization: `Bearer ${secret}` } : {};
  const answer = await fetch(path, { headers, signal: AbortSignal.timeout(WITHIN) });
  const said = await answer.json().catch(() => ({ message: `${answer.status} ${answer.statusText}` }));
  if (!answer.ok) throw Object.assign(new Error(said.message), { status: answer.status });
  return said;
}

async function look() {
  const asked = performance.now();
  const again = asked - overviewAt >= OVERVIEW_EVERY || !known.overview;
  const [status, watch, overview] = await Promise.all([ask("/v1/status"), ask("/v1/watch"), again ? ask("/v1/overview") : null]);
  Object.assign(known, { status, watch });
  if (overview) {
    Object.assign(known, { overview, before: known.overview });
    overviewAt = asked;
  }
}

/** How often a count of the overview has grown a second, since the one before. */
export function perSecond(kind, name, field) {
  const of = (overview) => overview?.[kind].find((entry) => entry.name === name)?.[field];
  const [was, is] = [of(known.before), of(known.overview)];
  if (was === undefined || is === undefined || is < was) return null;
  return (is - was) / ((Date.parse(known.overview.now) - Date.parse(known.before.now)) / 1000);
}

function show() {
  const name = location.hash.slice(1).split("/")[0];
  const part = name in PARTS ? name : "now";
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#${part}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (!known.overview) return;
  const { status } = known;
  const release = status.serving ? `release ${status.serving}, epoch ${status.epoch}` : "no release promoted yet";
  const up = (Date.parse(status.now) - Date.parse(status.since)) / 1000;
  document.getElementById("serving").replaceChildren(`definitions ${status.definitions} · ${release} · up for ${age(up)} · Lockstep ${status.release}`);
  document.title = `Lockstep: ${part}`;
  if (shown?.part !== part) {
    shown = { part, refresh: PARTS[part](content, known) };
  } else {
    shown.refresh?.();
  }
}

/** What is typed and opened stays, since a part that is shown already refreshes what it likes to. */
async function go() {
  if (document.hidden) return;
  try {
    await look();
    trouble.hidden = true;
    token.hidden = true;
    show();
  } catch (error) {
    if (error.status === 401 || error.status === 403) {
      token.hidden = false;
    }
    trouble.hidden = false;
    trouble.replaceChildren(error.status ? error.message : `The server does not answer: ${error.message}. It is asked again all the time.`);
  }
}

token.addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem("token", new FormData(token).get("token"));
  token.reset();
  go();
});
addEventListener("hashchange", () => {
  if (location.hash === "#content") return;
  show();
  content.focus({ preventScroll: true });
});
document.addEventListener("visibilitychange", go);
setInterval(go, EVERY);
go();
