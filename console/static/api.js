// The console's HTTP API: JSON in both directions. Requests that change state carry the CSRF token.

/** A refusal by the server: `message` is the server's error text, `body` its whole response. */
export class Refused extends Error {
  constructor(status, body) {
    super(body?.error || `the console answered ${status}`);
    this.name = "Refused";
    this.status = status;
    this.body = body;
  }
}

/** Longer than any time limit of the console itself. */
const REQUEST_TIMEOUT_MS = 45_000;

/** A request without a response. */
export class Unreachable extends Error {
  constructor(cause) {
    super("the console does not answer; the request may have been carried out", { cause });
    this.name = "Unreachable";
  }
}

const SESSION = "/api/session";

export class Api {
  #csrf = "";
  #base = "";

  /** @param signedOut called when the session has ended. */
  constructor(signedOut) {
    this.signedOut = signedOut;
  }

  /** Send all requests but those about the session to the pipeline whose paths begin with `base`. */
  use(base) {
    this.#base = base;
  }

  /** Return the session: the operator, the CSRF token, the circuit's name and the pipelines. */
  async session() {
    const session = await this.get(SESSION);
    this.#csrf = session.csrf;
    return session;
  }

  get(path, signal) {
    return this.#request("GET", path, undefined, signal);
  }

  post(path, body) {
    return this.#request("POST", path, body);
  }

  #address(path) {
    return path.startsWith("/api/") && path !== SESSION ? this.#base + path : path;
  }

  async #request(method, path, body, signal) {
    const headers = { Accept: "application/json" };
    if (body !== undefined) headers["Content-Type"] = "application/json";
    if (method !== "GET") headers["X-CSRF-Token"] = this.#csrf;
    let answer;
    try {
      answer = await fetch(this.#address(path), {
        method,
        headers,
        body: body === undefined ? undefined : JSON.stringify(body),
        credentials: "same-origin",
        cache: "no-store",
        signal: AbortSignal.any([AbortSignal.timeout(REQUEST_TIMEOUT_MS), ...(signal ? [signal] : [])]),
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
