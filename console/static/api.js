// The console's HTTP API: JSON in and out, the session's CSRF token on whatever changes something.

/** What the server said no to: `message` is its own text, `body` its whole answer. */
export class Refused extends Error {
  constructor(status, body) {
    super(body?.error || `the console answered ${status}`);
    this.name = "Refused";
    this.status = status;
    this.body = body;
  }
}

/** Longer than the console itself waits for anything. */
const PATIENCE_MS = 45_000;

/** The server could not be asked. */
export class Unreachable extends Error {
  constructor(cause) {
    super("the console does not answer; it is not known whether it has happened", { cause });
    this.name = "Unreachable";
  }
}

export class Api {
  #csrf = "";

  /** @param signedOut called when the session is over. */
  constructor(signedOut) {
    this.signedOut = signedOut;
  }

  /** Who is signed in, and the circuit's name. */
  async session() {
    const session = await this.get("/api/session");
    this.#csrf = session.csrf;
    return session;
  }

  get(path, signal) {
    return this.#ask("GET", path, undefined, signal);
  }

  post(path, body) {
    return this.#ask("POST", path, body);
  }

  async #ask(method, path, body, signal) {
    const headers = { Accept: "application/json" };
    if (body !== undefined) headers["Content-Type"] = "application/json";
    if (method !== "GET") headers["X-CSRF-Token"] = this.#csrf;
    let answer;
    try {
      answer = await fetch(path, {
        method,
        headers,
        body: body === undefined ? undefined : JSON.stringify(body),
        credentials: "same-origin",
        cache: "no-store",
        signal: AbortSignal.any([AbortSignal.timeout(PATIENCE_MS), ...(signal ? [signal] : [])]),
      });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Unreachable(error);
    }
    const document = await answer.json().catch(() => null);
    if (answer.status === 401) this.signedOut();
    if (!answer.ok) throw new Refused(answer.status, document);
    return document;
  }
}
