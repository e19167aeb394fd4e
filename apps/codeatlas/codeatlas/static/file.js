// One file with everything in it.

import { api } from "./atlas.js";
import { badge, date, h, number, percent, plural, table } from "./dom.js";
import { composition, trend } from "./plots.js";

export async function fileView({ rest, query }) {
  const { facts, symbols, imports, findings, history } = await api(`files/${Number(rest[0]) || 0}`);
  const line = Number(query.get("line"));
  return [
    h("h1", null, facts.path),
    h("p", { class: "lead" }, h("code", null, `${facts.root}/${facts.path}`), ` · ${facts.encoding} · ${number(facts.size_bytes)} bytes · sha256 ${facts.sha256.slice(0, 12)}…`),
    facts.status === "failed" && h("p", { class: "notice error" }, facts.failure_line ? `Does not parse, line ${facts.failure_line}: ` : "Does not parse: ", facts.failure_message),
    tiles(facts),
    h("div", { class: "cards" },
      card("Lines", composition("Lines by kind", [
        { label: "code", value: facts.lines_code, kind: "code" },
        { label: "docstrings", value: facts.lines_docstring, kind: "docstring" },
        { label: "comments", value: facts.lines_comment, kind: "comment" },
        { label: "blank", value: facts.lines_blank, kind: "blank" },
      ]), true),
      card(findings.length ? plural(findings.length, "finding") : "No findings", findings.length ? findingTable(findings, line) : null, true),
      card(plural(symbols.length, "function or class", "functions and classes"), symbols.length ? symbolTable(symbols, line) : null, true),
      card(plural(imports.length, "import"), imports.length ? table("Imports", [
        { title: "Module", kind: "path", cell: (row) => h("code", null, row.module) },
        { title: "Line", kind: "number", cell: (row) => number(row.line) },
      ], imports) : null),
      card("History", [
        h("p", { class: "hint" }, "Runs in which this file was new or changed."),
        history.length > 1 ? trend("Complexity over runs", history.map((each) => ({ label: `run ${each.analysis_id}`, value: each.complexity_total }))) : null,
        table("History", [
          { title: "Run", cell: (row) => [number(row.analysis_id), h("span", { class: "sub" }, date(row.started_at))] },
          { title: "Code", kind: "number", cell: (row) => number(row.lines_code) },
          { title: "Complexity", kind: "number", cell: (row) => number(row.complexity_total) },
          { title: "Findings", kind: "number", cell: (row) => number(row.findings) },
        ], history)])),
  ];
}

function card(title, content, wide = false) {
  return h("section", { class: wide ? "card wide" : "card" }, h("h2", null, title), content);
}

function tiles(facts) {
  const entries = [
    ["Lines of code", number(facts.lines_code)],
    ["Functions", number(facts.functions)],
    ["Classes", number(facts.classes)],
    ["Highest complexity", number(facts.complexity_max)],
    ["Total complexity", number(facts.complexity_total)],
    ["Docstrings", percent(facts.documented, facts.documentable)],
  ];
  return h("dl", { class: "tiles" }, entries.map(([name, value]) => h("div", { class: "tile" }, h("dt", null, name), h("dd", null, value))));
}

function findingTable(findings, line) {
  return table("Findings", [
    { title: "Line", kind: "number", cell: (row) => (row.line === line ? h("strong", null, number(row.line)) : number(row.line)) },
    { title: "Rule", cell: (row) => [h("code", null, row.rule), " ", badge(row.severity)] },
    { title: "Finding", cell: (row) => row.message },
  ], findings);
}

function symbolTable(symbols, line) {
  return table("Functions and classes", [
    { title: "Line", kind: "number", cell: (row) => (row.line === line ? h("strong", null, number(row.line)) : number(row.line)) },
    { title: "Name", kind: "path", cell: (row) => h("code", null, row.name) },
    { title: "Kind", optional: true, cell: (row) => row.kind },
    { title: "Complexity", kind: "number", cell: (row) => (row.kind === "class" ? "–" : number(row.complexity)) },
    { title: "Lines", kind: "number", cell: (row) => number(row.line_end - row.line + 1) },
    { title: "Parameters", kind: "number", optional: true, cell: (row) => (row.kind === "class" ? "–" : number(row.parameters)) },
    { title: "Docstring", optional: true, cell: (row) => (row.documented ? "yes" : "no") },
  ], symbols);
}
