// The page of the fleet.

import { around, spark, stack } from "./charts.js";
import { card, clock, count, counted, duration, h, hint, link, log, pairs, sub, table, tag, text, verdict } from "./page.js";

const SLOW = 5; // times the usual, as in the rules of the verdict

/** The page. `view`: what the page itself keeps, and its controls. */
export function fleet(frame, view) {
  const { now_ms: now, verdict: found } = frame;
  const failures = [
    [frame.redis_failure, `The figures were read at ${clock(frame.read_ms, now)}: Redis`],
    [frame.details_failure, "Due times, longest overdue monitors and events are old: Redis"],
    [frame.database_failure, "Names are missing: the database"],
  ];
  return [
    verdict(found.level, { good: "OK", warn: "Warning", bad: "Problem" }[found.level], found, now, view.acts),
    failures.map(([failure, what]) => failure && hint(`${what} does not answer since ${clock(failure.since_ms, now)}. `, text(failure.reason))),
    summary(frame),
    card("Around now", view.spans, around(frame, view.unit, view.width), frame.hint && hint(frame.hint)),
    frame.longest_overdue.length > 0 && overdue(frame),
    h("div.columns", h("div", replicas(frame), card("What changed", "the latest events", frame.events_failure ? hint(frame.events_failure) : log(frame.events, now))), h("div", queue(frame), quiet(frame, view))),
  ];
}

function summary({ leader, queue: tasks, overdue: waiting, scheduled, ...frame }) {
  const silent = frame.replicas_known - frame.replicas_heard;
  const late = frame.verdict.level === "bad" && waiting > 0;
  const rows = [
    ["Leader", leader ? text(leader.name) : "none", leader ? text(leader.node) : "no replica leads", !leader],
    ["Replicas", `${frame.replicas_heard} of ${frame.replicas_known}`, silent ? `${silent} silent` : "all report", silent],
    ["In the schedule", count(scheduled), `${count(frame.leased)} claimed`],
    ["Overdue", count(waiting), waiting ? `${((100 * waiting) / scheduled).toFixed(1)} %, longest ${duration(frame.longest_wait_s)}` : "none", late],
    ["Late, p99", duration(frame.late_p99_s), "in the last minute", late],
    ["Waiting for a worker", count(tasks?.waiting), tasks ? `${count(tasks.running)} of ${counted(tasks.slots, "slot")} busy` : "not known"],
  ];
  return pairs("facts", rows.map(([name, value, note, bad]) => [name, [h("b", value), sub(note)], bad && "bad"]));
}

const overdue = ({ longest_overdue: monitors, now_ms: now }) =>
  card("Longest overdue", "", table(
    "overdue",
    [["monitor", "name"], ["interval"], ["was due", "number"], ["waits", "number bad"], ["claimed by"]],
    monitors.map(({ id, name, interval_s: interval, due_ms: due, holder }) => [link(id, name), interval && `every ${interval} s`, clock(due, now), duration(due && (now - due) / 1000), holder == null ? "no replica" : text(holder || "an unknown replica")]),
  ));

function replicas({ replicas: all, replicas_omitted: more, now_ms: now }) {
  const columns = [["replica", "name"], ["handed off"], ["late, p99", "number"], ["a batch"], ["database", "number"], ["Redis", "number"], ["heard", "number"]];
  const rows = all.map((replica) => [
    [
      h("b", text(replica.name)), " ", replica.leads && tag("leads", "lead"), replica.is_silent && tag("silent", "bad"),
      sub(replica.version, ", up ", duration((now - replica.started_ms) / 1000)),
    ],
    [spark(replica.handed_off_1s), ` ${(replica.handed_off_1s.slice(-6, -1).reduce((a, b) => a + b, 0) / 5).toFixed(0)}/s`],
    duration(replica.late_p99_s),
    batch(Object.entries(replica.stages)),
    replica.database_ms == null ? h("span.bad", "no answer") : duration(replica.database_ms / 1000),
    duration(replica.round_trip_ms && replica.round_trip_ms / 1000),
    duration((now - replica.heard_ms) / 1000),
  ]);
  const failures = all.flatMap(({ name, failing }) =>
    failing.map((part) => h("p.bad", text(name), `: ${part.name} fails since ${clock(part.since_ms, now)}: `, text(part.reason))),
  );
  const key = ["claim", "read", "build", "hand_off", "slow"].map((stage) =>
    h(`span.${stage}`, stage === "slow" ? `over ${SLOW} times the usual` : words(stage)),
  );
  return card("Replicas", more > 0 && `and ${more} more`, table("replicas", columns, rows), failures, h("p.key", key));
}

