// Elements, and how times, sizes and numbers are written.

const SVG = "http://www.w3.org/2000/svg";
const SHAPES = new Set(["svg", "path", "line", "rect", "polyline", "polygon", "title", "g"]);

/** An element with attributes and children; children that are null or false are left out. */
export function h(tag, attributes, ...children) {
  const element = SHAPES.has(tag) ? document.createElementNS(SVG, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** A table: columns are [heading, cell of a row, class], and a cell is text or an element. */
export function table(caption, columns, rows, none) {
  if (rows.length === 0) return h("p", { class: "quiet" }, none);
  const head = h("tr", null, columns.map(([title, , kind]) => h("th", { scope: "col", class: kind }, title)));
  const body = rows.map((row) => h("tr", null, columns.map(([, cell, kind]) => h("td", { class: kind }, cell(row)))));
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption }, h("table", null, h("caption", null, caption), h("thead", null, head), h("tbody", null, body)));
}

export function mark(text, kind) {
  return h("span", { class: `mark ${kind ?? ""}` }, text);
}

const UNITS = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];

/** Seconds as people say them: `2.5 s`, `3 min 20 s`, `4 d 1 h`. */
export function age(seconds) {
  if (seconds === null || seconds === undefined) return "";
  if (typeof seconds === "string" || !Number.isFinite(seconds)) return "not known";
  if (seconds < 0) return `in ${age(-seconds)}`;
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  const at = UNITS.findIndex(([, size]) => seconds >= size);
  const [unit, size] = UNITS[at];
  const whole = Math.floor(seconds / size);
  const next = UNITS[at + 1];
  const rest = next ? Math.floor((seconds - whole * size) / next[1]) : 0;
  return rest > 0 ? `${whole} ${unit} ${rest} ${next[0]}` : `${whole} ${unit}`;
}

/** How long ago a moment is, beside `now`; both as the server writes them. */
export function ago(moment, now) {
  return moment ? `${age((Date.parse(now) - Date.parse(moment)) / 1000)} ago` : "";
}

export function bytes(size) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let at = 0;
  while (size >= 1024 && at < units.length - 1) {
    size /= 1024;
    at += 1;
  }
  return `${at === 0 || size >= 100 ? Math.round(size) : size.toFixed(1)} ${units[at]}`;
}

export function count(number) {
  return Math.round(number).toLocaleString("en").replaceAll(",", " ");
}

export function rate(perSecond) {
  if (perSecond === null || perSecond === undefined) return "";
  return perSecond >= 10 ? count(perSecond) : perSecond.toFixed(1);
}

export function percent(share) {
  if (share === null || share === undefined) return "";
  const points = share * 100;
  return `${points === 0 || points >= 10 ? Math.round(points * 10) / 10 : points.toPrecision(2)} %`;
}

/** A moment without what everybody knows: `2013-07-01 12:00:00`. */
export function moment(text) {
  return text ? text.replace("T", " ").replace(/(\.\d+)?Z$/, "") : "";
}
