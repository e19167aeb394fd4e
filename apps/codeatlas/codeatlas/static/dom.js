// Elements without a framework. Text always enters the page as text, never as markup.

const SVG = "http://www.w3.org/2000/svg";

/** An HTML element: h("td", {class: "number"}, "1"). Attributes that are null or false are left out. */
export function h(tag, attributes, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/** An SVG element. */
export function s(tag, attributes, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

const NUMBER = new Intl.NumberFormat("en");
const DATE = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

export const number = (value) => NUMBER.format(value);
export const date = (value) => DATE.format(new Date(value));
export const percent = (part, whole) => (whole ? `${((100 * part) / whole).toFixed(part === whole ? 0 : 1)} %` : "–");
export const plural = (count, one, many = `${one}s`) => `${number(count)} ${count === 1 ? one : many}`;

/** 1234567 → 1.2M, for the axes of plots. */
export function short(value) {
  for (const [size, unit] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
    if (Math.abs(value) >= size) return `${+(value / size).toFixed(value >= 10 * size ? 0 : 1)}${unit}`;
  }
  return `${+value.toFixed(2)}`;
}

/** A table. Columns: {title, cell: row => content, kind: "number" | "path" | "", optional: hidden on small screens}. */
export function table(caption, columns, rows) {
  const classes = (column) => [column.kind, column.optional && "optional"].filter(Boolean).join(" ") || null;
  const body = h("tbody", null, rows.map((row) => tableRow(columns, row)));
  const head = columns.map((column) => h("th", { scope: "col", class: classes(column) }, column.title));
  return h("div", { class: "scroll" },
    h("table", null, h("caption", { class: "visually-hidden" }, caption), h("thead", null, h("tr", null, head)), body));

  function tableRow(columns, row) {
    return h("tr", null, columns.map((column) => h("td", { class: classes(column) }, column.cell(row))));
  }
}

/** A table that fetches its next page on demand. `load(after)` gives {rows, next}. */
export async function pagedTable(caption, columns, load) {
  const first = await load(null);
  const element = table(caption, columns, first.rows);
  const container = h("div", null, element);
  let next = first.next;
  if (next) {
    const button = h("button", { type: "button", class: "more", onclick: grow }, "Show more");
    container.append(button);
  }
  return container;

  async function grow(event) {
    const button = event.currentTarget;
    button.disabled = true;
    const page = await load(next);
    next = page.next;
    const fresh = table(caption, columns, page.rows).querySelectorAll("tbody tr");
    element.querySelector("tbody").append(...fresh);
    button.disabled = false;
    if (!next) button.remove();
  }
}

export function badge(severity) {
  return h("span", { class: `badge ${severity}` }, severity);
}
