// A project as a whole.

import { api, link } from "./atlas.js";
import { date, h, number, percent, plural, table } from "./dom.js";
import { columns, composition, rows, trend } from "./plots.js";

const COMPLEXITY_LIMIT = 10;
const BUCKETS = [[1, 1], [2, 2], [3, 3], [4, 5], [6, 10], [11, 20], [21, 50], [51, Infinity]];

export async function overview({ project }) {
  const [whole, { trends }, { functions }, { rules }] = await Promise.all([
    api(`projects/${project.id}`),
    api(`projects/${project.id}/trends`),
    api(`projects/${project.id}/functions?limit=8`),
    api("rules"),
  ]);
  const severities = new Map(rules.map((rule) => [rule.id, rule]));
  return [
    h("h1", null, project.name),
    h("p", { class: "lead" }, whole.roots.map((root) => h("code", null, root)), ` · ${lastRun(whole)}`),
    unfinished(whole),
    tiles(whole),
    h("div", { class: "cards" },
      card("Lines", "What the files consist of.", lines(whole.totals), true),
      h("div", { class: "column" },
        card("Complexity of functions", "How many functions have which cyclomatic complexity.", histogram(whole.complexity)),
        card("Folders by lines of code", "The largest, two levels deep.", packageBars(project, whole.packages))),
      h("div", { class: "column" },
        card("Findings by rule", "Choose a rule to see where.", ruleBars(project, whole.rules, severities)),
        card("Modules most imported", "Files that import each.", moduleBars(whole.modules))),
      card("Trend over runs", trendHint(trends), trendPlots(trends), true),
      card("Most complex functions", "Where a change is most likely to break something.", complexFunctions(project, functions), true)),
  ];
}

function card(title, hint, content, wide = false) {
  return h("section", { class: wide ? "card wide" : "card" }, h("h2", null, title), h("p", { class: "hint" }, hint), content);
}

function lastRun(whole) {
  if (!whole.run) return "not completely analysed yet";
  const run = whole.run;
  return `run ${run.id}, ${date(run.finished_at)}: ${number(run.files_analysed)} analysed, ${number(run.files_unchanged)} unchanged, ${number(run.files_removed)} removed`;
}

function unfinished(whole) {
  const latest = whole.latest;
  if (!latest || latest.status === "finished") return null;
  const state = latest.status === "running" ? "is at work" : "was interrupted";
  return h("p", { class: "notice" }, `Run ${latest.id} ${state} after ${plural(latest.files_analysed, "file")}. `,
    whole.run ? "The figures below are those of the last finished run." : "The figures below are those of the files recorded so far.",
    latest.status === "running" ? null : " Index the tree again to go on from there.");
}

function tiles(whole) {
  const total = whole.totals;
  const mean = total.functions ? (total.complexity_total / total.functions).toFixed(2) : "–";
  const entries = [
    ["Files", number(total.files), total.files_failed ? `${number(total.files_failed)} do not parse` : "all of them parse"],
    ["Lines of code", number(total.lines_code), `${number(total.lines_total)} lines in all`],
    ["Functions", number(total.functions), `in ${plural(total.classes, "class", "classes")} and modules`],
    ["Complexity", mean, `mean of a function; highest ${number(total.complexity_max)}`],
    ["Docstrings", percent(total.documented, total.documentable), `of ${number(total.documentable)} public names`],
    ["Findings", number(total.findings), total.lines_code ? `${((1000 * total.findings) / total.lines_code).toFixed(1)} in 1000 lines of code` : ""],
  ];
  return h("dl", { class: "tiles" }, entries.map(([name, value, note]) =>
    h("div", { class: "tile" }, h("dt", null, name), h("dd", null, value, h("small", null, note)))));
}

function lines(total) {
  return composition("Lines by kind", [
    { label: "code", value: total.lines_code, kind: "code" },
    { label: "docstrings", value: total.lines_docstring, kind: "docstring" },
    { label: "comments", value: total.lines_comment, kind: "comment" },
    { label: "blank", value: total.lines_blank, kind: "blank" },
  ]);
}

