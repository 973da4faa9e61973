// The HTTP client of the page: waits while the service is busy or away, and asks for an API key.

const LONGEST_PAUSE_S = 60;
const MAX_BROKEN = 6;

export class Refused extends Error {
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

const sleep = (ms, signal) =>
  new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    signal?.addEventListener("abort", () => (clearTimeout(timer), reject(signal.reason)), { once: true });
  });

export class Service {
  /**
   * @param {(state: string|null) => void} tell shows why the page waits; `null`: the service answers again
   * @param {(message: string, code: string) => Promise<string>} askForKey resolves with a key that the user enters
   */
  constructor(tell, askForKey) {
    this.tell = tell;
    this.askForKey = askForKey;
    this.key = "";
    this.asking = null;
    this.notBefore = 0;
  }

  /**
   * The JSON answer of `path`, with its status. Waits while the service is busy (429), starting, stopping or away, and
   * asks for a key on 401 and 403.
   *
   * @throws {Refused} a retry would not help
   */
  async ask(path, options = {}, signal = undefined) {
    for (let broken = 0; ; ) {
      await this.#pauseEnd(signal);
      const key = this.key;
      let response;
      let body;
      try {
        response = await fetch(path, { ...options, headers: { ...options.headers, ...this.#keyHeader() }, signal });
        body = await response.json().catch(() => null);
      } catch (error) {
        if (signal?.aborted) throw signal.reason;
        if (++broken > MAX_BROKEN) throw new Refused(0, "not_sent", `Cannot send the request: ${error.message}.`);
        await this.#untilReady("The service does not answer. The page retries until it does.", signal);
        continue;
      }
      const { code = "error", message = `The service answered ${response.status}.` } = body?.error ?? {};
      if (response.status === 429) {
        this.#pause(Number(response.headers.get("Retry-After")) || 1);
      } else if (response.status === 401 || response.status === 403) {
        // A request that was sent with the old key must not ask for a new one again.
        if (key === this.key) await this.newKey(message, code);
      } else if ([502, 503].includes(response.status) || (response.status === 504 && !body?.error)) {
        await this.#untilReady("The service is starting or stopping. The page retries until it is ready.", signal);
      } else if (body !== null && (response.ok || body.results)) {
        this.tell(null);
        return { status: response.status, body };
      } else {
        this.tell(null);
        throw new Refused(response.status, code, message);
      }
    }
  }

  #keyHeader() {
    return this.key ? { Authorization: `Bearer ${this.key}` } : {};
  }

  #pause(seconds) {
    this.notBefore = Math.max(this.notBefore, performance.now() + 1000 * Math.min(seconds, LONGEST_PAUSE_S));
    this.tell("The service is busy. The page waits and then sends the remaining images.");
  }

  async #pauseEnd(signal) {
    for (let left; (left = this.notBefore - performance.now()) > 0; ) await sleep(left, signal);
  }

  async #untilReady(state, signal) {
    this.tell(state);
    for (let wait = 500; ; wait = Math.min(1.5 * wait, 5000)) {
      await sleep(wait, signal);
      try {
        const response = await fetch("health/ready", { signal, cache: "no-store" });
        if (response.ok || response.status === 401) return;
      } catch {
        if (signal?.aborted) throw signal.reason;
      }
    }
  }

  /** A key that the user enters, once for all who ask meanwhile. */
  newKey(message, code) {
    this.asking ??= this.askForKey(message, code)
      .then((key) => (this.key = key))
      .finally(() => (this.asking = null));
    return this.asking;
  }
}
