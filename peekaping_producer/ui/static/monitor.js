// The page of a monitor: the document of `explain --json`.

import { MAX_PAST_TICKS, ticks } from "./charts.js";
import { at, card, clock, count, h, hint, link, log, pairs, sub, tag, text, verdict } from "./page.js";

const LEVELS = { ok: ["good", "OK"], off: ["off", "Off"], note: ["warn", "Note"], fail: ["bad", "Problem"] };
const KINDS = {
  up: "up",
  down: "down",
  other: "pending, running or maintenance",
  none: "tick without a stored result",
  next: "to come",
};
const RESULT_WITHIN_MS = 5000;

const parsed = (iso) => (iso ? Date.parse(iso) : null);

/** The page of `found`. `view`: what the page itself keeps, and its controls. */
export function monitor(found, view) {
  const { candidates, now_ms: now, row } = found;
  if (candidates) return matches(candidates);
  const when = (iso) => iso && at(parsed(iso), now);
  const answer = { sentence: found.sentence, details: found.remedy };
  return [
    heading(found),
    verdict(...LEVELS[found.level], { ...answer, ends_ms: parsed(found.ends_at) }, now, view.acts),
    row && card("Ticks", `read at ${clock(now, now)}`, axis(found, view.width), key),
    h("div.columns even", schedule(found, when), task(found, when), database(found), maintenance(found, when)),
    anomalies(found),
    card("Events", "", found.events.length ? log(found.events.map(eventOf), now) : hint("None of the latest 1,000.")),
    hint("In a terminal: ", h("code", `peekaping-producer explain ${found.id}`)),
  ];
}

const matches = (candidates) =>
  card(
    "Several monitors match",
    "",
    h("ul", candidates.map(({ id, name, interval_s: s }) => h("li", link(id, name), s != null && sub(`${id}, `, s ? `every ${s} s` : "does not run")))),
  );

const heading = ({ id, name, row }) =>
  h(
    "p.crumb",
    [h("a", { href: "/" }, "Fleet"), " › ", h("b", text(name || id)), " "],
    row && [tag(row.active ? "active" : "paused", row.active ? "good" : "warn"), " ", tag(text(row.type)), " "],
    row && tag(`every ${row.interval_s} s`),
    name && h("code.sub", id),
  );

const key = h("p.key", Object.entries(KINDS).map(([css, name]) => h(`span.${css}`, name)));

/** The ticks before `next` in which no result is stored, as far back as the axis and the results reach. */
export function ticksWithout(results, next, step, now) {
  if (next == null || !step) return [];
  const oldest = Math.max(Math.min(...results), now - MAX_PAST_TICKS * step);
  const found = [];
  for (let tick = next - step * Math.ceil((next - now + RESULT_WITHIN_MS) / step); tick > oldest; tick -= step) {
    if (!results.some((ms) => ms >= tick && ms < tick + step)) found.push(tick);
  }
  return found;
}

/** Results at their times, ticks of which no result is stored, and ticks to come. */
function axis({ row, schedule: state, task: current, maintenance: found, heartbeats, now_ms: now }, width) {
  const step = row.interval_s * 1000;
  const points = heartbeats.map(({ at: time, status, ms }) => ({
    ms: parsed(time),
    css: KINDS[status] ? status : "other",
    name: `${status}, ${ms} ms`,
  }));
  const results = points.map(({ ms }) => ms);
  const missing = ticksWithout(results, parsed(state?.next[0]), step, now);
  points.push(...missing.map((ms) => ({ ms, css: "none", name: KINDS.none })));
  if (current?.active_since) points.push({ ms: parsed(current.active_since), css: "other", name: "running" });
  for (const tick of state?.next ?? []) points.push({ ms: parsed(tick), css: "next", name: KINDS.next });
  points.sort((a, b) => a.ms - b.ms);
  const { from, to } = found?.next ?? {};
  const period = from || found?.now ? [parsed(from) ?? 0, parsed(to) ?? Infinity] : [0, 0];
  return ticks(points, period, now, step, width);
}

function schedule({ schedule: state, hold, errors, now_ms: now }, when) {
  if (!state) return card("Schedule", "", hint(text(errors.redis ?? "Not known.")));
  return card(
    "Schedule",
    "",
    pairs("pairs", [
      ["State", { due: hold ? "held" : "due", lease: "claimed" }[state.in[0]] ?? "not in the schedule"],
      ["Due", when(state.due_at)],
      ["Claimed by", state.holder && text(state.holder)],
      ["Claim ends", when(state.lease_ends_at)],
      ["Not handed off since", when(state.intended_at)],
      ["Held", hold && [`until ${at(hold.until_ms, now)} by `, text(hold.who), ": ", text(hold.why)]],
      ["Next ticks", state.next.map((tick) => clock(parsed(tick), now)).join(", ")],
    ]),
  );
}

function task({ task: found }, when) {
  if (!found) return card("Task", "", hint("No check is pending or running."));
  return card(
    "Task",
    "",
    pairs("pairs", [
      ["State", text(found.state ?? found.kind)],
      ["Pending since", when(found.pending_since)],
      ["Place in the queue", found.position && count(found.position)],
      ["Running since", when(found.active_since)],
      ["Worker", found.worker && text(found.worker)],
      ["Lease of asynq ends", when(found.asynq_lease_ends_at)],
      ["Ticks not completed", found.uncompleted_ticks],
      ["At the next tick", found.at_next_tick === "replaced" ? "replaced by a new task" : "stays; no second task"],
    ]),
  );
}

function database({ row, errors }) {
  if (!row) return card("Database", "", hint(text(errors.database ?? "No row.")));
  const { proxy } = row;
  return card(
    "Database",
    "",
    pairs("pairs", [
      ["Active", row.active ? "yes" : "no: paused in Peekaping"],
      ["Interval, timeout", `${row.interval_s} s, ${row.timeout_s} s`],
      ["Retries", row.max_retries ? `${row.max_retries}, ${row.retry_interval_s} s apart` : "none"],
      ["Proxy", proxy ? [text(proxy.protocol), " ", text(proxy.id), !proxy.exists && " (does not exist)"] : "none"],
    ]),
  );
}

function maintenance({ maintenance: found }, when) {
  if (!found) return card("Maintenance", "not known");
  const { from, to } = found.next ?? {};
  const period = [from && `from ${when(from)} `, to ? `until ${when(to)}` : "for 48 h or longer"];
  return card(
    "Maintenance",
    "",
    pairs("pairs", [
      ["Now", found.now ? "yes" : "no"],
      ["Period", found.next ? period : "none within 48 h"],
    ]),
  );
}

const anomalies = ({ anomalies: found }) =>
  found.length > 0 &&
  card(
    "Anomalies",
    "as replicas report",
    h("ul", found.map(({ kind, reason }) => h("li", tag(text(kind), "warn"), " ", text(reason)))),
  );

const eventOf = ({ at: time, kind, message, replica }) => ({ at_ms: parsed(time), kind, text: message, who: replica });
