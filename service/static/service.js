// Talking to the service: every wait that it may ask for is kept here, so that no request is lost to a busy moment.

const LONGEST_PAUSE_S = 60;
const MOST_BROKEN = 6;

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
   * @param {(state: string|null) => void} tell what the service is waited for, or `null` when it answers again
   * @param {(message: string, code: string) => Promise<string>} askForKey resolves with a key when somebody gives one
   */
  constructor(tell, askForKey) {
    this.tell = tell;
    this.askForKey = askForKey;
    this.key = "";
    this.asking = null;
    this.notBefore = 0;
  }

  /**
   * The JSON answer of `path`, with its status. Waits and goes on where the service is busy (429), starting, stopping
   * or away, and asks for a key on 401 and 403.
   *
   * @throws {Refused} the service will not answer this, however often it is asked
   */
  async ask(path, options = {}, signal = undefined) {
    for (let broken = 0; ; ) {
      await this.#quiet(signal);
      const key = this.key;
      let response;
      let body;
      try {
        response = await fetch(path, { ...options, headers: { ...options.headers, ...this.#keyHeader() }, signal });
        body = await response.json().catch(() => null);
      } catch (error) {
        if (signal?.aborted) throw signal.reason;
        if (++broken > MOST_BROKEN) throw new Refused(0, "not_sent", `The request cannot be sent: ${error.message}.`);
        await this.#untilReady("The service does not answer. Waiting for it; it goes on by itself.", signal);
        continue;
      }
      const { code = "error", message = `The service answered ${response.status}.` } = body?.error ?? {};
      if (response.status === 429) {
        this.#pause(Number(response.headers.get("Retry-After")) || 1);
      } else if (response.status === 401 || response.status === 403) {
        // A request that was on its way with the old key must not ask for the new one again.
        if (key === this.key) await this.#newKey(message, code);
      } else if ([502, 503].includes(response.status) || (response.status === 504 && !body?.error)) {
        await this.#untilReady("The service is starting or stopping. Waiting for it; it goes on by itself.", signal);
      } else if (body !== null && (response.ok || body.results)) {
        this.tell(null);
        return { status: response.status, body };
      } else {
        this.tell(null);
        throw new Refused(response.status, code, message);
      }
    }
  }

  useKey(key) {
    this.key = key;
  }

  #keyHeader() {
    return this.key ? { Authorization: `Bearer ${this.key}` } : {};
  }

  #pause(seconds) {
    this.notBefore = Math.max(this.notBefore, performance.now() + 1000 * Math.min(seconds, LONGEST_PAUSE_S));
    this.tell("The service is busy with other work. Waiting for its turn.");
  }

  async #quiet(signal) {
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

  #newKey(message, code) {
    this.asking ??= this.askForKey(message, code)
      .then((key) => this.useKey(key))
      .finally(() => (this.asking = null));
    return this.asking;
  }
}
