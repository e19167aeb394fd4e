// Lists of a project: search, functions by complexity, findings.

import { api, link, remember } from "./atlas.js";
import { badge, h, number, pagedTable, percent, plural, table } from "./dom.js";
import { functionColumns } from "./overview.js";

const WAYS = [["name", "File name"], ["text", "Text"], ["symbol", "Functions and classes"]];
const HINTS = {
  name: "Any part of a path, such as http or test_.",
  text: "Words of the source, or their beginnings (two letters or more); all of them have to be there. Names weigh more than other text.",
  symbol: "The beginning of the name of a function or class.",
};
const TYPING_MS = 120;

export async function search({ project, query }) {
  const input = h("input", { type: "search", name: "q", value: query.get("q") ?? "", placeholder: "What are you looking for?", "aria-label": "Search", autocomplete: "off", spellcheck: "false", maxlength: 200, autofocus: true });
  const choices = WAYS.map(([value, title]) => h("label", { class: "choice" },
    h("input", { type: "radio", name: "by", value, checked: value === (query.get("by") ?? "name") }), h("span", null, title)));
  const hint = h("p", { class: "hint" });
  const results = h("section", { class: "card", "aria-label": "Results" });
  const form = h("form", { class: "search", role: "search", onsubmit: (event) => { event.preventDefault(); run(); } },
    input, h("fieldset", null, h("legend", { class: "visually-hidden" }, "Search by"), choices));
  let timer = 0, latest = 0;
  form.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(run, TYPING_MS); });
  await run();
  queueMicrotask(() => input.focus());
  return [h("h1", null, "Search"), hint, form, results];

  async function run() {
    const mine = ++latest, text = input.value.trim(), by = form.elements.by.value;
    hint.textContent = HINTS[by];
    remember(link(project.id, "search", { q: text, by }));
    try {
      const content = await found(project, text, by);
      if (mine === latest) results.replaceChildren(...[content].flat().filter(Boolean));
    } catch (error) {
      if (mine === latest) results.replaceChildren(h("p", { class: "notice error" }, error.message));
    }
  }
}

async function found(project, text, by) {
  if (!text) {
    return [h("h2", null, "All files"), await pagedTable("Files", fileColumns(project), async (after) => {
      const page = await api(`projects/${project.id}/files?limit=50${after ? `&after=${encodeURIComponent(after)}` : ""}`);
      return { rows: page.files, next: page.next };
    })];
  }
  const wanted = encodeURIComponent(text);
  if (by === "symbol") {
    const { symbols } = await api(`projects/${project.id}/symbols?limit=100&prefix=${encodeURIComponent(text.slice(0, 100))}`);
    return [heading(symbols.length, 100, "function or class", "functions and classes"), symbols.length ? table("Functions and classes", functionColumns(project), symbols) : null];
  }
  const { files } = await api(`projects/${project.id}/files?limit=100&${by}=${wanted}`);
  return [heading(files.length, 100, "file", "files"), files.length ? table("Files", fileColumns(project), files) : null];
}

function heading(count, limit, one, many) {
  if (!count) return h("h2", null, `No ${one} found`);
  return h("h2", null, count === limit ? `The first ${limit} ${many}` : plural(count, one, many));
}

function fileColumns(project) {
  return [
    { title: "File", kind: "path", cell: (file) => [h("a", { href: link(project.id, "file", {}, file.id) }, file.path), file.status === "failed" ? [" ", h("span", { class: "badge error" }, "does not parse")] : null] },
    { title: "Code", kind: "number", cell: (file) => number(file.lines_code) },
    { title: "Functions", kind: "number", optional: true, cell: (file) => number(file.functions) },
    { title: "Classes", kind: "number", optional: true, cell: (file) => number(file.classes) },
    { title: "Complexity", kind: "number", cell: (file) => number(file.complexity_max) },
    { title: "Docstrings", kind: "number", optional: true, cell: (file) => percent(file.documented, file.documentable) },
    { title: "Findings", kind: "number", cell: (file) => number(file.findings) },
  ];
}

export async function functions({ project }) {
  const list = await pagedTable("Functions by complexity", functionColumns(project), async (after) => {
    const page = await api(`projects/${project.id}/functions?limit=50${after ? `&after=${after}` : ""}`);
    return { rows: page.functions, next: page.next };
  });
  return [
    h("h1", null, "Functions by complexity"),
    h("p", { class: "lead" }, "Cyclomatic complexity is one more than the number of decisions: the paths that tests would have to take."),
    h("section", { class: "card" }, list),
  ];
}

export async function findings({ project, query }) {
  const [whole, { rules }] = await Promise.all([api(`projects/${project.id}`), api("rules")]);
  const counts = new Map(whole.rules);
  const rule = rules.find((each) => each.id === query.get("rule")) ?? rules.find((each) => counts.has(each.id)) ?? rules[0];
  const choice = h("select", { "aria-label": "Rule", onchange: () => { location.hash = link(project.id, "findings", { rule: choice.value }); } },
    rules.map((each) => h("option", { value: each.id, selected: each === rule }, `${each.id} (${number(counts.get(each.id) ?? 0)})`)));
  const columns = [
    { title: "File", kind: "path", cell: (row) => h("a", { href: link(project.id, "file", { line: row.line }, row.file_id) }, `${row.path}:${row.line}`) },
    { title: "Finding", cell: (row) => row.message },
  ];
  const list = await pagedTable(rule.title, columns, async (after) => {
    const page = await api(`projects/${project.id}/findings?rule=${rule.id}&limit=50${after ? `&after=${after}` : ""}`);
    return { rows: page.findings, next: page.next };
  });
  return [
    h("h1", null, "Findings"),
    h("form", { class: "search", onsubmit: (event) => event.preventDefault() }, choice, badge(rule.severity)),
    h("p", { class: "lead" }, h("strong", null, rule.title), `. ${rule.remedy}`),
    h("section", { class: "card" }, counts.has(rule.id) ? list : h("p", null, "Nowhere.")),
  ];
}
