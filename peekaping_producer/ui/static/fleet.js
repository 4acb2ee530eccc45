// The page of the fleet.

import { LATE_S, around, spark, stack } from "./charts.js";
import { age, button, card, clock, count, counted, duration, h, hint, inClaims } from "./page.js";
import { link, log, pairs, sub, table, tag, text, verdict } from "./page.js";

const WORDS = { good: "OK", warn: "Warning", bad: "Problem" };
const MAX_SILENT = 10;

/** The page. `view`: what the page itself keeps, and its controls. */
export function fleet(frame, view) {
  const { now_ms: now, verdict: found } = frame;
  return [
    verdict(found.level, WORDS[found.level], found, now, view.acts),
    failures(frame),
    summary(frame),
    card("Around now", spans(view), around(frame, view.unit, view.width), frame.hint && hint(frame.hint)),
    overdue(frame),
    h("div.columns", h("div", replicas(frame), events(frame)), h("div", queue(frame), quiet(frame, view))),
  ];
}

const failures = (frame) =>
  [
    [frame.redis_failure, `All figures are from ${clock(frame.read_ms, frame.now_ms)}, because Redis does not answer`],
    [frame.details_failure, "Due times, overdue monitors and events are old, because Redis does not answer"],
    [frame.database_failure, "Names are missing, because the database does not answer"],
  ].map(([failure, what]) => {
    const since = failure?.since_ms ? `, since ${clock(failure.since_ms, frame.now_ms)}` : "";
    return failure && hint(`${what}${since}: `, text(failure.reason));
  });

const spans = ({ unit, setUnit }) =>
  h(
    "span.switch",
    { role: "group", "aria-label": "Span" },
    [1, 10].map((s) => button(`${s} min`, () => setUnit(s), { "aria-pressed": String(s === unit) })),
  );

function summary({ leader, queue: tasks, overdue: waiting, scheduled, ...frame }) {
  const { replicas_known: known, replicas_heard: heard } = frame;
  const silence = known > heard ? `${known - heard} silent` : known ? "all report" : "none reports";
  const isLate = frame.verdict.level === "bad" && waiting > 0;
  const share = `${((100 * waiting) / (scheduled || 1)).toFixed(1)} %, longest ${duration(frame.longest_wait_s)}`;
  const slots = tasks && `${count(tasks.running)} of ${counted(tasks.slots, "slot")} busy`;
  const busy = tasks?.slots ? slots : "no worker is registered";
  const rows = [
    leader
      ? ["Leader", text(leader.name), leader.node !== leader.name && text(leader.node)]
      : ["Leader", "none", "no replica leads", true],
    ["Replicas", `${heard} of ${known}`, silence, heard < (known || 1)],
    ["In the schedule", count(scheduled), `${count(frame.leased)} claimed`],
    ["Overdue", count(waiting), waiting ? share : "none", isLate],
    ["Late, p99", duration(frame.late_p99_s), "in the last minute", frame.late_p99_s > LATE_S],
    ["Waiting for a worker", count(tasks?.waiting), tasks ? busy : "not known"],
  ];
  return pairs("facts", rows.map(([name, value, note, isBad]) => [name, [h("b", value), sub(note)], isBad && "bad"]));
}

function overdue({ longest_overdue: monitors, overdue: all, leased, longest_wait_s: wait, now_ms: now }) {
  const title = "Longest overdue";
  if (!monitors.length) {
    const claimed = `${counted(leased, "monitor")} ${inClaims(leased)} and not handed off.`;
    return wait > LATE_S && leased > 0 && card(title, "", hint(claimed));
  }
  const columns = [["monitor", "name"], ["interval"], ["since", "number"], ["waits", "number"], ["claimed by"]];
  const rows = monitors.map(({ id, name, interval_s: interval, due_ms: due, claimed_ms: claimed, holder }) => [
    link(id, name),
    interval && `every ${interval} s`,
    clock(due ?? claimed, now),
    h("span.bad", due == null ? `in a claim for ${age(claimed, now)}` : age(due, now)),
    holder == null ? "not claimed" : text(holder || "an unknown replica"),
  ]);
  const note = all > rows.length && `the first ${rows.length} of ${count(all)}`;
  return card(title, note, table("overdue", columns, rows));
}

const events = ({ events: list, events_failure: failure, now_ms: now }) =>
  card("What changed", "the latest events", failure ? hint(text(failure)) : log(list, now));

function replicas({ replicas: all, replicas_omitted: more, leader, now_ms: now }) {
  const columns = [
    ["replica", "name"],
    ["handed off"],
    ["late, p99", "number"],
    ["a batch"],
    ["database", "number"],
    ["Redis", "number"],
    ["heard", "number"],
  ];
  const failing = all.flatMap(({ name, failing: parts }) =>
    parts.map((part) =>
      h("p.bad", text(name), `: ${part.name} fails since ${clock(part.since_ms, now)}: `, text(part.reason)),
    ),
  );
  const stages = ["claim", "read", "build", "hand_off"].map((stage) => h(`span.${stage}`, words(stage)));
  return card(
    "Replicas",
    more > 0 && `and ${more} more`,
    table("replicas", columns, all.map((replica) => cells(replica, leader?.node, now))),
    failing,
    h("p.key", stages, h("span.slow", "much slower than usual")),
  );
}

