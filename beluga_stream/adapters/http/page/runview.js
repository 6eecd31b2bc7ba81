// One run: its graph, what it streams and gives, and what may be asked of it. Shown while it happens.

import { ask, follow, runPath } from "./api.js";
import { askFor } from "./dialog.js";
import { Drawing } from "./drawing.js";
import { badge, clock, duration, el, valueText } from "./element.js";
import { example } from "./example.js";
import { Run, nodeOf } from "./run.js";

const AGAIN_MS = 500;
const TRIES = 20;
const MOST_PARTS = 100;
const MOST_CHUNKS = 2000;

export class RunView {
  // `refused` is called with each problem: it may be that the reader's token is wanted.
  constructor(id, { refused }) {
    this.id = id;
    this.refused = refused;
    this.run = new Run();
    this.told = null; // its line in the list of runs
    this.graph = null;
    this.drawing = null;
    this.picked = null;
    this.streams = new Map();
    this.isDrawn = false;
    this.isClosed = false;
    this.wrong = el("p", { className: "error", role: "alert" });
    this.head = el("div", { className: "head" });
    this.actions = el("div", { className: "buttons" });
    this.picture = el("div", { className: "picture" });
    this.outcome = el("div", { className: "outcome" });
    this.node = el("section", { className: "node", hidden: true });
    this.streaming = el("section", { className: "streams", hidden: true }, el("h2", {}, "Streams"));
    this.element = el("article", {}, [
      this.head,
      this.wrong,
      this.actions,
      this.picture,
      this.node,
      this.outcome,
      this.streaming,
    ]);
    this.listen();
    this.look();
  }

  close() {
    this.isClosed = true;
    this.stop();
    clearInterval(this.ticking);
  }

  failed(problem) {
    this.wrong.textContent = problem.message;
    this.refused(problem);
  }

  listen(endsAfter = 0) {
    this.stop = follow(this.id, {
      endsAfter,
      hear: (event) => {
        this.run.hear(event);
        this.draw();
      },
      over: () => this.refresh(),
      lost: (problem) => this.failed(problem),
    });
    this.ticking ??= setInterval(() => this.run.ended || this.draw(), 1000);
    this.draw();
  }

  // Its line in the list, which comes a moment after a start, and its graph.
  async look() {
    for (let tries = 0; tries < TRIES && !this.isClosed && this.told === null; tries += 1) {
      await this.refresh();
      if (this.told === null) await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
    }
    if (this.told === null || this.isClosed) return;
    try {
      this.graph = await ask("GET", `/v1/graphs/${encodeURIComponent(this.told.graph)}`);
    } catch {
      return; // it is deployed no longer: its nodes are shown as they come
    }
    this.drawing = new Drawing(this.graph.nodes, (name) => this.pick(name));
    if (this.drawing.element !== null) this.picture.append(this.drawing.element);
    this.draw();
  }

  async refresh() {
    try {
      this.told = await ask("GET", runPath(this.id));
    } catch (problem) {
      if (problem.status !== 404) this.failed(problem);
    }
    this.draw();
  }

  // At most once for each picture of the screen, however many events come.
  draw() {
    if (this.isDrawn) return;
    this.isDrawn = true;
    requestAnimationFrame(() => {
      this.isDrawn = false;
      if (this.isClosed) return;
      this.drawHead();
      this.drawActions();
      for (const name of this.run.nodes.keys()) this.drawing?.show(name, this.run.summary(name));
      this.drawOutcome();
      this.drawNode();
      this.drawStreams();
    });
  }

  drawHead() {
    const { run, told } = this;
    const began = run.beganMs ?? told?.started_ms;
    const took = began === undefined ? null : (run.endedMs ?? Date.now()) - began;
    const facts = [this.id];
    if (began !== undefined) facts.push(`started ${clock(began)}`, `${run.ended ? "took" : "for"} ${duration(took)}`);
    if (told !== null) facts.push(`by ${told.trigger}`);
    for (const [name, value] of Object.entries(told?.tags ?? {})) facts.push(`${name}=${value}`);
    replace(this.head, [
      el("h1", {}, told?.graph ?? "Run", " ", badge(run.status)),
      el("p", { className: "dim" }, facts.join(" · ")),
      told?.parent ? el("p", {}, "Part of ", runLink(told.parent)) : null,
      told?.forked_from ? el("p", {}, "Goes on from ", runLink(told.forked_from)) : null,
    ]);
  }

  drawActions() {
    const { run, told } = this;
    const buttons = [];
    for (const node of this.waits()) buttons.push(this.button(`Signal ${node.signal}`, () => this.signal(node), true));
    if (!run.ended && run.status !== "requested") buttons.push(this.button("Cancel", () => this.cancel()));
    if (run.status === "failed" && told?.retry_until_ms > Date.now()) {
      buttons.push(this.button("Retry what failed", () => this.retry(), true));
    }
    replace(this.actions, buttons);
  }

  waits() {
    const nodes = this.graph?.nodes ?? [];
    const isWaiting = (node) => this.run.places.get(node.name)?.status === "waiting";
    return this.run.ended ? [] : nodes.filter((node) => node.signal !== null && isWaiting(node));
  }

  button(text, act, isMain = false) {
    const onclick = async () => {
      this.wrong.textContent = "";
      try {
        await act();
      } catch (problem) {
        this.failed(problem);
      }
    };
    return el("button", { type: "button", className: isMain ? "main" : "", onclick }, text);
  }

  cancel() {
    askFor({
      title: "Cancel this run?",
      label: "Why, for whoever looks at it later",
      action: "Cancel the run",
      send: (reason) => ask("POST", `${runPath(this.id)}/cancel`, { reason }),
    });
  }

