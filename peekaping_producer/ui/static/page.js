// Turns nodes into elements: what they are is described in rendering/nodes.py. Text is only ever set as text.

const SVG = "http://www.w3.org/2000/svg";
const propsOf = new WeakMap();

/** What the names that begin with a capital letter stand for. */
export const parts = {
  Link: (id, name) => ["a", { href: pathOf(id) }, ["bdi", name || id]],
  Table(css, columns, rows) {
    const heads = columns.map(([name, kind]) => ["th", { scope: "col", class: kind }, name]);
    const cell = (value, i) => ["td", { class: columns[i][1], "data-label": columns[i][0] }, ["div", value]];
    const body = rows.map((cells) => ["tr", ...cells.map(cell)]);
    return [`table.${css}`, ["thead", ["tr", ...heads]], ["tbody", ...body]];
  },
  Pairs(css, rows) {
    return [`dl.${css}`, ...rows.map(([name, value, kind]) => ["div", ["dt", name], ["dd", { class: kind }, value]])];
  },
  Log(entries) {
    const items = entries.map(([time, kind, css, message, id, who]) => [
      "li",
      ["time", time],
      ["span", [`span.tag ${css}`, kind]],
      ["span.what", ["bdi", message], " ", id && ["Link", id], " ", who && ["i", "by ", ["bdi", who]]],
    ]);
    return ["ol.log", ...items];
  },
};

/** The elements and texts of a node. */
function expand(node) {
  if (node == null || node === false || node === "") return [];
  if (!Array.isArray(node)) return [`${node}`];
  const [name, ...rest] = node;
  if (name === "") return rest.flatMap(expand);
  return name in parts ? expand(parts[name](...rest)) : [node];
}

/** Make the children of `parent` equal to the nodes. Elements that stay keep focus and selection. */
export function patch(parent, ...nodes) {
  const wanted = nodes.flatMap(expand);
  wanted.forEach((node, i) => {
    if (typeof node === "string") {
      const text = childAt(parent, i, "#text");
      if (text.data !== node) text.data = node;
      return;
    }
    const [name, ...children] = node;
    const [tag, css] = name.split(".");
    const props = children[0]?.constructor === Object ? children.shift() : {};
    const element = childAt(parent, i, tag);
    setProps(element, { class: css, ...props });
    patch(element, ...children);
  });
  while (parent.childNodes.length > wanted.length) parent.lastChild.remove();
}

function childAt(parent, i, name) {
  const old = parent.childNodes[i];
  if (old?.nodeName.toLowerCase() === name) return old;
  const namespace = name === "svg" ? SVG : parent.namespaceURI;
  const node = name === "#text" ? new Text() : document.createElementNS(namespace, name);
  if (old) old.replaceWith(node);
  else parent.append(node);
  return node;
}

function setProps(element, props) {
  const before = propsOf.get(element);
  for (const name in { ...before, ...props }) {
    const value = props[name];
    if (value === before?.[name]) continue;
    if (name.startsWith("on")) element[name] = value;
    else if (value == null || value === false || value === "") element.removeAttribute(name);
    else element.setAttribute(name, value === true ? "" : value);
  }
  propsOf.set(element, props);
}

export const byId = (id) => document.getElementById(id);
export const pathOf = (id) => `/monitors/${encodeURIComponent(id)}`;
export const hint = (...children) => ["p.hint", ...children];
export const button = (name, onclick, props) => ["button", { type: "button", onclick, ...props }, name];
export const count = (number) => number.toLocaleString("en");

/** As `clock_time` of the server: the time of day in UTC; with the date if it is not within a day of `now`. */
export const clock = (ms, now) =>
  new Date(ms).toISOString().slice(Math.abs(now - ms) < 864e5 ? 11 : 0, 19).replace("T", " ");
