// A run as its reader sees it, folded from the events of its stream.

const RUN_ENDED = new Set(["succeeded", "failed", "cancelled", "rejected"]);
const NODE_ENDED = new Set(["succeeded", "failed", "skipped", "cancelled"]);

// The node of a key: that of an item `name[3]` or a pass `name#2` is `name`.
export const nodeOf = (key) => key.match(/^[^[#]*/)[0];

class Place {
  status = "pending";
  attempt = 0;
  error = null;
  output = undefined;
  beganMs = null;
  endedMs = null;
  chunks = [];
  incarnation = null;
}

export class Run {
  constructor() {
    this.status = "requested";
    this.error = null;
    this.output = undefined;
    this.outputError = null;
    this.beganMs = null;
    this.endedMs = null;
    this.places = new Map(); // by key
    this.nodes = new Map(); // the keys of each node, its own among them
  }

  get ended() {
    return RUN_ENDED.has(this.status);
  }

  place(key) {
    let found = this.places.get(key);
    if (found === undefined) {
      found = new Place();
      this.places.set(key, found);
      const name = nodeOf(key);
      if (!this.nodes.has(name)) this.nodes.set(name, []);
      this.nodes.get(name).push(key);
    }
    return found;
  }

  hear(event) {
    switch (event.type) {
      case "run":
        this.status = event.status;
        this.error = event.error ?? null;
        this.output = event.output;
        this.outputError = event.output_error ?? null;
        this.beganMs ??= event.at_ms;
        this.endedMs = this.ended ? event.at_ms : null;
        break;
      case "rejected":
        this.status = "rejected";
        this.error = { code: event.code, message: event.message };
        this.endedMs = event.at_ms;
        break;
      case "node": {
        const place = this.place(event.node);
        place.status = event.status;
        place.attempt = event.attempt;
        place.error = event.error ?? null;
        place.beganMs ??= event.at_ms;
        place.endedMs = NODE_ENDED.has(event.status) ? event.at_ms : null;
        if ("output" in event) place.output = event.output;
        break;
      }
      case "chunk": {
        const place = this.place(event.node);
        place.incarnation = event.incarnation; // another may go on with the stream: `superseded` says when it does not
        place.chunks.push(event.value);
        break;
      }
      case "superseded":
        this.place(event.node).chunks = [];
        break;
    }
  }

  // How a node stands as a whole, with its items or passes.
  summary(name) {
    const keys = this.nodes.get(name) ?? [];
    const own = this.places.get(name);
    const parts = keys.filter((key) => key !== name).map((key) => this.places.get(key));
    const done = parts.filter((part) => NODE_ENDED.has(part.status)).length;
    const isUnderWay = parts.length > 0 && (own === undefined || own.status === "pending");
    return {
      status: isUnderWay ? "running" : own?.status ?? "pending",
      attempt: own?.attempt ?? 0,
      parts: parts.length,
      done,
      chunks: own?.chunks.length ?? 0,
    };
  }
}