const words = (stage) => stage.replace("_", " ");

/** Where the time of a batch goes. */
function batch(stages) {
  const times = stages.filter(([, [recent]]) => recent != null);
  const whole = times.reduce((sum, [, [recent]]) => sum + recent, 0);
  const name = times.map(([stage, [recent, usual]]) => `${words(stage)} ${duration(recent / 1000)}${usual ? `, usually ${duration(usual / 1000)}` : ""}`).join("; ");
  const parts = times.map(([stage, [recent, usual]]) => [usual && recent > SLOW * usual ? "slow" : stage, recent]);
  return whole ? [stack(parts, whole, name), " ", duration(whole / 1000)] : "–";
}

function queue({ queue: tasks, now_ms: now }) {
  if (!tasks) return card("Queue and workers", "not known");
  const missing = tasks.slots_needed - tasks.slots;
  return card(
    "Queue and workers",
    `read ${duration((now - tasks.read_ms) / 1000)} ago`,
    pairs("figures", [
      ["waiting", count(tasks.waiting)],
      ["oldest waits", tasks.oldest_s == null ? "none" : duration(tasks.oldest_s)],
      ["slots busy", `${count(tasks.running)} of ${count(tasks.slots)}`],
      ["finished", `${tasks.finished_per_s == null ? "?" : tasks.finished_per_s.toFixed(1)}/s`],
      ["retry, archived", `${count(tasks.retry)}, ${count(tasks.archived)}`],
      ["results waiting", count(tasks.results_waiting), tasks.results_workers ? "" : "bad"],
    ]),
    tasks.paused && hint("The queue is paused."),
    missing > 0 && hint(`${counted(missing, "more slot")} needed.`),
    !tasks.results_workers && hint("No worker stores results."),
    table("workers", [["worker", "name"], ["load"], ["busy", "number"], ["up", "number"]], tasks.workers.map((worker) => {
      const busy = `${worker.busy} of ${worker.slots}`;
      return [text(worker.name), stack([["hand_off", worker.busy]], worker.slots, busy), busy, duration(worker.started_ms && (now - worker.started_ms) / 1000)];
    })),
    tasks.workers.length === 0 && hint("No worker is registered for the queue."),
    tasks.workers_omitted > 0 && sub(`and ${tasks.workers_omitted} more`),
  );
}

function quiet({ quiet: { unschedulable, set_aside: aside, anomalies }, now_ms: now }, { silent, findSilent }) {
  const rows = [["Active rows that cannot be scheduled", unschedulable], ["Set aside after a failed attempt", aside], ...Object.entries(anomalies)];
  const found = silent?.monitors;
  return card(
    "Not checked",
    "as replicas report",
    pairs("counts", [...rows.map(([name, number]) => [name, count(number), number && "warn"]), ["Active, without a heartbeat in three intervals", found ? `${count(silent.silent)} of ${count(silent.compared)}` : "?"]]),
    found && h("ul", found.slice(0, 10).map(({ id, name, interval_s: interval, latest_at: latest }) => h("li", link(id, name), sub(`every ${interval} s, ${latest ? `latest ${clock(Date.parse(latest), now)}` : "no heartbeat"}`)))),
    h("p", h("button", { type: "button", onclick: findSilent }, "Find them"), " ", h("span", { role: "status" }, silent && (silent.error ?? `Read at ${clock(Date.parse(silent.at), now)}`))),
  );
}
