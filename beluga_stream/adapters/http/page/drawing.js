// A graph as a picture: its nodes in columns, each right of all that it waits for, coloured by how they stand.

import { svg } from "./element.js";

const WIDTH = 150;
const HEIGHT = 42;
const GAP_X = 46;
const GAP_Y = 16;
const LANE = 4;
const MARGIN = 8;
const LETTERS = 19;
const MOST_NODES = 200;

export class Drawing {
  // `pick` is called with the name of the node that was chosen.
  constructor(nodes, pick) {
    this.element = null;
    this.boxes = new Map();
    if (nodes.length === 0 || nodes.length > MOST_NODES) return;
    const places = placed(nodes);
    const width = Math.max(...[...places.values()].map(({ x }) => x)) + WIDTH + MARGIN;
    const height = Math.max(...[...places.values()].map(({ y, high }) => y + high)) + MARGIN;
    const picture = svg("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "group", class: "drawing" });
    for (const node of nodes) {
      for (const before of node.after) {
        if (nodes.some(({ name }) => name === before)) picture.append(edge(way(before, node.name, places)));
      }
    }
    for (const node of nodes) picture.append(this.box(node, places.get(node.name), pick));
    this.element = picture;
  }

  box(node, { x, y }, pick) {
    const name = node.name.length > LETTERS ? `${node.name.slice(0, LETTERS - 1)}…` : node.name;
    const title = svg("text", { x: x + 10, y: y + 18, class: "name" }, name);
    const note = svg("text", { x: x + 10, y: y + 33, class: "note" }, kindText(node));
    const frame = svg("rect", { x, y, width: WIDTH, height: HEIGHT, rx: 7 });
    const box = svg("g", { class: "box pending", tabindex: 0, role: "button", "aria-label": node.name });
    box.append(frame, title, note, svg("title", {}, node.name));
    box.addEventListener("click", () => pick(node.name));
    box.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      pick(node.name);
    });
    this.boxes.set(node.name, { box, note, kind: kindText(node) });
    return box;
  }

  show(name, { status, attempt, parts, done, chunks }) {
    const known = this.boxes.get(name);
    if (known === undefined) return;
    known.box.setAttribute("class", `box ${status}`);
    const said = [status];
    if (parts > 0) said.push(`${done}/${parts}`);
    if (attempt > 1) said.push(`attempt ${attempt}`);
    if (chunks > 0) said.push(`${chunks} chunks`);
    known.note.textContent = status === "pending" ? known.kind : said.join(" · ");
  }
}

function kindText(node) {
  return node.kind === "task" ? "" : node.kind;
}

// Where an edge goes past a column: a place like that of a node, but lower.
const lane = (from, to, column) => `${from}\n${to}\n${column}`;

// Columns by the longest way from the input; in a column by where the sources are, which crosses few edges.
// An edge that goes past columns has a place in each, so that it goes behind no node.
export function placed(nodes) {
  const column = new Map();
  const columns = [];
  for (const node of nodes) {
    const before = node.after.filter((name) => column.has(name));
    const at = before.length === 0 ? 0 : Math.max(...before.map((name) => column.get(name))) + 1;
    column.set(node.name, at);
    (columns[at] ??= []).push({ name: node.name, after: before, high: HEIGHT });
    for (const name of before) {
      let last = name;
      for (let past = column.get(name) + 1; past < at; past += 1) {
        const passing = { name: lane(name, node.name, past), after: [last], high: LANE };
        (columns[past] ??= []).push(passing);
        last = passing.name;
      }
      const own = columns[at].at(-1);
      own.after = own.after.map((each) => (each === name ? last : each));
    }
  }
  const height = (each) => each.reduce((sum, { high }) => sum + high + GAP_Y, 0);
  const most = Math.max(...columns.map(height));
  const places = new Map();
  columns.forEach((each, at) => {
    const middle = ({ after }) => {
      const known = after.filter((name) => places.has(name)).map((name) => places.get(name).middle);
      return known.length === 0 ? 0 : known.reduce((sum, y) => sum + y, 0) / known.length;
    };
    let y = MARGIN + (most - height(each)) / 2;
    for (const { name, high } of at === 0 ? each : [...each].sort((one, other) => middle(one) - middle(other))) {
      places.set(name, { x: MARGIN + at * (WIDTH + GAP_X), y, high, middle: y + high / 2, column: at });
      y += high + GAP_Y;
    }
  });
  return places;
}

// The points that an edge goes through, from the right side of its source.
function way(from, to, places) {
  const [first, last] = [places.get(from), places.get(to)];
  const points = [[first.x + WIDTH, first.middle]];
  for (let past = first.column + 1; past < last.column; past += 1) {
    const { x, middle } = places.get(lane(from, to, past));
    points.push([x, middle], [x + WIDTH, middle]);
  }
  points.push([last.x, last.middle]);
  return points;
}

function edge(points) {
  const [[x, y], ...rest] = points;
  let d = `M ${x} ${y}`;
  let [x1, y1] = [x, y];
  for (const [x2, y2] of rest) {
    const bend = (x2 - x1) / 2;
    d += ` C ${x1 + bend} ${y1}, ${x2 - bend} ${y2}, ${x2} ${y2}`;
    [x1, y1] = [x2, y2];
  }
  return svg("path", { d, class: "edge" });
}
