// Charts of counts. `width` is in CSS pixels, so that texts keep their size.

import { clock, count, parts } from "./page.js";

const N = 60; // slots on each side of now
const LEFT = 44;
const TOP = 34;
const BASE = 184; // of the bars
const BOTTOM = 258; // of the band below them

const most = (values) => Math.max(...values);
const span = (s) => (s % 60 ? `${s} s` : `${s / 60} min`);
const short = (value) => (value < 1000 ? value : `${value / 1000}k`);
const label = (x, y, anchor, text, css = "") => [`text.${css}`, { x, y, "text-anchor": anchor }, text];
const line = (css, x1, x2, y1, y2) => [`line.${css}`, { x1, x2, y1, y2 }];

/** The lowest round number that is not below `value`. */
function ceiling(value) {
  const unit = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 3, 4, 5, 8, 10].map((step) => step * unit).find((step) => step >= value);
}

/** Handed off to the left of now, due to the right, and the longest wait. `unit`: seconds of a slot. */
export function around({ now_ms: now, around: { units, since_ms: since, is_late: isLate } }, unit, width) {
  const { at_s: last, handed_off: past, late, due, waits, label: name, longest, claims } = units[unit];
  const slot = (width - LEFT) / (2 * N);
  const isNarrow = width < 600;
  const max = ceiling(most([...past, ...due, 4]));
  const peak = due.indexOf(most(due));
  const x = (slots) => LEFT + (N + slots) * slot;
  const y = (value) => BASE - (value / max) * (BASE - TOP);
  const time = (slots) => clock((last + slots * unit) * 1000, now);
  const bars = (css, values, from, what) =>
    values.map((value, i) => {
      const top = Math.min(y(value), BASE - 1.5);
      const place = { x: x(from + i) + slot / 12, y: top, width: slot * 0.84, height: BASE - top };
      return value > 0 && [`rect.${css}`, place, ["title", `${time(from + i + 1)}: ${count(value)} ${what}`]];
    });
  const period = unit === 1 ? "each second" : `each ${unit} s`;
  const side = peak > N / 2 ? [-8, "end"] : [8, "start"];
  return [
    "svg",
    { viewBox: `0 0 ${width} ${BOTTOM + 2}`, role: "img", "aria-label": name },
    ...[0, max / 2, max].flatMap((value) => [
      line("grid", LEFT, width, y(value), y(value)),
      label(LEFT - 8, y(value) + 4, "end", short(value)),
    ]),
    ...[-48, -36, -24, -12, 12, 24, 36, 48].map(
      (slots) =>
        (!isNarrow || slots % 24 === 0) &&
        label(x(slots), BASE + 17, "middle", `${slots < 0 ? "−" : "+"}${span(Math.abs(slots) * unit)}`),
    ),
    ...bars("past", past, -N, "handed off"),
    ...bars("late", late, -N, "handed off late"),
    ...bars("due", due, 0, "due"),
    label(LEFT, 14, "start", isNarrow ? "handed off" : `handed off, ${period}`, "name"),
    label(width, 14, "end", isNarrow ? "next due" : `next due times, ${period}`, "name"),
    ...claims.map((words, i) => label(x(N / 2), TOP + 48 + 17 * i, "middle", words)),
    due[peak] > 0.3 * max &&
      label(x(peak + 0.5) + side[0], y(due[peak]) + 11, side[1], `${count(due[peak])} at ${time(peak + 1)}`, "peak"),
    ...band(waits, x, isLate ? "wait bad" : "wait"),
    label(x(0) + 12, BOTTOM - 8, "start", `longest wait for a hand-off: ${longest}`, "name"),
    ...marks(x, now, since, (now - since) / 1000 / unit),
  ];
}

/** Now, and since when the state of the verdict lasts: `slots` ago. */
const marks = (x, now, since, slots) => [
  since && slots <= N && line("mark", x(-slots), x(-slots), TOP + 8, BOTTOM),
  since && slots <= N && label(x(-slots) + 6, TOP + 20, "start", clock(since, now), "peak"),
  line("now", x(0), x(0), TOP - 8, BOTTOM),
  ["rect.now", { x: x(0) - 33, y: TOP - 26, width: 66, height: 19, rx: 5 }],
  label(x(0), TOP - 12.5, "middle", clock(now, now), "now"),
];

/** The longest wait of a monitor, below the bars. */
function band(waits, x, css) {
  const top = most([...waits, 1]);
  const [seconds, name] = top < 120 ? [1, "s"] : top < 7200 ? [60, "min"] : [3600, "h"];
  const max = seconds * ceiling(top / seconds);
  const points = waits
    .map((wait, i) => wait != null && [x(i - N + 0.5), BOTTOM - (wait / max) * 40])
    .filter(Boolean);
  const area = points.length && [[points[0][0], BOTTOM], ...points, [points.at(-1)[0], BOTTOM]];
  return [
    area && [`polygon.${css}`, { points: area.join(" ") }],
    [`polyline.${css}`, { points: points.join(" ") }],
    line("grid", LEFT, x(0), BOTTOM, BOTTOM),
    label(LEFT - 8, BOTTOM - 36, "end", `${max / seconds} ${name}`),
  ];
}

/** Hand-offs by second: their heights as digits of base 36. */
parts.Spark = (heights, highest) => {
  const height = (digit) => (parseInt(digit, 36) * 19) / 35;
  const points = [...heights].map((digit, i) => [(i * 72) / (heights.length - 1), 21 - height(digit)]).join(" ");
  const name = `at most ${count(highest)} a second`;
  return ["svg.spark", { viewBox: "0 0 72 22", role: "img", "aria-label": name }, ["polyline", { points }]];
};

/** Parts of a whole, side by side; a part is [class, size]. */
parts.Stack = (sizes, whole, name) => {
  let end = 0;
  const rects = sizes.map(([css, size]) => {
    const width = (88 * size) / whole || 0;
    end += width;
    return [`rect.${css}`, { x: end - width, width, height: 9 }];
  });
  return ["svg.stack", { viewBox: "0 0 88 9", role: "img", "aria-label": name }, ["title", name], ...rects];
};
