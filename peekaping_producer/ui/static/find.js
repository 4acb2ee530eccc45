// The search for monitors, with the keyboard too.

import { byId, hint, patch, pathOf } from "./page.js";
import { call } from "./server.js";

const ID = /^([\da-f]{24}|[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12})$/i; // of MongoDB, and of Postgres
const PAUSE_MS = 300; // between the last key and the request
const input = byId("find");
const list = byId("found");
let latest = 0; // the number of the latest search; what an earlier one finds is not shown
let running; // the latest request; the server answers one at a time

export function closeSearch() {
  latest++;
  patch(list);
}

/** How often the monitor is checked, or why it is not. */
function stateOf({ interval_s: interval, active, problem }) {
  if (active == null) return; // the database does not answer
  if (problem) return ["", "cannot be scheduled: ", ["bdi", problem]];
  return active ? `every ${interval} s` : "paused";
}

/** Show what matches. With `go` (after Enter): at once, and open an id or the only match. */
async function search(go) {
  closeSearch();
  const number = latest;
  const query = input.value.trim();
  if (!query) return;
  const id = ID.test(query) && query.toLowerCase(); // It requires no database.
  if (id) return go ? go(pathOf(id)) : patch(list, ["ul", ["li", ["Link", id]]]);
  patch(list, hint("Searching…"));
  if (!go) await new Promise((done) => setTimeout(done, PAUSE_MS));
  await running;
  if (number !== latest) return;
  running = call(`/api/monitors?q=${encodeURIComponent(query)}`).catch((error) => error);
  const { monitors = [], more, message, database_error: away } = await running;
  if (number !== latest) return;
  if (go && monitors.length === 1) return go(pathOf(monitors[0].id));
  const items = monitors.map((found) => ["li", ["Link", found.id, found.name], ["span.sub", stateOf(found)]]);
  const none = !items.length && hint(message ?? "No monitor matches.");
  const without = away && hint("Only ids were searched. ", ["bdi", away]);
  patch(list, ["ul", ...items], none, more > 0 && hint("More monitors match."), without);
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
  input.form.addEventListener("submit", (event) => {
    event.preventDefault();
    search(go);
  });
  input.addEventListener("input", () => search());
  document.addEventListener("keydown", press);
}
