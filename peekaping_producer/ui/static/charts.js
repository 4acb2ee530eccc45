// Charts. `width` is in CSS pixels, so that texts keep their size.

import { at, clock, count, counted, duration, h, inClaims } from "./page.js";

const LEFT = 44;
const TOP = 34;
const BASE = 184; // of the bars
const BOTTOM = 258; // of the band below them
export const LATE_S = 2; // A longer wait is drawn in red.

const most = (values) => Math.max(0, ...values);
const sum = (values) => values.reduce((total, value) => total + value, 0);
const latest = (values) => {
  const wait = values.findLast((value) => value != null);
  return wait === 0 ? "none" : duration(wait);
};
const span = (s) => (s % 60 ? `${s} s` : `${s / 60} min`);
const short = (value) => (value < 1000 ? value : `${value / 1000}k`);
const label = (x, y, anchor, text, css = "") => h(`text.${css}`, { x, y, "text-anchor": anchor }, text);
const line = (css, x1, x2, y1, y2) => h(`line.${css}`, { x1, x2, y1, y2 });

/** The lowest round number that is not below `value`. */
function ceiling(value) {
  const unit = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 3, 4, 5, 8, 10].map((step) => step * unit).find((step) => step >= value);
}

/** What was handed off to the left of now, what becomes due to the right, and the longest wait. `unit`: s of a slot. */
export function around(frame, unit, width) {
  const series = unit === 1 ? frame.seconds : frame.ten_seconds;
  const n = 60;
  const isNarrow = width < 600;
  const [past, late, waits] = ["handed_off", "late", "longest_wait_s"].map((name) => series[name].slice(-n));
  const due = series.due.slice(0, n);
  const slot = (width - LEFT) / (2 * n);
  const max = ceiling(most([...past, ...due, 4]));
  const chart = {
    ...{ unit, width, n, isNarrow, slot, past, late, waits, due, max },
    claims: sum(due) === 0 && frame.leased > 0 && claimsOf(frame.leased),
    isLate: frame.longest_wait_s > LATE_S,
    now: frame.now_ms,
    x: (slots) => LEFT + (n + slots) * slot,
    y: (value) => BASE - (value / max) * (BASE - TOP),
    time: (slots) => clock((series.at_s + slots * unit) * 1000, frame.now_ms),
    peak: due.indexOf(most(due)),
  };
  return h(
    "svg",
    { viewBox: `0 0 ${width} ${BOTTOM + 2}`, role: "img", "aria-label": summary(chart) },
    scale(chart),
    bars(chart, "past", past, -n, "handed off"),
    bars(chart, "late", late, -n, "handed off late"),
    bars(chart, "due", due, 0, "due"),
    names(chart),
    band(chart),
    since(chart, frame.verdict),
    now(chart),
  );
}

const claimsOf = (number) => [counted(number, "monitor"), `${inClaims(number)}:`, "due again once handed off"];

const summary = ({ unit, n, past, late, due, peak, time, waits, claims }) =>
  `Last ${span(n * unit)}: ${count(sum(past))} handed off, ${count(sum(late))} of them late. ` +
  `Next ${span(n * unit)}: ` +
  (claims ? claims.join(" ") : `${count(sum(due))} due, at most ${count(due[peak])}, at ${time(peak + 1)}`) +
  `. Longest wait: ${latest(waits)}.`;

const scale = ({ x, y, isNarrow, unit, width, max }) => [
  [0, max / 2, max].map((value) => [
    line("grid", LEFT, width, y(value), y(value)),
    label(LEFT - 8, y(value) + 4, "end", short(value)),
  ]),
  [-48, -36, -24, -12, 12, 24, 36, 48]
    .filter((slots) => !isNarrow || slots % 24 === 0)
    .map((slots) => label(x(slots), BASE + 17, "middle", `${slots < 0 ? "−" : "+"}${span(Math.abs(slots) * unit)}`)),
];

const bars = ({ x, y, slot, time }, css, values, from, what) =>
  values.map((value, i) => {
    const top = Math.min(y(value), BASE - 1.5);
    const place = { x: x(from + i) + slot / 12, y: top, width: slot * 0.84, height: BASE - top };
    return value > 0 && h(`rect.${css}`, place, h("title", `${time(from + i + 1)}: ${count(value)} ${what}`));
  });

function names({ x, y, n, isNarrow, unit, width, due, peak, max, time, claims }) {
  const each = unit === 1 ? "each second" : `each ${unit} s`;
  const flips = peak > n / 2;
  const high = due[peak] > 0.3 * max;
  return [
    label(LEFT, 14, "start", isNarrow ? "handed off" : `handed off, ${each}`, "name"),
    label(width, 14, "end", isNarrow ? "next due" : `next due times, ${each}`, "name"),
    claims && claims.map((words, i) => label(x(n / 2), TOP + 48 + 17 * i, "middle", words)),
    high &&
      label(
        x(peak + 0.5) + (flips ? -8 : 8),
        y(due[peak]) + 11,
        flips ? "end" : "start",
        `${count(due[peak])} at ${time(peak + 1)}`,
        "peak",
      ),
  ];
}

