// The state of the page: which view, the stream of frames, the session, and what people do.

import { fleet } from "./fleet.js";
import { monitor } from "./monitor.js";
import { clock, h, hint, link, patch, sub, text } from "./page.js";

const SILENT_MS = 5000; // Frames come once a second.
const $ = (id) => document.getElementById(id);
const button = (name, onclick, props) => h("button", { type: "button", onclick, ...props }, name);

let session = {};
let frame = null;
let received = 0; // performance.now() of the frame
let state = "connecting"; // then live, lost, frozen
let found = null; // the document of the monitor
let failure = ""; // why there is none
let notice = "";
let silent = null;
let loggingIn = false;
let chosen = 0; // Seconds of a slot of the chart; 0: by the verdict.
let source, timer, reading;
let failures = 0;

const now = () => frame.now_ms + performance.now() - received;
const monitorId = () => location.pathname.match(/^\/monitors\/([^/]+)$/)?.[1];

/** GET, or POST with a body. Throws an Error with a sentence. */
async function call(path, body) {
  const post = { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  const response = await fetch(path, body && post).catch(() => {
    throw Error("The server of this page does not answer.");
  });
  const answer = await response.json().catch(() => ({}));
  if (response.ok) return answer;
  if (response.status === 401 && session.can_see) start();
  throw Error(answer.error ?? `The server answered with status ${response.status}.`);
}

// The stream of frames.

function open() {
  shut();
  if (document.hidden || state === "frozen" || !session.can_see) return;
  source = new EventSource("/api/frames");
  source.onerror = lost;
  source.addEventListener("frame", ({ data }) => {
    frame = JSON.parse(data);
    received = performance.now();
    failures = 0;
    state = "live";
    clearTimeout(timer);
    timer = setTimeout(lost, SILENT_MS);
    draw();
  });
  timer = setTimeout(lost, 3 * SILENT_MS);
}

function shut() {
  clearTimeout(timer);
  source?.close();
}

async function lost() {
  shut();
  state = "lost";
  draw();
  timer = setTimeout(start, Math.min(15000, 1000 * 2 ** failures++) * (0.75 + Math.random() / 2));
}

async function start() {
  try {
    session = await call("/api/session");
    open();
  } catch {
    lost();
  }
  draw();
  readMonitor();
}

// What is shown.

function draw() {
  const id = monitorId();
  const isStale = state === "lost" || state === "connecting";
  document.body.className = isStale ? "stale" : "";
  $("link").className = state;
  patch($("link"), state);
  $("freeze").setAttribute("aria-pressed", state === "frozen");
  patch($("clock"), frame ? clock(state === "live" ? now() : frame.now_ms, frame.now_ms) : "", " UTC");
  $("find").form.hidden = $("freeze").hidden = !session.can_see;
  const unit = chosen || (frame?.verdict.level === "bad" ? 10 : 1);
  const width = Math.max(280, $("main").clientWidth - ($("main").clientWidth < 640 ? 62 : 78));
  const view = { unit, width, silent, findSilent, spans: spans(unit), acts: acts(id) };
  let shown = hint(failure || "Reading the state of the fleet…");
  if (session.can_see === false || loggingIn) shown = login();
  else if (id ? found : frame) shown = id ? monitor(found, view) : fleet(frame, view);
  const problem = state === "lost" && `Connection lost${frame ? ` since ${clock(frame.now_ms, frame.now_ms)} UTC` : ""}. The page reconnects by itself; what it shows is old.`;
  patch($("main"), h("p", { class: "lost", hidden: !problem }, problem), shown);
  const sentence = problem || (id ? found?.sentence : frame?.verdict.sentence) || "";
  document.title = `${id && found?.name ? `${found.name}: ` : ""}${sentence || "peekaping-producer"}`;
  const code = problem ? "lost" : id ? found?.verdict : frame?.verdict.code;
  if ($("announcer").dataset.code !== code) {
    $("announcer").dataset.code = code;
    $("announcer").textContent = sentence;
  }
  patch($("foot"), frame && [h("span", "peekaping-producer ", frame.program), h("span", "served by ", text(frame.node))], h("span", "times in UTC, by the clock of Redis"), h("span", session.user ? ["signed in as ", text(session.user)] : session.why_not), session.can_log_in && session.can_see && button("Log in", () => { loggingIn = true; draw(); }), (session.user || session.can_act) && button("Log out", () => call("/api/logout", {}).finally(start)));
}

function spans(unit) {
  const choose = (seconds) => {
    chosen = seconds;
    draw();
  };
  const choices = [1, 10].map((seconds) => button(`${seconds} min`, () => choose(seconds), { "aria-pressed": unit === seconds ? "true" : "false" }));
  return h("span.switch", { role: "group", "aria-label": "Span" }, choices);
}

async function readMonitor() {
  clearTimeout(reading);
  const id = monitorId();
  if (!id || !session.can_see || state === "frozen" || document.hidden) return;
  try {
    const answer = await call(`/api/monitors/${id}`);
    if (id === monitorId()) [found, failure] = [answer, ""];
  } catch (error) {
    [found, failure] = [null, error.message];
  }
  draw();
  reading = setTimeout(readMonitor, 5000);
}

async function findSilent() {
  try {
    silent = await call("/api/silent");
  } catch (error) {
    silent = { error: error.message };
  }
  draw();
}

// What people do.

function acts(id) {
  const allowed = session.can_act;
  const target = id ? { ids: [decodeURIComponent(id)] } : { all: true };
  const held = id ? found?.hold && found.verdict !== "held.all" : frame?.hold;
  const act = (name, onclick, kind) => button(name, allowed && onclick, { class: kind, "aria-disabled": !allowed && "true", "aria-describedby": "why" });
  return h(
    "div.acts",
    id ? act("Run now", () => post("run-now", { ...target, why: "" }), "main") : act("Sync now", () => post("sync", {})),
    held ? act("Release", () => post("release", target)) : act(id ? "Hold…" : "Hold all…", () => holdDialog(target)),
    h("span", { id: "why", role: "status" }, allowed ? notice : session.why_not),
  );
}

async function post(name, body) {
  try {
    const answer = await call(`/api/acts/${name}`, body);
    notice = answer.monitors?.map(({ sentence }) => sentence).join(" ") || answer.sentence || "Done.";
  } catch (error) {
    notice = error.message;
  }
  draw();
  readMonitor();
}

function holdDialog(target) {
  const ends = target.all ? [[300, "5 min"], [900, "15 min"], [1800, "30 min"], [3600, "1 h"]] : [[900, "15 min"], [3600, "1 h"], [14400, "4 h"], [86400, "1 d"], [604800, "7 d"]];
  const submit = () => post("hold", { ...target, for_s: +$("for").value, why: $("reason").value });
  patch(
    $("dialog"),
    h(
      "form",
      { method: "dialog", onsubmit: submit },
      h("h2", { id: "dialog-title" }, target.all ? "Hold all monitors" : "Hold this monitor"),
      h("p", "No check is handed off until the end. A hold survives restarts; anyone who may act can release it."),
      h("label", "For ", h("select", { id: "for" }, ends.map(([value, name]) => h("option", { value }, name)))),
      h("label", "Reason ", h("input", { id: "reason", required: true, maxlength: 200, autocomplete: "off" })),
      h("div.acts", h("button.main", "Hold"), button("Cancel", () => $("dialog").close())),
    ),
  );
  $("for").value = target.all ? 900 : 3600;
  $("reason").value = "";
  $("dialog").showModal();
}

function login() {
  const submit = async (event) => {
    event.preventDefault();
    try {
      await call("/api/login", { token: $("token").value });
      notice = "";
      loggingIn = false;
      start();
    } catch (error) {
      notice = error.message;
      draw();
    }
  };
  return h("form.card login", { onsubmit: submit }, h("h1", "Log in"), h("label", "Token ", h("input", { id: "token", type: "password", required: true, autocomplete: "current-password" })), h("button.main", "Log in"), h("p.bad", { role: "alert" }, notice));
}

async function find(event) {
  event.preventDefault();
  const query = $("find").value.trim();
  if (!query) return;
  patch($("found"), hint("Searching…"));
  try {
    const { monitors, more } = await call(`/api/monitors?q=${encodeURIComponent(query)}`);
    if (monitors.length === 1 && !more) return go(`/monitors/${encodeURIComponent(monitors[0].id)}`);
    patch($("found"), h("ul", monitors.map(({ id, name, interval_s: interval, active }) => h("li", link(id, name), sub(active ? `every ${interval} s` : "paused")))), !monitors.length && hint("No monitor matches."), more > 0 && hint(`and ${more} more`));
  } catch (error) {
    patch($("found"), hint(error.message));
  }
}

function go(path) {
  history.pushState(null, "", path);
  show();
}

function show() {
  found = null;
  failure = notice = "";
  loggingIn = false;
  patch($("found"));
  draw();
  readMonitor();
  $("main").focus();
  scrollTo(0, 0);
}

// Events of the browser.

addEventListener("popstate", show);
addEventListener("resize", draw);
document.addEventListener("visibilitychange", () => {
  if (state === "live") state = "connecting";
  open();
  readMonitor();
});
document.addEventListener("click", (event) => {
  const target = event.target.closest("a");
  if (!target || target.hash || event.button || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  go(target.pathname);
});
document.addEventListener("keydown", (event) => {
  const links = [...$("found").querySelectorAll("a")];
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (event.key === "/" && !/INPUT|SELECT/.test(event.target.tagName)) {
    event.preventDefault();
    $("find").select();
  } else if (event.key === "Escape") {
    patch($("found"));
  } else if (step && event.target.closest(".find")) {
    event.preventDefault();
    (links[links.indexOf(document.activeElement) + step] ?? $("find")).focus();
  }
});
$("find").form.addEventListener("submit", find);
$("freeze").addEventListener("click", () => {
  state = state === "frozen" ? "connecting" : "frozen";
  open();
  draw();
  readMonitor();
});
setInterval(() => state === "live" && patch($("clock"), clock(now(), now()), " UTC"), 500);
start();
