// Charts. `width` is in CSS pixels, so that texts keep their size.

import { at, clock, count, duration, h } from "./page.js";

const LEFT = 44;
const TOP = 34;
const BASE = 184; // of the bars
const BOTTOM = 258; // of the band below them
const most = (values) => Math.max(0, ...values);
const sum = (values) => values.reduce((total, value) => total + value, 0);
const span = (s) => (s % 60 ? `${s} s` : `${s / 60} min`);
const short = (value) => (value < 1000 ? value : `${value / 1000}k`);
const label = (x, y, anchor, text, kind = "") => h(`text.${kind}`, { x, y, "text-anchor": anchor }, text);
const line = (kind, x1, x2, y1, y2) => h(`line.${kind}`, { x1, x2, y1, y2 });

/** The lowest round number that is not below `value`. */
function ceiling(value) {
  const unit = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 3, 4, 5, 8, 10].map((step) => step * unit).find((step) => step >= value);
}

/** What was handed off to the left of now, what becomes due to the right, and the longest wait. `unit`: s of a slot. */
export function around(frame, unit, width) {
  const { at_s: second, ...series } = unit === 1 ? frame.seconds : frame.ten_seconds;
  const n = width < 600 ? 40 : 60;
  const [past, late, waits] = [series.handed_off, series.late, series.longest_wait_s].map((values) => values.slice(-n));
  const due = series.due.slice(0, n);
  const slot = (width - LEFT) / (2 * n);
  const x = (slots) => LEFT + (n + slots) * slot;
  const max = ceiling(most([...past, ...due, 4]));
  const time = (slots) => clock((second + slots * unit) * 1000, frame.now_ms);
  const bars = (kind, values, from, what) =>
    values.map((value, i) => {
      const height = Math.max((value / max) * (BASE - TOP), 1.5);
      const place = { x: x(from + i) + slot / 12, y: BASE - height, width: slot * 0.84, height };
      return value > 0 && h(`rect.${kind}`, place, h("title", `${time(from + i + 1)}: ${count(value)} ${what}`));
    });
  const peak = due.indexOf(most(due));
  const flip = peak > n / 2;
  const each = unit === 1 ? "each second" : `each ${unit} s`;
  const waitMax = ceiling(most([...waits, 1]));
  const wait = waits.flatMap((value, i) => (value == null ? [] : [[x(i - waits.length + 0.5), BOTTOM - (value / waitMax) * 40]]));
  const points = wait.join(" ");
  const css = most(waits.slice(-2)) > 2 ? "wait bad" : "wait";
  const since = frame.verdict.level !== "good" && (frame.now_ms - frame.verdict.since_ms) / 1000 / unit;
  const summary =
    `Last ${span(n * unit)}: ${count(sum(past))} handed off, ${count(sum(late))} of them late. ` +
    `Next ${span(n * unit)}: ${count(sum(due))} due, at most ${count(due[peak])}, at ${time(peak + 1)}. Longest wait: ${duration(waits.at(-1))}.`;
  return h(
    "svg",
    { viewBox: `0 0 ${width} ${BOTTOM + 2}`, role: "img", "aria-label": summary },
    [0, 0.5, 1].map((share) => {
      const y = BASE - share * (BASE - TOP);
      return [line("grid", LEFT, width, y, y), label(LEFT - 8, y + 4, "end", short(share * max))];
    }),
    bars("past", past, -past.length, "handed off"),
    bars("late", late, -late.length, "handed off late"),
    bars("due", due, 0, "due"),
    label(LEFT, 14, "start", `handed off, ${each}`, "name"),
    label(width, 14, "end", n < 60 ? "due" : `due, ${each}`, "name"),
    due[peak] > 0.3 * max && label(x(peak + 0.5) + (flip ? -8 : 8), BASE - (due[peak] / max) * (BASE - TOP) + 11, flip ? "end" : "start", `${count(due[peak])} at ${time(peak + 1)}`, "peak"),
    [-48, -36, -24, -12, 12, 24, 36, 48].map((k) => Math.abs(k) < n && label(x(k), BASE + 17, "middle", `${k < 0 ? "−" : "+"}${span(Math.abs(k) * unit)}`)),
    points && h("polygon", { class: css, points: `${wait[0][0]},${BOTTOM} ${points} ${wait.at(-1)[0]},${BOTTOM}` }),
    h("polyline", { class: css, points }),
    line("grid", LEFT, x(0), BOTTOM, BOTTOM),
    label(LEFT - 8, BOTTOM - 36, "end", `${short(waitMax)} s`),
    label(x(0) + 12, BOTTOM - 8, "start", `longest wait: ${duration(waits.at(-1))}`, "name"),
    since > 0 && since < n && [line("mark", x(-since), x(-since), TOP + 8, BOTTOM), label(x(-since) + 6, TOP + 20, "start", clock(frame.verdict.since_ms, frame.now_ms), "peak")],
    line("now", x(0), x(0), TOP - 8, BOTTOM),
    h("rect.now", { x: x(0) - 33, y: TOP - 26, width: 66, height: 19, rx: 5 }),
    label(x(0), TOP - 12.5, "middle", clock(frame.now_ms, frame.now_ms), "now"),
  );
}

/** Hand-offs by second. */
export function spark(values) {
  const max = most([...values, 5]);
  const points = values.map((value, i) => [(i * 72) / (values.length - 1), 21 - (value / max) * 19]).join(" ");
  return h("svg.spark", { viewBox: "0 0 72 22", role: "img", "aria-label": `at most ${count(most(values))} a second` }, h("polyline", { points }));
}

/** Parts of a whole, side by side; a part is [class, size]. */
export function stack(parts, whole, name) {
  let x = 0;
  return h("svg.stack", { viewBox: "0 0 88 9", role: "img", "aria-label": name }, h("title", name), parts.map(([kind, size]) => {
    const width = (88 * size) / whole || 0;
    x += width;
    return h(`rect.${kind}`, { x: x - width, width, height: 9 });
  }));
}

/** The ticks of a monitor; a point is { ms, kind, name }, a period [from, to] in ms. */
export function ticks(points, periods, now, step, width) {
  const from = now - (width < 600 ? 6 : 15) * step;
  const to = now + (width < 600 ? 3 : 5) * step;
  const x = (ms) => ((Math.min(Math.max(ms, from), to) - from) / (to - from)) * (width - 60) + 30;
  const seen = points.filter(({ ms }) => ms > from && ms < to);
  let labeled = -32; // The x of the last time that is written.
  return h(
    "svg",
    { viewBox: `0 0 ${width} 88`, role: "img", "aria-label": seen.map(({ ms, name }) => `${clock(ms, now)} ${name}`).join(", ") },
    periods.filter((period) => x(period[1]) > x(period[0])).map(([begins, ends]) => [
      h("rect.period", { x: x(begins), y: 20, width: x(ends) - x(begins), height: 44 }),
      label(Math.min(x(begins) + 6, width - 76), 33, "start", "maintenance"),
    ]),
    line("grid", 0, width, 48, 48),
    seen.map(({ ms, kind, name }) => {
      const isFree = x(ms) - labeled > 64;
      if (isFree) labeled = x(ms);
      const title = h("title", `${at(ms, now)}: ${name}`);
      return [h(`circle.${kind}`, { cx: x(ms), cy: 48, r: 6.5 }, title), isFree && label(x(ms), 82, "middle", clock(ms, now))];
    }),
    line("now", x(now), x(now), 20, 64),
    label(x(now), 14, "middle", "now", "peak"),
  );
}