  signal(node) {
    askFor({
      title: `Signal ${node.signal}`,
      label: "Its value, as JSON",
      initial: JSON.stringify(example(node.signal_schema), null, 2),
      action: "Send",
      json: true,
      send: (value) => ask("POST", `${runPath(this.id)}/signals/${encodeURIComponent(node.signal)}`, { value }),
    });
  }

  async retry() {
    const told = await ask("POST", `${runPath(this.id)}/retry`);
    this.stop();
    this.run = new Run();
    this.forgetStreams();
    this.listen(told.ends_after);
  }

  fork(name) {
    askFor({
      title: `Run again from ${name}`,
      label: "What the node is given instead, as JSON; empty: what it was given",
      action: "Start a new run",
      json: true,
      send: async (input) => {
        const body = input === null ? { node: name } : { node: name, input };
        const told = await ask("POST", `${runPath(this.id)}/fork`, body);
        location.hash = `#/runs/${encodeURIComponent(told.run)}`;
      },
    });
  }

  drawOutcome() {
    const { run } = this;
    if (run.error !== null) {
      replace(this.outcome, [el("h2", {}, "Error"), el("pre", { className: "error" }, run.error.message)]);
    } else if (run.outputError !== null) {
      replace(this.outcome, [el("h2", {}, "Output"), el("pre", { className: "error" }, run.outputError.message)]);
    } else if (run.output !== undefined) {
      replace(this.outcome, [el("h2", {}, "Output"), el("pre", {}, valueText(run.output))]);
    } else {
      replace(this.outcome, []);
    }
  }

  pick(name) {
    this.picked = this.picked === name ? null : name;
    this.draw();
  }

  drawNode() {
    const name = this.picked;
    this.node.hidden = name === null;
    if (name === null) return;
    const place = this.run.places.get(name);
    const parts = (this.run.nodes.get(name) ?? []).filter((key) => key !== name);
    const summary = this.run.summary(name);
    const facts = [];
    if (summary.attempt > 0) facts.push(`attempt ${summary.attempt}`);
    if (place?.endedMs) facts.push(`${duration(place.endedMs - place.beganMs)}`);
    if (summary.parts > 0) facts.push(`${summary.done} of ${summary.parts} done`);
    const forks = this.run.ended && place?.status !== "pending" && place !== undefined;
    replace(this.node, [
      el("h2", {}, name, " ", badge(summary.status)),
      el("p", { className: "dim" }, facts.join(" · ")),
      place?.error ? el("pre", { className: "error" }, place.error.message) : null,
      place?.output === undefined ? null : el("pre", {}, valueText(place.output)),
      parts.length === 0 ? null : this.partsTable(parts),
      forks ? this.button("Run again from here", () => this.fork(name)) : null,
    ]);
  }

  // What has failed first: of many items these are looked for.
  partsTable(keys) {
    const rank = (key) => (this.run.places.get(key).status === "failed" ? 0 : 1);
    const shown = [...keys].sort((one, other) => rank(one) - rank(other)).slice(0, MOST_PARTS);
    const rows = shown.map((key) => {
      const place = this.run.places.get(key);
      const said = place.error?.message ?? (place.output === undefined ? "" : JSON.stringify(place.output));
      return el("tr", {}, [el("td", {}, key), el("td", {}, badge(place.status)), el("td", { className: "said" }, said)]);
    });
    const more = keys.length - shown.length;
    return el("table", {}, el("tbody", {}, rows), more > 0 ? el("caption", {}, `and ${more} more`) : null);
  }

  // Of the node that is picked, or of all.
  drawStreams() {
    let shown = 0;
    for (const [key, place] of this.run.places) {
      if (place.incarnation === null) continue;
      const isShown = this.picked === null || nodeOf(key) === this.picked;
      if (isShown) this.stream(key).show(place);
      else this.stream(key).box.setAttribute("hidden", "");
      shown += isShown;
    }
    this.streaming.hidden = shown === 0;
  }

  stream(key) {
    let stream = this.streams.get(key);
    if (stream === undefined) {
      stream = new StreamView(key);
      this.streams.set(key, stream);
      this.streaming.append(stream.box);
    }
    return stream;
  }

  forgetStreams() {
    for (const { box } of this.streams.values()) box.remove();
    this.streams.clear();
  }
}

// What one node streams, chunk behind chunk.
class StreamView {
  constructor(key) {
    this.text = el("p", { className: "text" });
    this.box = el("div", { className: "stream" }, el("h3", {}, key), this.text);
    this.shown = null;
    this.count = 0;
  }

  show(place) {
    this.box.removeAttribute("hidden");
    if (this.shown !== place.chunks) {
      this.shown = place.chunks;
      this.count = Math.max(0, place.chunks.length - MOST_CHUNKS);
      this.text.replaceChildren();
    }
    for (; this.count < place.chunks.length; this.count += 1) {
      const chunk = place.chunks[this.count];
      this.text.append(el("span", {}, typeof chunk === "string" ? chunk : JSON.stringify(chunk)));
      if (this.text.childElementCount > MOST_CHUNKS) this.text.firstElementChild.remove();
    }
  }
}

function runLink(run) {
  return el("a", { href: `#/runs/${encodeURIComponent(run)}` }, run);
}

// Only what has changed is made anew: a button that is pressed and a text that is marked stay.
function replace(parent, children) {
  const fresh = el("div", {}, children);
  const said = fresh.innerHTML;
  if (parent.dataset.shown === said) return;
  parent.dataset.shown = said;
  parent.replaceChildren(...fresh.childNodes);
}