function histogram(complexity) {
  const entries = BUCKETS.map(([low, high]) => {
    const value = complexity.filter(([number]) => number >= low && number <= high).reduce((sum, [, count]) => sum + count, 0);
    const label = low === high ? `${low}` : high === Infinity ? `${low}+` : `${low}–${high}`;
    return { label, value, kind: low > COMPLEXITY_LIMIT ? "warning" : "", title: `complexity ${label}: ${plural(value, "function")}` };
  });
  const mark = { before: BUCKETS.findIndex(([low]) => low > COMPLEXITY_LIMIT), text: "over 10: hard to test" };
  return columns("Functions by cyclomatic complexity", entries, { mark });
}

function ruleBars(project, found, catalogue) {
  if (!found.length) return h("p", null, "No findings.");
  const bars = rows("Findings by rule", found.slice(0, 14).map(([id, value]) => ({
    label: id, value, kind: catalogue.get(id)?.severity, href: link(project.id, "findings", { rule: id }),
    title: `${catalogue.get(id)?.title ?? id}: ${number(value)}`,
  })));
  const legend = ["error", "warning", "info"].map((severity) => h("li", null, h("span", { class: `swatch severity-${severity}` }), severity));
  return [bars, h("ul", { class: "legend" }, legend)];
}

function packageBars(project, packages) {
  return rows("Folders by lines of code", packages.slice(0, 14).map((each) => ({
    label: each.name, value: each.lines_code,
    href: each.name.startsWith("(") ? null : link(project.id, "search", { q: `${each.name}/`, by: "name" }),
    title: `${each.name}: ${number(each.lines_code)} lines of code in ${plural(each.files, "file")}, ${plural(each.findings, "finding")}`,
  })));
}

function moduleBars(modules) {
  if (!modules.length) return h("p", null, "No imports.");
  return rows("Modules by files that import them", modules.slice(0, 14).map(([label, value]) => ({ label, value })));
}

function trendHint(trends) {
  return trends.length > 1 ? `The last ${plural(trends.length, "finished run")}.` : "One finished run so far; index again after a change.";
}

function trendPlots(trends) {
  if (!trends.length) return h("p", null, "No finished run yet.");
  const figures = [
    ["Lines of code", (total) => total.lines_code],
    ["Mean complexity", (total) => (total.functions ? total.complexity_total / total.functions : 0)],
    ["Docstrings, %", (total) => (total.documentable ? (100 * total.documented) / total.documentable : 0)],
    ["Findings", (total) => total.findings],
  ];
  const plots = figures.map(([name, figure]) => h("div", null, h("p", { class: "hint" }, name),
    trend(`${name} over runs`, trends.map((each) => ({ label: `run ${each.run.id}`, value: figure(each.totals) })))));
  return h("div", { class: "tiles" }, plots);
}

function complexFunctions(project, functions) {
  if (!functions.length) return h("p", null, "No functions.");
  const columns = functionColumns(project);
  return [table("Most complex functions", columns, functions), h("p", { class: "more" }, h("a", { href: link(project.id, "functions") }, "All functions by complexity"))];
}

/** The columns of a list of functions and classes. */
export function functionColumns(project) {
  return [
    { title: "Name", kind: "path", cell: (row) => [h("code", null, row.name), h("span", { class: "sub" }, row.kind)] },
    { title: "File", kind: "path", cell: (row) => h("a", { href: link(project.id, "file", { line: row.line }, row.file_id) }, `${row.path}:${row.line}`) },
    { title: "Complexity", kind: "number", cell: (row) => (row.kind === "class" ? "–" : number(row.complexity)) },
    { title: "Lines", kind: "number", cell: (row) => number(row.line_end - row.line + 1) },
    { title: "Parameters", kind: "number", optional: true, cell: (row) => (row.kind === "class" ? "–" : number(row.parameters)) },
    { title: "Nesting", kind: "number", optional: true, cell: (row) => (row.kind === "class" ? "–" : number(row.nesting)) },
    { title: "Docstring", optional: true, cell: (row) => (row.documented ? "yes" : "no") },
  ];
}
