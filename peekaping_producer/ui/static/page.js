// What both pages are made of: elements, texts, and parts. Text is only ever set as text: names are user input.

const SVG = "http://www.w3.org/2000/svg";
const propsOf = new WeakMap();

/** Describe an element: h("td.number", { title }, children). Nested lists are flattened; null, false and "" are left out. */
export function h(name, ...children) {
  const [tag, kind] = name.split(".");
  const props = children[0]?.constructor === Object && !children[0].tag ? children.shift() : {};
  return { tag, props: kind ? { class: kind, ...props } : props, children: kids(children) };
}

const kids = (children) => children.flat(6).filter((child) => child || child === 0);

/** Make the children of `parent` equal to the descriptions. Nodes that stay keep focus and selection. */
export function patch(parent, ...children) {
  const wanted = kids(children);
  wanted.forEach((child, i) => {
    const old = parent.childNodes[i];
    const tag = child.tag ?? "#text";
    let node = old;
    if (old?.nodeName.toLowerCase() !== tag) {
      node = child.tag ? document.createElementNS(tag === "svg" ? SVG : parent.namespaceURI, tag) : new Text();
      old ? old.replaceWith(node) : parent.append(node);
    }
    if (!child.tag) {
      if (node.data !== `${child}`) node.data = child;
      return;
    }
    const before = propsOf.get(node) ?? {};
    for (const name in { ...before, ...child.props }) {
      const value = child.props[name];
      if (value === before[name]) continue;
      if (name.startsWith("on")) node[name] = value;
      else if (value == null || value === false) node.removeAttribute(name);
      else node.setAttribute(name, value);
    }
    propsOf.set(node, child.props);
    patch(node, child.children);
  });
  while (parent.childNodes.length > wanted.length) parent.lastChild.remove();
}

export const count = (number) => (number == null ? "?" : Math.round(number).toLocaleString("en"));
export const counted = (number, noun) => `${count(number)} ${noun}${number === 1 ? "" : "s"}`;

/** A duration in s, as the commands print it. */
export function duration(s) {
  if (s == null) return "–";
  if (s < 1) return `${(s * 1000).toFixed(s < 0.01 ? 1 : 0)} ms`;
  const [divisor, unit] = s < 120 ? [1, "s"] : s < 7200 ? [60, "min"] : s < 172800 ? [3600, "h"] : [86400, "d"];
  return `${(s / divisor).toFixed(1)} ${unit}`;
}

/** The time of day in UTC; with the date if it is not within a day of `now`. */
export function clock(ms, now) {
  const date = new Date(ms ?? NaN);
  if (isNaN(date)) return "–";
  return date.toISOString().slice(Math.abs(now - ms) < 864e5 ? 11 : 0, 19).replace("T", " ");
}

/** `03:11:00 (in 40.8 s)` */
export const at = (ms, now) => `${clock(ms, now)} (${ms < now ? `${duration((now - ms) / 1000)} ago` : `in ${duration((ms - now) / 1000)}`})`;

/** User input: control and bidirectional format characters become codes, and the direction is isolated. */
export const text = (input) =>
  h("bdi", `${input ?? ""}`.replace(/(?![\u200c\u200d])[\p{Cc}\p{Cf}\u2028\u2029]/gu, (char) => `\\u${char.codePointAt(0).toString(16).padStart(4, 0)}`));

export const link = (id, name) => h("a", { href: `/monitors/${encodeURIComponent(id)}` }, text(name || id));
export const tag = (word, kind = "") => h(`span.tag ${kind}`, word);
export const sub = (...children) => h("span.sub", children);
export const hint = (...children) => h("p.hint", children);

export const card = (title, note, ...children) => h("section.card", h("header", h("h2", title), h("span.note", note)), children);

/** A table; a column is [heading, class]. */
export const table = (kind, columns, rows) =>
  h(
    `table.${kind}`,
    h("thead", h("tr", columns.map(([name, css]) => h("th", { scope: "col", class: css === "number bad" ? "number" : css }, name)))),
    h("tbody", rows.map((cells) => h("tr", cells.map((cell, i) => h("td", { class: columns[i][1], "data-label": columns[i][0] }, h("div", cell)))))),
  );

/** Names and values; a row is [name, value, class]. */
export const pairs = (kind, rows) =>
  h(`dl.${kind}`, kids(rows).length && rows.filter(Boolean).map(([name, value, css]) => h("div", h("dt", name), h("dd", { class: css || null }, value))));

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
    h("p.level", h("svg", { viewBox: "0 0 14 14", "aria-hidden": true }, h(...SHAPES[level])), h("b", word), since && h("span", `since ${at(since, now)}`), ends && h("span", `ends ${at(ends, now)}`)),
    h("h1", sentence),
    h("p", details),
    more,
  );

/** Events, the latest first. */
export const log = (events, now) =>
  h("ol.log", events.map(({ at_ms: ms, kind, text: what, monitor_id: id, who }) =>
    h("li", h("time", clock(ms, now)), h("span", tag(kind, /fail|lost|refus|silent|reject|block|omit|expired|reclaimed|held/.test(kind) && "warn")), h("span.what", text(what), " ", id && link(id), " ", h("i", who && text(who)))),
  ));