/** The longest wait of a monitor, below the bars. */
function band({ x, waits, isLate }) {
  const top = most([...waits, 1]);
  const [seconds, name] = top < 120 ? [1, "s"] : top < 7200 ? [60, "min"] : [3600, "h"];
  const max = seconds * ceiling(top / seconds);
  const places = waits.map((wait, i) => [x(i - waits.length + 0.5), BOTTOM - (wait / max) * 40]);
  const points = places.filter((_, i) => waits[i] != null);
  const css = isLate ? "wait bad" : "wait";
  const area = points.length && [[points[0][0], BOTTOM], ...points, [points.at(-1)[0], BOTTOM]];
  return [
    area && h(`polygon.${css}`, { points: area.join(" ") }),
    h(`polyline.${css}`, { points: points.join(" ") }),
    line("grid", LEFT, x(0), BOTTOM, BOTTOM),
    label(LEFT - 8, BOTTOM - 36, "end", `${max / seconds} ${name}`),
    label(x(0) + 12, BOTTOM - 8, "start", `longest wait: ${latest(waits)}`, "name"),
  ];
}

/** Since when the state of the verdict lasts. */
function since({ x, n, unit, now }, { level, since_ms: ms }) {
  const slots = (now - ms) / 1000 / unit;
  if (level === "good" || ms == null || slots > n) return null;
  return [
    line("mark", x(-slots), x(-slots), TOP + 8, BOTTOM),
    label(x(-slots) + 6, TOP + 20, "start", clock(ms, now), "peak"),
  ];
}

const now = ({ x, now }) => [
  line("now", x(0), x(0), TOP - 8, BOTTOM),
  h("rect.now", { x: x(0) - 33, y: TOP - 26, width: 66, height: 19, rx: 5 }),
  label(x(0), TOP - 12.5, "middle", clock(now, now), "now"),
];

/** Hand-offs by second. */
export function spark(values) {
  const max = most([...values, 5]);
  const points = values.map((value, i) => [(i * 72) / (values.length - 1), 21 - (value / max) * 19]).join(" ");
  const name = `at most ${count(most(values))} a second`;
  return h("svg.spark", { viewBox: "0 0 72 22", role: "img", "aria-label": name }, h("polyline", { points }));
}

/** Parts of a whole, side by side; a part is [class, size]. */
export function stack(parts, whole, name) {
  let end = 0;
  const rects = parts.map(([css, size]) => {
    const width = (88 * size) / whole || 0;
    end += width;
    return h(`rect.${css}`, { x: end - width, width, height: 9 });
  });
  return h("svg.stack", { viewBox: "0 0 88 9", role: "img", "aria-label": name }, h("title", name), rects);
}

/** Intervals before now that the ticks of a monitor cover. */
export const MAX_PAST_TICKS = 15;

/** The ticks of a monitor; a point is { ms, css, name }, in order; the period is [from, to] in ms. */
export function ticks(points, [begins, ends], now, step, width) {
  const from = now - (width < 600 ? 6 : MAX_PAST_TICKS) * step;
  const to = now + (width < 600 ? 3 : 5) * step;
  const x = (ms) => ((Math.min(Math.max(ms, from), to) - from) / (to - from)) * (width - 60) + 30;
  const seen = points.filter(({ ms }) => ms > from && ms < to);
  let labeled = -32; // the x of the last time that is written
  const circles = seen.map(({ ms, css, name }) => {
    const hasRoom = x(ms) - labeled > 64;
    if (hasRoom) labeled = x(ms);
    const title = h("title", `${at(ms, now)}: ${name}`);
    return [
      h(`circle.${css}`, { cx: x(ms), cy: 48, r: 6.5 }, title),
      hasRoom && label(x(ms), 82, "middle", clock(ms, now)),
    ];
  });
  return h(
    "svg",
    {
      viewBox: `0 0 ${width} 88`,
      role: "img",
      "aria-label": seen.map(({ ms, name }) => `${clock(ms, now)} ${name}`).join(", "),
    },
    x(ends) > x(begins) && [
      h("rect.period", { x: x(begins), y: 20, width: x(ends) - x(begins), height: 44 }),
      label(Math.min(x(begins) + 6, width - 76), 33, "start", "maintenance"),
    ],
    line("grid", 0, width, 48, 48),
    circles,
    line("now", x(now), x(now), 20, 64),
    label(x(now), 14, "middle", "now", "peak"),
  );
}
