// Requests to the gateway that serves this page, with its reader's token, and the streams of runs.

const KEPT = "beluga-token";
const AGAIN_MS = 1000;
const EVENTS = ["run", "node", "chunk", "superseded", "rejected"];

export const token = {
  get: () => sessionStorage.getItem(KEPT),
  // Kept for as long as the tab is open.
  set: (text) => (text ? sessionStorage.setItem(KEPT, text) : sessionStorage.removeItem(KEPT)),
};

export class Problem extends Error {
  constructor(status, told) {
    super(told.detail ?? `the gateway answered ${status}`);
    this.status = status;
    this.code = told.code;
  }
}

export async function ask(method, path, body) {
  const headers = {};
  if (token.get()) headers.Authorization = `Bearer ${token.get()}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
  } catch {
    throw new Problem(0, { detail: "the gateway does not answer" });
  }
  const told = await response.json().catch(() => ({}));
  if (!response.ok) throw new Problem(response.status, told);
  return told;
}

export const runPath = (run) => `/v1/runs/${encodeURIComponent(run)}`;

// Tells `hear` of each event of a run, `over` of its end and `lost` of a problem. Returns what ends it.
// `endsAfter` is that of a retry: the end before it is not the run's any more.
export function follow(run, { hear, over, lost, endsAfter = 0 }) {
  let source = null;
  let last = null;
  let waiting = null;
  let isClosed = false;

  async function open() {
    let path = `${runPath(run)}/events?outputs=true&ends_after=${endsAfter}`;
    try {
      if (token.get()) {
        const stream = await ask("POST", `${runPath(run)}/stream-token`);
        path += `&token=${encodeURIComponent(stream.token)}`;
      }
    } catch (problem) {
      lost(problem);
      return;
    }
    if (isClosed) return;
    source = new EventSource(last === null ? path : `${path}&after=${last}`);
    for (const kind of EVENTS) {
      source.addEventListener(kind, (event) => {
        last = event.lastEventId || last;
        hear(JSON.parse(event.data));
      });
    }
    source.addEventListener("end", () => {
      close();
      over();
    });
    source.addEventListener("problem", (event) => {
      const told = JSON.parse(event.data);
      if (told.retryable) return; // the broker is away, say: the browser connects again, and goes on where it was
      close();
      lost(new Problem(0, told));
    });
    source.addEventListener("error", () => {
      // An answer that is no stream: the token's time may be up, or the run be unknown.
      if (isClosed || source.readyState !== EventSource.CLOSED) return;
      ask("GET", runPath(run)).then(
        () => { waiting = setTimeout(open, AGAIN_MS); },
        (problem) => {
          if (problem.status === 0 || problem.status >= 500) waiting = setTimeout(open, AGAIN_MS);
          else lost(problem);
        },
      );
    });
  }

  function close() {
    isClosed = true;
    clearTimeout(waiting);
    source?.close();
  }

  open();
  return close;
}
