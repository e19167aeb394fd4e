// The page: which view the address asks for, and what every view shares.

import { h } from "./dom.js";
import { databases } from "./databases.js";
import { fileView } from "./file.js";
import { findings, functions, search } from "./lists.js";
import { overview } from "./overview.js";

const VIEWS = { overview, search, functions, findings, file: fileView, databases };
const main = document.getElementById("main");
const select = document.getElementById("project");
let projects = [];
let visit = 0;

/** Ask the JSON API. Errors carry what the service said. */
export async function api(path) {
  const response = await fetch(`/api/${path}`, { headers: { Accept: "application/json" } });
  if (!response.ok) {
    const problem = await response.json().catch(() => ({}));
    throw new Error(problem.detail ?? problem.title ?? `the service answered ${response.status}`);
  }
  return response.json();
}

/** The address of a view: link(1, "search", {q: "x"}) → #/1/search?q=x */
export function link(project, view, query = {}, ...rest) {
  const given = Object.entries(query).filter(([, value]) => value !== "" && value !== null && value !== undefined);
  const suffix = given.length ? `?${new URLSearchParams(given)}` : "";
  return `#/${[project, view, ...rest].join("/")}${suffix}`;
}

function route() {
  const [path, query] = location.hash.replace(/^#\/?/, "").split("?");
  const [first, view, ...rest] = path.split("/");
  const known = projects.find((project) => String(project.id) === first);
  const remembered = projects.find((project) => String(project.id) === localStorage.getItem("project"));
  const project = known ?? remembered ?? projects[0];
  return { project, view: VIEWS[view] ? view : "overview", rest, query: new URLSearchParams(query ?? "") };
}

async function show() {
  const { project, view, rest, query } = route();
  const mine = ++visit;
  if (!project && view !== "databases") {
    main.replaceChildren(h("h1", null, "Nothing here yet"), h("p", { class: "lead" }, "Index a tree first: ", h("code", null, "codeatlas index PATH")));
    return;
  }
  if (project) {
    select.value = project.id;
    localStorage.setItem("project", project.id);
  }
  for (const item of document.querySelectorAll("nav a")) {
    item.href = link(project?.id ?? 0, item.dataset.view);
    if (item.dataset.view === view) item.setAttribute("aria-current", "page");
    else item.removeAttribute("aria-current");
  }
  document.title = `${view} · ${project?.name ?? "codeatlas"}`;
  const slow = setTimeout(() => mine === visit && main.replaceChildren(h("p", { class: "loading" }, "Loading…")), 250);
  try {
    const content = await VIEWS[view]({ project, query, rest, isCurrent: () => mine === visit });
    if (mine === visit) {
      main.replaceChildren(...[content].flat().filter(Boolean));
      scrollTo(0, 0);
    }
  } catch (error) {
    if (mine === visit) main.replaceChildren(h("p", { class: "notice error", role: "alert" }, `That did not work: ${error.message}`));
  } finally {
    clearTimeout(slow);
  }
}

/** Change the address without adding to the history or drawing again, for a search as it is typed. */
export function remember(address) {
  history.replaceState(null, "", address);
}

function themeButton() {
  const button = document.getElementById("theme");
  const isDark = () => (document.documentElement.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  const draw = () => { button.textContent = isDark() ? "☀" : "☾"; };
  button.addEventListener("click", () => {
    const theme = isDark() ? "light" : "dark";
    document.documentElement.dataset.theme = theme;
    localStorage.setItem("theme", theme);
    draw();
  });
  draw();
}

async function allProjects() {
  const found = [];
  let after = null;
  do {
    const page = await api(`projects?limit=200${after ? `&after=${encodeURIComponent(after)}` : ""}`);
    found.push(...page.projects);
    after = page.next;
  } while (after);
  return found;
}

async function start() {
  themeButton();
  try {
    projects = await allProjects();
  } catch (error) {
    main.replaceChildren(h("p", { class: "notice error", role: "alert" }, `The service does not answer: ${error.message}`));
    return;
  }
  select.replaceChildren(...projects.map((project) => h("option", { value: project.id }, project.name)));
  select.addEventListener("change", () => { location.hash = link(select.value, route().view === "file" ? "overview" : route().view); });
  addEventListener("hashchange", show);
  await show();
}

// After the modules that import from this one have been evaluated.
queueMicrotask(start);
