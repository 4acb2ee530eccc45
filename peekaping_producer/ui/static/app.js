// The state of the page, and when it is read and drawn.

import { around } from "./chart.js";
import { closeSearch, startSearch } from "./find.js";
import { acts, login } from "./forms.js";
import { button, byId, clock, hint, parts, patch } from "./page.js";
import { Stream, call } from "./server.js";

const VERSION = 2; // of the nodes
const MONITOR_EVERY_MS = 5000;
const LONG_MS = 2500; // A longer wait is explained.

const state = {
  session: {},
  link: "connecting", // then live, lost, frozen
  frame: null,
  received: 0, // performance.now() of the frame
  found: null, // the view of the monitor
  failure: "", // why there is none
  // `broken`: why nothing can be shown any more
  notice: "", // what became of the last act
  silent: [], // nodes about monitors without a heartbeat
  unit: 0, // seconds of a slot of the chart; 0: by the verdict
  asksForToken: false,
};
const main = byId("main");
const stream = new Stream(
  (frame) => show(frame, { frame, received: performance.now(), link: "live" }),
  () => set({ link: "lost" }),
  start,
);
let reading; // the timer of the monitor
let arrived = performance.now(); // at this path

/** The id in the address; undefined on the page of the fleet. */
function monitorId() {
  const [, id] = location.pathname.match(/^\/monitors\/([^/]+)$/) ?? [];
  try {
    return id && decodeURIComponent(id);
  } catch {
    return id; // It is malformed; the server answers that no monitor has it.
  }
}

const isReading = () => state.session.can_see && !state.broken && state.link !== "frozen" && !document.hidden;

function set(changes) {
  Object.assign(state, changes);
  draw();
}

/** Show a frame or a view. If that fails, show nothing from then on: old figures must not look like new ones. */
function show({ version }, changes) {
  try {
    if (version !== VERSION) throw Error(`expected version ${VERSION}, got ${version}`);
    set(changes);
  } catch (error) {
    stream.close();
    set({ frame: null, link: "lost", broken: `The page failed: ${error.message}. Reload it.` });
    throw error;
  }
}

/** Read the session, then begin to read the fleet and the monitor. */
async function start() {
  try {
    set({ session: await call("/api/session"), failure: "" });
    read();
  } catch (error) {
    set({ failure: error.message });
    stream.lose();
  }
}

function read() {
  if (isReading()) stream.open();
  else stream.close();
  readMonitor();
}

async function readMonitor() {
  clearTimeout(reading);
  const id = monitorId();
  if (!id || !isReading()) return;
  try {
    const found = await call(`/api/views/monitors/${encodeURIComponent(id)}`);
    if (id === monitorId()) show(found, { found, failure: "" });
  } catch (error) {
    if (error.status === 401) return start();
    if (id === monitorId()) set({ found: error.status ? null : state.found, failure: error.message });
  }
  clearTimeout(reading); // of a second call that ran at the same time
  reading = setTimeout(readMonitor, MONITOR_EVERY_MS);
}

async function readSilent() {
  set({ silent: ["Reading the database…"] });
  const { body, message } = await call("/api/views/silent").catch((error) => error);
  set({ silent: body ?? [["p", message]] });
}

async function act(name, body) {
  const done = (answer) => answer.monitors?.map(({ sentence }) => sentence).join(" ") || answer.sentence || "Done.";
  set({ notice: await call(`/api/acts/${name}`, body).then(done, (error) => error.message) });
  readMonitor();
}

async function logIn(token) {
  try {
    await call("/api/login", { token });
    set({ notice: "", asksForToken: false });
    start();
  } catch (error) {
    set({ notice: error.message });
  }
}

function logOut() {
  stream.close();
  call("/api/logout", {}).finally(() => location.reload());
}

