// The search for monitors, with the keyboard too.

import { byId, h, hint, link, patch, sub, text } from "./page.js";
import { call } from "./server.js";

const input = byId("find");
const list = byId("found");

export const closeSearch = () => patch(list);

/** How often the monitor is checked, or why it is not. */
function stateOf({ interval_s: interval, active, problem }) {
  if (problem) return ["cannot be scheduled: ", text(problem)];
  return active ? `every ${interval} s` : "paused";
}

async function search(event, go) {
  event.preventDefault();
  const query = input.value.trim();
  if (!query) return;
  patch(list, hint("Searching…"));
  try {
    const { monitors, more } = await call(`/api/monitors?q=${encodeURIComponent(query)}`);
    if (monitors.length === 1) return go(`/monitors/${encodeURIComponent(monitors[0].id)}`);
    const items = monitors.map((found) => h("li", link(found.id, found.name), sub(stateOf(found))));
    patch(list, h("ul", items), !items.length && hint("No monitor matches."), more > 0 && hint("More monitors match."));
  } catch (error) {
    patch(list, hint(error.message));
  }
}

/** `/` begins a search, Escape ends it, the arrow keys walk through the matches. */
function press(event) {
  const { key, target } = event;
  const step = { ArrowDown: 1, ArrowUp: -1 }[key];
  if (key === "/" && !/INPUT|SELECT/.test(target.tagName)) {
    event.preventDefault();
    input.select();
  } else if (key === "Escape") {
    closeSearch();
  } else if (step && target.closest(".find")) {
    event.preventDefault();
    const links = [...list.querySelectorAll("a")];
    (links[links.indexOf(document.activeElement) + step] ?? input).focus();
  }
}

/** Begin to react; `go` opens a path. */
export function startSearch(go) {
  input.form.addEventListener("submit", (event) => search(event, go));
  document.addEventListener("keydown", press);
}
