// The form that starts a run.

import { ask } from "./api.js";
import { parsed } from "./dialog.js";
import { el, valueText } from "./element.js";
import { example } from "./example.js";

export function startView(graphs, started) {
  if (graphs.length === 0) {
    return el("p", { className: "none" }, "No graphs yet: a worker publishes those that it can run when it starts.");
  }
  const names = graphs.map(({ name }) => el("option", {}, name));
  const graph = el("select", { onchange: begin }, names);
  const input = el("textarea", { rows: 12, spellcheck: false });
  const wrong = el("p", { className: "error", role: "alert" });
  const button = el("button", { className: "main" }, "Start");

  function begin() {
    const schema = graphs.find(({ name }) => name === graph.value).input_schema;
    input.value = JSON.stringify(example(schema), null, 2);
    schemaText.textContent = schema === null ? "any JSON" : valueText(schema);
  }

  async function submit(event) {
    event.preventDefault();
    wrong.textContent = "";
    button.disabled = true;
    try {
      const told = await ask("POST", `/v1/graphs/${encodeURIComponent(graph.value)}/runs`, {
        input: parsed(input.value),
      });
      started(told.run);
    } catch (problem) {
      wrong.textContent = problem.message;
    } finally {
      button.disabled = false;
    }
  }

  const schemaText = el("pre", {});
  begin();
  return el("form", { className: "start", onsubmit: submit }, [
    el("h1", {}, "Start a run"),
    el("label", {}, "Graph", graph),
    el("label", {}, "Input, as JSON", input),
    wrong,
    el("div", { className: "buttons" }, button),
    el("details", {}, el("summary", {}, "Schema of the input"), schemaText),
  ]);
}
