// What both pages are made of: elements, texts, and parts. Text is only ever set as text: names are user input.

const SVG = "http://www.w3.org/2000/svg";
const propsOf = new WeakMap();

const flat = (children) => children.flat(6).filter((child) => child || child === 0);

/** Describe an element: h("td.number", { title }, children). Lists are flattened; null, false and "" left out. */
export function h(name, ...children) {
  const [tag, css] = name.split(".");
  const props = children[0]?.constructor === Object && !children[0].tag ? children.shift() : {};
  return { tag, props: css ? { class: css, ...props } : props, children: flat(children) };
}

/** Make the children of `parent` equal to the descriptions. Nodes that stay keep focus and selection. */
export function patch(parent, ...children) {
  const wanted = flat(children);
  wanted.forEach((child, i) => {
    const node = nodeAt(parent, i, child.tag);
    if (!child.tag) {
      if (node.data !== `${child}`) node.data = child;
    } else {
      setProps(node, child.props);
      patch(node, child.children);
    }
  });
  while (parent.childNodes.length > wanted.length) parent.lastChild.remove();
}

function nodeAt(parent, i, tag) {
  const old = parent.childNodes[i];
  if (old?.nodeName.toLowerCase() === (tag ?? "#text")) return old;
  const node = tag ? document.createElementNS(tag === "svg" ? SVG : parent.namespaceURI, tag) : new Text();
  if (old) old.replaceWith(node);
  else parent.append(node);
  return node;
}

function setProps(node, props) {
  const before = propsOf.get(node) ?? {};
  for (const name in { ...before, ...props }) {
    const value = props[name];
    if (value === before[name]) continue;
    if (name.startsWith("on")) node[name] = value;
    else if (value == null || value === false) node.removeAttribute(name);
    else node.setAttribute(name, value);
  }
  propsOf.set(node, props);
}

export const byId = (id) => document.getElementById(id);

export const count = (number) => (number == null ? "?" : Math.round(number).toLocaleString("en"));
export const counted = (number, noun) => `${count(number)} ${noun}${number === 1 ? "" : "s"}`;
export const inClaims = (number) => (number === 1 ? "is in a claim" : "are in claims");

/** A duration in s, as the commands print it. */
export function duration(s) {
  if (s == null) return "–";
  if (s < 1) return `${(s * 1000).toFixed(s < 0.01 ? 1 : 0)} ms`;
  if (s < 3600) return s < 120 ? `${s.toFixed(1)} s` : `${(s / 60).toFixed(1)} min`;
  const [divisor, most, large, small] = s < 172800 ? [60, 60, "h", "min"] : [3600, 24, "d", "h"];
  const all = Math.round(s / divisor);
  const rest = all % most;
  return `${(all - rest) / most} ${large}${rest ? ` ${rest} ${small}` : ""}`;
}

/** The time of day in UTC; with the date if it is not within a day of `now`. */
export function clock(ms, now) {
  const date = new Date(ms ?? NaN);
  if (isNaN(date)) return "–";
  return date.toISOString().slice(Math.abs(now - ms) < 864e5 ? 11 : 0, 19).replace("T", " ");
}

export const age = (ms, now) => duration(ms == null ? null : Math.max(0, now - ms) / 1000);

/** `03:11:00 (in 40.8 s)` */
export const at = (ms, now) => `${clock(ms, now)} (${ms < now ? `${age(ms, now)} ago` : `in ${age(now, ms)}`})`;

const FORMAT = /(?![\u200c\u200d])[\p{Cc}\p{Cf}\u2028\u2029]/gu;
const codeOf = (character) => `\\u${character.codePointAt(0).toString(16).padStart(4, 0)}`;

/** User input; control and bidirectional format characters become codes. */
export const escaped = (input) => `${input ?? ""}`.replace(FORMAT, codeOf);

/** User input as an element, which isolates its direction. */
export const text = (input) => h("bdi", escaped(input));

/** A text of the program: what is between backticks becomes code. */
export function prose(input) {
  const parts = escaped(input).split("`");
  return parts.length % 2 ? parts.map((part, i) => part && h(i % 2 ? "code" : "bdi", part)) : text(input);
}

export const pathOf = (id) => `/monitors/${encodeURIComponent(id)}`;
export const link = (id, name) => h("a", { href: pathOf(id) }, text(name || id));
export const tag = (word, css = "") => h(`span.tag ${css}`, word);
export const sub = (...children) => h("span.sub", children);
export const hint = (...children) => h("p.hint", children);
export const button = (name, onclick, props) => h("button", { type: "button", onclick, ...props }, name);

export const card = (title, note, ...children) =>
  h("section.card", h("header", h("h2", title), h("span.note", note)), children);

/** A table; a column is [heading, class]. */
export function table(css, columns, rows) {
  const heads = columns.map(([name, kind]) => h("th", { scope: "col", class: kind }, name));
  const cell = (value, [name, kind]) => h("td", { class: kind, "data-label": name }, h("div", value));
  const body = rows.map((cells) => h("tr", cells.map((value, i) => cell(value, columns[i]))));
  return h(`table.${css}`, h("thead", h("tr", heads)), h("tbody", body));
}

/** Names and values; a row is [name, value, class]. Rows without a value are left out. */
export function pairs(css, rows) {
  const shown = rows.filter(([, value]) => value);
  const items = shown.map(([name, value, kind]) => h("div", h("dt", name), h("dd", { class: kind || null }, value)));
  return h(`dl.${css}`, items);
}

const SHAPES = {
  good: ["circle", { cx: 7, cy: 7, r: 7 }],
  warn: ["path", { d: "M7 0L14 7L7 14L0 7Z" }],
  bad: ["rect", { width: 14, height: 14 }],
  off: ["path", { d: "M0 5H14V9H0Z" }],
};

/** The verdict: its level as shape, color and word, the sentence, and what follows. */
export const verdict = (level, word, { sentence, details, since_ms: since, ends_ms: ends }, now, ...more) =>
  h(
    `section.verdict ${level}`,
    h(
      "p.level",
      h("svg", { viewBox: "0 0 14 14", "aria-hidden": "true" }, h(...SHAPES[level])),
      h("b", word),
      since && h("span", `since ${at(since, now)}`),
      ends && h("span", `ends ${at(ends, now)}`),
    ),
    h("h1", prose(sentence)),
    h("p", prose(details)),
    more,
  );

const PROBLEM = /fail|lost|refus|silent|reject|block|omit|expired|reclaimed|raised/;

/** Events, the latest first. */
export const log = (events, now) =>
  h(
    "ol.log",
    events.map(({ at_ms: ms, kind, text: what, monitor_id: id, who }) =>
      h(
        "li",
        h("time", clock(ms, now)),
        h("span", tag(kind, PROBLEM.test(kind) ? "warn" : "")),
        h("span.what", text(what), " ", id && [link(id), " "], who && !what.includes(who) && h("i", text(who))),
      ),
    ),
  );
