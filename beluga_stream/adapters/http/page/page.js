// The page: which view is shown, by the part of the address behind `#`, and the reader's token.

import { ask, token } from "./api.js";
import { askFor } from "./dialog.js";
import { el } from "./element.js";
import { RunList } from "./runlist.js";
import { RunView } from "./runview.js";
import { startView } from "./start.js";

const main = document.getElementById("main");
const said = document.getElementById("said");
const tokenButton = document.getElementById("token");
const filters = document.getElementById("filters");

let view = null;

function refused(problem) {
  if (problem.status === 401 || problem.status === 403) tokenButton.hidden = false;
}

function failed(problem) {
  said.textContent = problem === null ? "" : problem.message;
  if (problem !== null) refused(problem);
}

const runs = new RunList({
  list: document.getElementById("runs"),
  older: document.getElementById("older"),
  filters,
  failed,
});

async function graphs() {
  const told = await ask("GET", "/v1/graphs");
  const chosen = filters.elements.graph.value;
  const names = told.graphs.map(({ name }) => el("option", { selected: name === chosen }, name));
  filters.elements.graph.replaceChildren(el("option", { value: "" }, "any graph"), ...names);
  return told.graphs;
}

async function show() {
  view?.close();
  view = null;
  const [, kind, id] = location.hash.split("/");
  runs.choose(kind === "runs" ? decodeURIComponent(id) : null);
  try {
    if (kind === "runs") {
      view = new RunView(decodeURIComponent(id), { refused });
      main.replaceChildren(view.element);
    } else if (kind === "start") {
      const started = (run) => { location.hash = `#/runs/${encodeURIComponent(run)}`; };
      main.replaceChildren(startView(await graphs(), started));
    } else {
      main.replaceChildren(el("p", { className: "none" }, "Choose a run on the left, or start one."));
    }
  } catch (problem) {
    failed(problem);
  }
}

tokenButton.hidden = !token.get();
tokenButton.addEventListener("click", () =>
  askFor({
    title: "Your token",
    label: "It is kept for as long as this tab is open. Empty: none",
    action: "Use it",
    secret: true,
    send: (text) => {
      token.set(text.trim());
      location.reload();
    },
  }),
);
window.addEventListener("hashchange", show);
graphs().catch(failed);
show();
