// The page of a monitor: the document of `explain --json`.

import { ticks } from "./charts.js";
import { at, card, clock, count, h, hint, link, log, pairs, sub, tag, text, verdict } from "./page.js";

const LEVELS = { ok: ["good", "OK"], off: ["off", "Off"], note: ["warn", "Note"], fail: ["bad", "Problem"] };

/** The page of `found`. `view`: what the page itself keeps, and its controls. */
export function monitor(found, view) {
  const now = Date.parse(found.at);
  const ms = (iso) => (iso ? Date.parse(iso) : null);
  const when = (iso) => iso && at(ms(iso), now);
  const { row, schedule, task, maintenance, hold } = found;
  if (found.candidates) {
    return card("Several monitors match", "", h("ul", found.candidates.map(({ id, name, interval_s: interval }) => h("li", link(id, name), sub(id, ` every ${interval} s`)))));
  }
  const sentence = { sentence: text(found.sentence), details: found.remedy && text(found.remedy), ends_ms: ms(found.ends_at) };
  return [
    h(
      "p.crumb",
      [h("a", { href: "/" }, "Fleet"), " › ", h("b", text(found.name ?? found.id)), " "],
      row && [tag(row.active ? "active" : "paused", row.active ? "good" : "warn"), " ", tag(text(row.type)), " ", tag(`every ${row.interval_s} s`)],
      h("code.sub", found.id),
    ),
    verdict(...LEVELS[found.level], sentence, now, view.acts),
    row && card("Ticks", `read at ${clock(now, now)}`, axis(found, now, view.width), h("p.key", ["up", "down", "other", "none", "next"].map((kind) => h(`span.${kind}`, NAMES[kind])))),
    h(
      "div.columns even",
      card("Schedule", "", schedule ? pairs("pairs", [
        ["State", { due: "due", lease: "claimed" }[schedule.in[0]] ?? "not in the schedule"],
        ["Due", when(schedule.due_at)],
        ["Claimed by", schedule.holder && text(schedule.holder)],
        ["Claim ends", when(schedule.lease_ends_at)],
        ["Not handed off since", when(schedule.intended_at)],
        ["Held", hold && [`until ${at(hold.until_ms, now)} by `, text(hold.who), ": ", text(hold.why)]],
        ["Next ticks", schedule.next.map((tick) => clock(ms(tick), now)).join(", ")],
      ].filter(([, value]) => value)) : hint(text(found.errors.redis ?? "Not known."))),
      card("Task", "", task ? pairs("pairs", [
        ["State", text(task.state ?? task.kind)],
        ["Pending since", when(task.pending_since)],
        ["Place in the queue", task.position && count(task.position)],
        ["Running since", when(task.active_since)],
        ["Worker", task.worker && text(task.worker)],
        ["Lease of asynq ends", when(task.asynq_lease_ends_at)],
        ["Ticks not completed", task.uncompleted_ticks],
        ["At the next tick", task.at_next_tick === "replaced" ? "replaced by a new task" : "stays; no second task"],
      ].filter(([, value]) => value)) : hint("No check is pending or running.")),
      card("Database", "", row ? pairs("pairs", [
        ["Active", row.active ? "yes" : "no: paused in Peekaping"],
        ["Interval, timeout", `${row.interval_s} s, ${row.timeout_s} s`],
        ["Retries", row.max_retries ? `${row.max_retries}, ${row.retry_interval_s} s apart` : "none"],
        ["Proxy", row.proxy ? [text(row.proxy.protocol), " ", text(row.proxy.id), row.proxy.exists ? "" : " (missing)"] : "none"],
      ]) : hint(text(found.errors.database ?? "No row."))),
      card("Maintenance", "", maintenance && pairs("pairs", [["Now", maintenance.now ? "yes" : "no"], maintenance.next && ["Period", [when(maintenance.next.from) ?? "", " to ", when(maintenance.next.to) ?? "over 48 h from now"]]])),
    ),
    found.anomalies.length > 0 && card("Anomalies", "as replicas report", h("ul", found.anomalies.map(({ kind, reason }) => h("li", tag(kind, "warn"), " ", text(reason))))),
    card("Events", "the latest of this monitor", log(found.events.map((event) => ({ at_ms: ms(event.at), kind: event.kind, text: event.message, who: event.replica })), now)),
    hint("In a terminal: ", h("code", `peekaping-producer explain ${found.id}`)),
  ];
}

const NAMES = { up: "up", down: "down", other: "pending, running or maintenance", none: "tick without a stored result", next: "to come" };

/** Results at their times, ticks of which no result is stored, and ticks to come. */
function axis({ row, schedule, task, maintenance, heartbeats }, now, width) {
  const step = row.interval_s * 1000;
  const points = heartbeats.map(({ at: time, status, ms }) => ({ ms: Date.parse(time), kind: { up: "up", down: "down" }[status] ?? "other", name: `${status} ${ms} ms` }));
  const oldest = Math.min(...points.map((point) => point.ms));
  for (let tick = Math.floor((now - 5000) / step) * step; tick > oldest; tick -= step) {
    if (!points.some((point) => point.ms >= tick && point.ms < tick + step)) points.push({ ms: tick, kind: "none", name: NAMES.none });
  }
  if (task?.active_since) points.push({ ms: Date.parse(task.active_since), kind: "other", name: "running" });
  for (const tick of schedule?.next ?? []) points.push({ ms: Date.parse(tick), kind: "next", name: NAMES.next });
  const { now: active, next } = maintenance ?? {};
  const period = next ? [Date.parse(next.from ?? (active ? 0 : NaN)), Date.parse(next.to) || Infinity] : [1, 0];
  return ticks(points.sort((a, b) => a.ms - b.ms), [period], now, step, width);
}