function draw() {
  const { session, link, frame, found, broken } = state;
  const id = monitorId();
  document.body.className = link === "lost" || link === "connecting" ? "stale" : "";
  byId("link").className = link;
  patch(byId("link"), link);
  patch(byId("freeze"), link === "frozen" ? "Resume" : "Freeze");
  byId("freeze").hidden = byId("find").form.hidden = !session.can_see;
  drawClock();
  const since = frame ? ` since ${clock(frame.now_ms, frame.now_ms)} UTC` : "";
  const lost = `Connection lost${since}. What is shown is old; the page connects again by itself.`;
  const problem = broken || (link === "lost" && lost);
  patch(main, ["p.banner", { hidden: !problem }, problem], ...content(id));
  const { code, sentence, name } = (id ? found : frame) ?? {};
  const title = problem || sentence || "peekaping-producer";
  document.title = name ? `${name}: ${title}` : title;
  announce(problem ? "lost" : code, title);
  patch(
    byId("foot"),
    frame && ["span", "peekaping-producer ", frame.program],
    frame && ["span", "served by ", ["bdi", frame.node]],
    ["span", "times in UTC, by the clock of Redis"],
    ["span", session.user ? ["", "signed in as ", ["bdi", session.user]] : session.why_not],
    session.can_see && session.can_log_in && button("Log in", () => set({ asksForToken: true })),
    session.can_log_out && button("Log out", logOut),
  );
}

/** What is being read, and after a while what it waits for. */
function waiting(id) {
  if (state.link === "frozen") return "The page is frozen.";
  const isLong = performance.now() - arrived > LONG_MS;
  if (!id) return `Reading the state of the fleet…${isLong ? " The server has not sent it yet." : ""}`;
  const { level, sentence } = state.frame ?? {};
  const reason = level && level !== "good" ? ` ${sentence}` : "";
  return `Reading the monitor…${isLong ? ` Redis or the database has not answered yet.${reason}` : ""}`;
}

/** What is below the header. */
function content(id) {
  const { session, notice, broken } = state;
  if (broken) return [];
  if (!id && location.pathname !== "/")
    return [["section.verdict", ["h1", "This address has no page."], ["p", ["a", { href: "/" }, "Fleet"]]]];
  if (session.can_see === false && !session.can_log_in) return [hint(session.why_not)];
  if (session.can_see === false || state.asksForToken) return [login(notice, logIn)];
  return (id ? state.found : state.frame)?.body ?? [hint(state.failure || waiting(id))];
}

/** What the server leaves to the browser. */
const slots = {
  acts() {
    const { session, notice, frame, found } = state;
    const id = monitorId();
    const { held } = id ? found : frame;
    return acts({ session, id, held, notice, scheduled: frame?.scheduled }, act);
  },
  spans() {
    const choice = (s) => button(`${s} min`, () => set({ unit: s }), { "aria-pressed": `${s === unit()}` });
    return ["span.switch", { role: "group", "aria-label": "Span" }, choice(1), choice(10)];
  },
  around() {
    const width = main.querySelector(".card header")?.clientWidth ?? main.clientWidth - 80;
    return around(state.frame, unit(), Math.max(280, width));
  },
  silent: () => [
    "",
    ["p", button("Find monitors without a heartbeat", readSilent)],
    ["div", { role: "status" }, ...state.silent],
  ],
};
parts.Slot = (name) => slots[name]();
const unit = () => state.unit || (state.frame.level === "bad" ? 10 : 1);

/** Screen readers announce a verdict when its code changes, and not each number. */
function announce(code, sentence) {
  const announcer = byId("announcer");
  if (announcer.dataset.code === code) return;
  announcer.dataset.code = code;
  announcer.textContent = sentence;
}

function drawClock() {
  const { frame, received, link } = state;
  const elapsed = link === "live" ? performance.now() - received : 0;
  patch(byId("clock"), frame && `${clock(frame.now_ms + elapsed, frame.now_ms)} UTC`);
}

function go(path) {
  history.pushState(null, "", path);
  arrive();
}

function arrive() {
  closeSearch();
  arrived = performance.now();
  set({ found: null, failure: "", notice: "", asksForToken: false });
  readMonitor();
  main.focus();
  scrollTo(0, 0);
}

/** Follow links within the page without loading it again. */
function follow(event) {
  const link = event.target.closest("a:not([href^='#'])");
  if (!link || event.button || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  go(link.pathname);
}

startSearch(go);
addEventListener("popstate", arrive);
addEventListener("resize", draw);
document.addEventListener("click", follow);
document.addEventListener("visibilitychange", () => {
  if (state.link === "live") set({ link: "connecting" });
  read();
});
byId("freeze").addEventListener("click", () => {
  set({ link: state.link === "frozen" ? "connecting" : "frozen" });
  read();
});
setInterval(() => {
  drawClock();
  if (!(monitorId() ? state.found : state.frame)) draw(); // What it waits for is shown after a while.
}, 500);
start();
