// The list of runs, the newest first, asked for again while the page is looked at.

import { ask } from "./api.js";
import { badge, clock, duration, el } from "./element.js";

const LOOK_MS = 2000;
const STEP = 50;
const MOST = 1000;

export class RunList {
  constructor({ list, older, filters, failed }) {
    this.list = list;
    this.older = older;
    this.filters = filters;
    this.failed = failed;
    this.limit = STEP;
    this.shown = "";
    this.chosen = null;
    this.waiting = null;
    filters.addEventListener("change", () => this.look());
    filters.addEventListener("submit", (event) => event.preventDefault());
    older.addEventListener("click", () => {
      this.limit = Math.min(this.limit + STEP, MOST);
      this.look();
    });
    document.addEventListener("visibilitychange", () => document.hidden || this.look());
  }

  choose(run) {
    this.chosen = run;
    this.shown = "";
    this.look();
  }

  async look() {
    clearTimeout(this.waiting);
    const query = new URLSearchParams({ newest: "true", limit: this.limit });
    const { graph, status } = this.filters.elements;
    if (graph.value) query.set("graph", graph.value);
    if (status.value) query.set("status", status.value);
    const asked = (this.asked = query.toString());
    try {
      const told = await ask("GET", `/v1/runs?${asked}`);
      if (this.asked === asked) this.show(told);
      this.failed(null);
    } catch (problem) {
      this.failed(problem);
    }
    clearTimeout(this.waiting);
    if (!document.hidden) this.waiting = setTimeout(() => this.look(), LOOK_MS);
  }

  show({ runs, next }) {
    const shown = JSON.stringify([runs, this.chosen]);
    if (shown === this.shown) return;
    this.shown = shown;
    this.older.hidden = next === null || this.limit >= MOST;
    const rows = runs.map((run) => this.row(run));
    this.list.replaceChildren(...(rows.length > 0 ? rows : [el("li", { className: "none" }, "No runs yet.")]));
  }

  row(run) {
    const took = run.ended_ms === null ? "" : duration(run.ended_ms - run.started_ms);
    const isChosen = run.run === this.chosen;
    return el("li", {}, [
      el("a", { href: `#/runs/${encodeURIComponent(run.run)}`, "aria-current": isChosen ? "true" : null }, [
        el("span", { className: "line" }, [el("strong", {}, run.graph), badge(run.status)]),
        el("span", { className: "line dim" }, [el("span", {}, clock(run.started_ms)), el("span", {}, took)]),
        el("span", { className: "line dim id" }, run.parent === null ? run.run : `${run.run}, part of another`),
        run.error === null ? null : el("span", { className: "line error" }, run.error.message),
      ]),
    ]);
  }
}
