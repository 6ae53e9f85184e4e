// The WebSocket client: resumes at its cursor, checks the order, and detects a lost connection.

const STALE_MS = 6_000;
const DEAD_MS = 12_000;
const FIRST_PAUSE_MS = 200;
const LONGEST_PAUSE_MS = 5_000;
const SIGNED_OUT = 4401;
const FORBIDDEN = 4403;
const FULL = 4429;

/** Compare stream ids "milliseconds-sequence"; the result is below 0 when `a` is before `b`. */
export function compareCursors(a, b) {
  const [aTime, aNumber = "0"] = a.split("-");
  const [bTime, bNumber = "0"] = b.split("-");
  const difference = BigInt(aTime) - BigInt(bTime) || BigInt(aNumber) - BigInt(bNumber);
  return difference < 0n ? -1 : Number(difference > 0n);
}

/** Return the pause in ms before retry `attempt` (from 0); `random` (0 to 1) spreads the pages. */
export function pause(attempt, random = Math.random()) {
  const longest = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** attempt);
  return longest * (0.5 + random / 2);
}

/**
 * A connection that reconnects. `status` is "connecting", "live", "stale", "down" or "refused".
 *
 * @param handlers {snapshot, message, circuit, dependencies, pipelines, beat, status, signedOut}
 */
export class Live {
  #socket = null;
  #cursor = null;
  #attempt = 0;
  #heardAt = 0;
  #retry = null;
  #wantsTail = false;
  #base = null; // begins the path; null until the page knows its pipeline

  constructor(handlers) {
    this.handlers = handlers;
    this.status = "connecting";
    this.retryAt = null;
    this.why = "";
    setInterval(() => this.#watch(), 500);
    addEventListener("online", () => this.now());
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden) this.now();
    });
  }

  /** Connect to the pipeline whose paths begin with `base`, and stay connected. */
  begin(base) {
    this.#base = base;
    this.now();
  }

  /** Connect at once, unless connected. */
  now() {
    if (this.#base === null || this.#socket || this.status === "refused") return;
    clearTimeout(this.#retry);
    this.#connect();
  }

  /** Show the status "down" with a reason, before the first connection. */
  showDown(why) {
    this.why = why;
    this.#become("down");
  }

  /** Request the live tail, now and after each reconnection. */
  tail(on) {
    this.#wantsTail = on;
    this.#send({ type: "tail", on });
  }

  #connect() {
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(`${scheme}//${location.host}${this.#base}/live`);
    this.#socket = socket;
    this.retryAt = null;
    this.#heardAt = Date.now();
    let opened = false;
    socket.onopen = () => {
      opened = true;
      this.#send({ type: "resume", cursor: this.#cursor });
      if (this.#wantsTail) this.#send({ type: "tail", on: true });
    };
    socket.onmessage = (event) => {
      if (socket !== this.#socket) return;
      this.#heardAt = Date.now();
      this.#attempt = 0;
      this.#take(JSON.parse(event.data));
      if (this.#socket === socket) this.#become("live");
    };
    socket.onclose = (event) => {
      if (socket === this.#socket) this.#lost(event.code, opened);
    };
  }

  #take(message) {
    switch (message.type) {
      case "snapshot":
        this.#cursor = message.cursor;
        this.handlers.snapshot(message);
        break;
      case "messages":
        for (const item of message.items) {
          if (this.#cursor !== null && compareCursors(item.cursor, this.#cursor) <= 0) {
            this.#outOfOrder(item.cursor);
            return;
          }
          this.#cursor = item.cursor;
          this.handlers.message(item.kind, item.data);
        }
        break;
      case "circuit":
        this.handlers.circuit(message.data, message.history);
        break;
      case "dependencies":
        this.handlers.dependencies(message.names, message.items);
        break;
      case "pipelines":
        this.handlers.pipelines(message.items);
        break;
      case "beat":
        this.handlers.beat(message.time);
        break;
    }
  }

  /** Reconnect for a snapshot: a message out of order means that the page may show wrong data. */
  #outOfOrder(cursor) {
    console.error(`live: ${cursor} came after ${this.#cursor}; requesting a snapshot`);
    this.#cursor = null;
    const socket = this.#socket;
    this.#lost(0, true);
    socket.close();
  }

  #lost(code, opened) {
    this.#socket = null;
    if (code === SIGNED_OUT) {
      this.handlers.signedOut();
      return;
    }
    if (code === FORBIDDEN) {
      this.why = "the console refuses connections from this address";
      this.#become("refused");
      return;
    }
    this.why = code === FULL ? "this instance has reached its limit of viewers" : "";
    const wait = pause(this.#attempt);
    this.#attempt += 1;
    this.retryAt = Date.now() + wait;
    this.#retry = setTimeout(() => this.#connect(), wait);
    this.#become("down");
    // A refused upgrade looks like any other failure; only an HTTP request returns its status.
    if (!opened) this.handlers.checkSession?.();
  }

  #watch() {
    if (!this.#socket) return;
    const silent = Date.now() - this.#heardAt;
    if (silent > DEAD_MS) {
      const socket = this.#socket;
      this.#lost(0, true);
      socket.close();
    } else if (silent > STALE_MS && this.status === "live") {
      this.#become("stale");
    }
  }

  #become(status) {
    if (status === this.status && status === "live") return;
    this.status = status;
    this.handlers.status(status);
  }

  #send(message) {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(message));
  }
}
