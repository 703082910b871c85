// Every frame that the sockets of this page send and receive, as it was on
// the wire: the official client is given a WebSocket that writes it down.
import { createStore } from "./store.js";

const LIMIT = 500;
const FLUSH_MS = 40;

export const frames = createStore([]);

const waiting = [];
let number = 0;
let flushing = false;

function flush() {
  flushing = false;
  const fresh = waiting.splice(0);
  frames.set((known) => known.concat(fresh).slice(-LIMIT));
}

// The client handles a frame after it was written down, and a burst of frames
// needs only one rendering: the store changes once both have happened.
function record(entry) {
  waiting.push({ ...entry, number: number++, at: new Date() });
  if (!flushing) {
    flushing = true;
    setTimeout(flush, FLUSH_MS);
  }
}

function parse(data) {
  if (typeof data !== "string") {
    const size = data.byteLength ?? data.size;
    return { fields: null, text: `binary, ${size} bytes` };
  }
  try {
    return { fields: JSON.parse(data), text: data };
  } catch {
    return { fields: null, text: data };
  }
}

export function clearFrames() {
  frames.set([]);
}

export class LoggedWebSocket extends WebSocket {
  constructor(url, protocols) {
    super(url, protocols);
    this.addEventListener("open", () => {
      record({ direction: "note", text: "socket open" });
    });
    this.addEventListener("close", (event) => {
      record({ direction: "note", text: `socket closed, ${event.code}` });
    });
    this.addEventListener("message", (event) => {
      record({ direction: "in", ...parse(event.data) });
    });
  }

  send(data) {
    record({ direction: "out", ...parse(data) });
    super.send(data);
  }
}
