// The state of the pools of connections, drawn anew every two seconds while somebody looks.

import { api } from "./atlas.js";
import { h, number, short } from "./dom.js";
import { columns } from "./plots.js";

const REFRESH_MS = 2000;

export async function databases({ isCurrent }) {
  const content = h("div", null, draw(await api("databases")));
  refresh();
  return [h("h1", null, "Databases"), h("p", { class: "lead" }, "Connections and statements of this process since its start."), content];

  function refresh() {
    setTimeout(async () => {
      if (!isCurrent()) return;
      if (!document.hidden) {
        try {
          content.replaceChildren(...draw(await api("databases")));
        } catch (error) {
          content.prepend(h("p", { class: "notice error" }, `No answer: ${error.message}`));
          return;
        }
      }
      refresh();
    }, REFRESH_MS);
  }
}

function draw(state) {
  const metrics = state.metrics;
  return [
    tiles([
      ["Connections", number(metrics.connection_pool_size), `${number(metrics.active_connections)} in use`],
      ["Statements", number(metrics.query_count), `${(1000 * metrics.query_latency).toFixed(2)} ms on average`],
      ["Transactions", number(metrics.transaction_count), ""],
      ["Errors", `${(100 * metrics.error_rate).toFixed(2)} %`, "of statements"],
    ]),
    state.pools.map(pool),
  ].flat();
}

function pool(state) {
  const detail = Object.entries(state.detail ?? {});
  return h("section", { class: "card wide apart" },
    h("h2", null, state.name, " ", h("span", { class: `badge ${state.healthy ? "good" : "error"}` }, state.healthy ? "healthy" : "unhealthy")),
    h("p", { class: "hint" }, state.engine, state.reason ? ` · ${state.reason}` : ""),
    h("div", { class: "cards" },
      h("div", null,
        tiles([
          ["Open", number(state.open), `of ${number(state.connections_max)} at most`],
          ["In use", number(state.leased), `${(100 * state.utilisation).toFixed(0)} % of the limit`],
          ["Idle", number(state.idle), ""],
          ["Waiting", number(state.waiting), "callers"],
          ["Leases", number(state.acquired_total), `${number(state.waited_total)} had to wait`],
          ["Opened", number(state.opened_total), `${number(state.lost_total)} lost`],
        ]),
        detail.length ? h("details", null, h("summary", null, "More figures of this engine"),
          h("dl", { class: "tiles" }, detail.map(([name, value]) => h("div", { class: "tile" }, h("dt", null, name.replaceAll("_", " ")), h("dd", null, short(value)))))) : null),
      h("div", null, h("p", { class: "hint" }, "Statements by duration"), latency(state.latency))));
}

function latency({ bounds_seconds: bounds, counts }) {
  const groups = [[0.001, "1 ms"], [0.0025, "2.5 ms"], [0.01, "10 ms"], [0.05, "50 ms"], [0.25, "250 ms"], [1, "1 s"], [Infinity, "more"]];
  const entries = groups.map(([, label]) => ({ label: label === "more" ? label : `< ${label}`, value: 0 }));
  counts.forEach((count, index) => {
    const bound = bounds[index] ?? Infinity;
    entries[groups.findIndex(([limit]) => bound <= limit)].value += count;
  });
  return columns("Statements by duration", entries, { height: 180 });
}

function tiles(entries) {
  return h("dl", { class: "tiles" }, entries.map(([name, value, note]) =>
    h("div", { class: "tile" }, h("dt", null, name), h("dd", null, value, note ? h("small", null, note) : null))));
}
