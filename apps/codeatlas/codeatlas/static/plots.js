// Plots as inline SVG. Each has a title for those who cannot see it, and its figures written next to its marks.

import { h, number, s, short } from "./dom.js";

/** Vertical bars. entries: {label, value, kind, title}. `mark`: {before: index, text} draws a limit between two bars. */
export function columns(title, entries, { mark = null, height = 210 } = {}) {
  const width = 520, top = 22, bottom = 24, plotHeight = height - top - bottom;
  const step = width / entries.length;
  const highest = Math.max(1, ...entries.map((entry) => entry.value));
  const marks = entries.map((entry, index) => {
    const size = entry.value ? Math.max(1.5, (plotHeight * entry.value) / highest) : 0;
    const x = index * step + step * 0.14;
    return s("g", null,
      s("title", null, entry.title ?? `${entry.label}: ${number(entry.value)}`),
      s("rect", { class: `bar ${entry.kind ?? ""}`, x, y: top + plotHeight - size, width: step * 0.72, height: size, rx: 2 }),
      s("text", { class: "strong", x: x + step * 0.36, y: top + plotHeight - size - 6, "text-anchor": "middle" }, short(entry.value)),
      s("text", { x: x + step * 0.36, y: height - 6, "text-anchor": "middle" }, entry.label));
  });
  const axis = s("line", { class: "axis", x1: 0, x2: width, y1: top + plotHeight, y2: top + plotHeight });
  const limit = mark && [
    s("line", { class: "threshold", x1: mark.before * step, x2: mark.before * step, y1: top, y2: top + plotHeight }),
    s("text", { x: mark.before * step + 6, y: top + 10 }, mark.text),
  ];
  return plot(title, width, height, axis, marks, limit);
}

/** Horizontal bars with their names. entries: {label, value, kind, href, title}. */
export function rows(title, entries, { width = 520, unit = "" } = {}) {
  const line = 25, labelWidth = 178, valueWidth = 58;
  const space = width - labelWidth - valueWidth;
  const highest = Math.max(1, ...entries.map((entry) => entry.value));
  const marks = entries.map((entry, index) => {
    const y = index * line, size = Math.max(1.5, (space * entry.value) / highest);
    const content = [
      s("title", null, entry.title ?? `${entry.label}: ${number(entry.value)}${unit}`),
      s("rect", { x: 0, y, width, height: line, fill: "transparent" }),
      s("text", { class: "strong", x: labelWidth - 10, y: y + 16, "text-anchor": "end" }, clipped(entry.label, 27)),
      s("rect", { class: `bar ${entry.kind ?? ""}`, x: labelWidth, y: y + 4, width: size, height: line - 9, rx: 2 }),
      s("text", { x: labelWidth + size + 7, y: y + 16 }, number(entry.value)),
    ];
    return entry.href ? s("a", { href: entry.href }, content) : s("g", null, content);
  });
  return plot(title, width, entries.length * line, marks);
}

/** A line over runs. points: {label, value}; the scale begins at zero only if `fromZero`. */
export function trend(title, points, { format = short } = {}) {
  const width = 340, height = 120, left = 8, right = 48, top = 14, bottom = 22;
  const values = points.map((point) => point.value);
  let low = Math.min(...values), high = Math.max(...values);
  if (low === high) [low, high] = [low - 1, high + 1];
  const x = (index) => left + ((width - left - right) * (points.length === 1 ? 0.5 : index / (points.length - 1)));
  const y = (value) => top + (height - top - bottom) * (1 - (value - low) / (high - low));
  const path = points.map((point, index) => `${index ? "L" : "M"}${x(index)},${y(point.value)}`).join("");
  const last = points.length - 1, base = height - bottom;
  const dots = points.map((point, index) => s("circle", { class: "point", cx: x(index), cy: y(point.value), r: points.length > 30 ? 1.5 : 3 },
    s("title", null, `${point.label}: ${format(point.value)}`)));
  return plot(title, width, height,
    s("line", { class: "axis", x1: left, x2: width - right, y1: base, y2: base }),
    points.length > 1 && s("path", { class: "area", d: `${path}L${x(last)},${base}L${x(0)},${base}Z` }),
    s("path", { class: "trend", d: path }), dots,
    s("text", { class: "strong", x: x(last) + 8, y: y(points[last].value) + 4 }, format(points[last].value)),
    s("text", { x: left, y: height - 5 }, points[0].label),
    points.length > 1 && s("text", { x: width - right, y: height - 5, "text-anchor": "end" }, points[last].label));
}

/** One bar made of parts, with a legend. parts: {label, value, kind}. */
export function composition(title, parts) {
  const total = parts.reduce((sum, part) => sum + part.value, 0) || 1;
  let start = 0;
  const marks = parts.map((part) => {
    const size = (100 * part.value) / total;
    const mark = s("rect", { class: `kind-${part.kind}`, x: start, y: 0, width: size, height: 10 },
      s("title", null, `${part.label}: ${number(part.value)}`));
    start += size;
    return mark;
  });
  const bar = s("svg", { viewBox: "0 0 100 10", preserveAspectRatio: "none", role: "img", "aria-label": title }, marks);
  const legend = parts.map((part) => h("li", null, h("span", { class: `swatch kind-${part.kind}` }), `${part.label} `,
    h("b", null, number(part.value)), ` (${((100 * part.value) / total).toFixed(1)} %)`));
  return h("div", null, h("div", { class: "stack" }, bar), h("ul", { class: "legend" }, legend));
}

function plot(title, width, height, ...content) {
  return s("svg", { class: "plot", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": title }, ...content);
}

function clipped(text, length) {
  return text.length <= length ? text : `…${text.slice(1 - length)}`;
}