function cells(replica, leader, now) {
  const recent = replica.handed_off_1s.slice(-6, -1); // The last second is not complete.
  const rate = recent.reduce((total, number) => total + number, 0) / recent.length;
  return [
    [
      [h("b", text(replica.name || replica.node)), " "],
      [replica.node === leader && tag("leads", "lead"), replica.is_silent && tag("silent", "bad")],
      sub([replica.version, replica.started_ms && `up ${age(replica.started_ms, now)}`].filter(Boolean).join(", ")),
    ],
    recent.length > 0 && [spark(replica.handed_off_1s), ` ${count(rate)}/s`],
    duration(replica.late_p99_s),
    batch(Object.entries(replica.stages), replica.slow_stages),
    replica.database_ms == null ? h("span.bad", "no answer") : duration(replica.database_ms / 1000),
    duration(replica.round_trip_ms && replica.round_trip_ms / 1000),
    age(replica.heard_ms, now),
  ];
}

const words = (stage) => stage.replace("_", " ");

/** Where the time of a batch goes; `slow` contains the names of the slow stages. */
function batch(stages, slow = []) {
  const times = stages.filter(([, [recent]]) => recent != null);
  const whole = times.reduce((total, [, [recent]]) => total + recent, 0);
  const name = times.map(([stage, [recent, usual]]) => {
    const normal = usual ? `, usually ${duration(usual / 1000)}` : "";
    return `${words(stage)} ${duration(recent / 1000)}${normal}`;
  });
  const parts = times.map(([stage, [recent]]) => [slow.includes(stage) ? "slow" : stage, recent]);
  return whole ? [stack(parts, whole, name.join("; ")), " ", duration(whole / 1000)] : "–";
}

function queue({ queue: tasks, now_ms: now }) {
  if (!tasks) return card("Queue and workers", "not known");
  const missing = tasks.slots_needed - tasks.slots;
  const isStored = tasks.results_workers > 0 || tasks.results_waiting === 0;
  const columns = [["worker", "name"], ["load"], ["busy", "number"], ["up", "number"]];
  const rows = tasks.workers.map(({ name, busy, slots, started_ms: started }) => {
    const load = `${busy} of ${slots}`;
    return [text(name), stack([["hand_off", busy]], slots, load), load, age(started, now)];
  });
  return card(
    "Queue and workers",
    `read ${age(tasks.read_ms, now)} ago`,
    pairs("figures", [
      ["waiting", count(tasks.waiting)],
      ["oldest waits", tasks.oldest_s == null ? "none" : duration(tasks.oldest_s)],
      ["slots busy", `${count(tasks.running)} of ${count(tasks.slots)}`],
      ["finished", `${tasks.finished_per_s?.toFixed(1) ?? "–"}/s`],
      ["retry", [count(tasks.retry), sub("failed; run again later")]],
      ["archived", [count(tasks.archived), sub("failed; not run again")]],
      ["results waiting", count(tasks.results_waiting), isStored ? "" : "bad"],
    ]),
    tasks.paused && hint("The queue is paused."),
    missing > 0 && hint(`${counted(missing, "more slot")} needed.`),
    !isStored && hint("No worker stores results."),
    rows.length ? table("workers", columns, rows) : hint("No worker is registered for the queue."),
    tasks.workers_omitted > 0 && sub(`and ${tasks.workers_omitted} more`),
  );
}

function quiet({ quiet: { unschedulable, set_aside: aside, anomalies }, now_ms: now }, { silent, readSilent }) {
  const rows = Object.entries({
    "Active rows that cannot be scheduled": unschedulable,
    "Set aside after a failed attempt": aside,
    ...anomalies,
  });
  const found = silent?.monitors;
  const total = found ? `${count(silent.silent)} of ${count(silent.compared)}` : "?";
  const items = found?.slice(0, MAX_SILENT).map(({ id, name, interval_s: interval, latest_at: latest }) => {
    const heard = latest ? `latest ${clock(Date.parse(latest), now)}` : "no heartbeat";
    return h("li", link(id, name), sub(`every ${interval} s, ${heard}`));
  });
  return card(
    "Not checked",
    "as replicas report",
    pairs("counts", [
      ...rows.map(([name, number]) => [name, count(number), number && "warn"]),
      ["Active, without a heartbeat in three intervals", total],
    ]),
    items && h("ul", items),
    found?.length > MAX_SILENT && hint(`and ${count(silent.silent - MAX_SILENT)} more: peekaping-producer explain --silent`),
    h(
      "p",
      button("Find them", readSilent),
      " ",
      h("span", { role: "status" }, silent && (silent.error ?? `Read at ${clock(Date.parse(silent.at), now)}`)),
    ),
  );
}
