// Questions to the reader: a text, which may have to be JSON. One at a time.

import { el } from "./element.js";

// Asks, and gives the answer to `send`; a problem of it is shown, and asked again. `json`: the text must be JSON.
export function askFor({ title, label, initial = "", action, json = false, secret = false, send }) {
  const input = secret
    ? el("input", { type: "password", value: initial, autocomplete: "off" })
    : el("textarea", { value: initial, rows: json ? 10 : 3, spellcheck: false });
  const wrong = el("p", { className: "error", role: "alert" });
  const dialog = el(
    "dialog",
    {},
    el("form", { onsubmit: submit }, [
      el("h2", {}, title),
      el("label", {}, label, input),
      wrong,
      el("div", { className: "buttons" }, [
        el("button", { type: "button", onclick: () => dialog.close() }, "Leave it"),
        el("button", { className: "main" }, action),
      ]),
    ]),
  );
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();

  async function submit(event) {
    event.preventDefault();
    try {
      await send(json ? parsed(input.value) : input.value);
      dialog.close();
    } catch (problem) {
      wrong.textContent = problem.message;
    }
  }
}

export function parsed(text) {
  if (text.trim() === "") return null;
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new Error(`This is not JSON: ${error.message}`);
  }
}
