// The federation's API as this page uses it: lists in pages, and watches that find their way back.

const PAGE = 500;
const SILENCE = 150_000; // ms without a word, bookmarks included, after which a connection is taken for dead
const LONGEST_WAIT = 10_000;
const PROTOCOL = "base64.binary.k8s.io";
const TOKEN_PROTOCOL = "base64url.bearer.authorization.k8s.io.";

export class ApiError extends Error {
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

export class Api {
  #token;
  #stopping = new AbortController();

  constructor(token) {
    this.#token = token;
  }

  /** Another with the same token, which is closed by itself. */
  again() {
    return new Api(this.#token);
  }

  /** Ends every request and watch. */
  close() {
    this.#stopping.abort();
  }

  get closed() {
    return this.#stopping.signal.aborted;
  }

  /** The answer as an object. Throws ApiError; code 0 when there was no answer. */
  async request(path, { method = "GET", body } = {}) {
    let response;
    try {
      response = await fetch(path, {
        method,
        body: body && JSON.stringify(body),
        headers: { Authorization: `Bearer ${this.#token}`, Accept: "application/json", "Content-Type": "application/json" },
        credentials: "omit",
        cache: "no-store",
        redirect: "error",
        signal: this.#stopping.signal,
      });
    } catch (fault) {
      throw new ApiError(0, `the apiserver does not answer (${fault.message})`);
    }
    const answer = await response.json().catch(() => ({}));
    if (!response.ok) throw new ApiError(response.status, String(answer.message ?? response.statusText));
    return answer;
  }

  /**
   * Everything of one kind, now and from now on, until `close`. `tell` hears, in order:
   * begin(), items(list) once a page, end() when the list is whole, change(type, object), state(word, detail) with
   * the words loading, live, waiting and forbidden, and signedOut().
   */
  async follow(path, tell) {
    let wait = 0;
    while (!this.closed) {
      try {
        tell.state("loading");
        const version = await this.#list(path, tell);
        wait = 0;
        await this.#watchFrom(path, version, tell);
      } catch (fault) {
        if (this.closed) return;
        if (!(fault instanceof ApiError)) throw fault;
        if (fault.code === 401) return tell.signedOut();
        if (fault.code === 403 || fault.code === 404) {
          tell.state("forbidden", fault.message);
          wait = LONGEST_WAIT; // roles may change
        } else if (fault.code === 410) {
          wait = wait ? Math.min(wait * 2, LONGEST_WAIT) : 1;
        } else {
          wait = Math.min(Math.max(wait * 2, 250), LONGEST_WAIT);
          tell.state("waiting", fault.message);
        }
        await this.#sleep(wait * (0.75 + Math.random() / 2));
      }
    }
  }

  async #list(path, tell) {
    tell.begin();
    let next = "";
    let version = "";
    do {
      const more = next ? `&continue=${encodeURIComponent(next)}` : "";
      const page = await this.request(`${path}?limit=${PAGE}${more}`);
      tell.items(page.items ?? []);
      version = page.metadata?.resourceVersion ?? "";
      next = page.metadata?.continue ?? "";
    } while (next);
    tell.end();
    return version;
  }

  /** Watches after watches. Throws ApiError when one has to begin with a list again. */
  async #watchFrom(path, version, tell) {
    const seen = { version };
    while (!this.closed) {
      const opened = await this.#watch(path, seen, tell);
      if (!opened) throw new ApiError(0, "the watch cannot be opened");
      if (!this.closed) tell.state("waiting", "the watch ended and begins again");
    }
  }

  /** One connection's life. Resolves to whether it was ever open; rejects when the server says so. */
  #watch(path, seen, tell) {
    const query = `watch=1&allowWatchBookmarks=true&resourceVersion=${encodeURIComponent(seen.version)}`;
    const url = new URL(`${path}?${query}`, location.href);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    return new Promise((resolve, reject) => {
      const socket = new WebSocket(url, [PROTOCOL, TOKEN_PROTOCOL + base64url(this.#token)]);
      let opened = false;
      let silence = 0;
      const heard = () => {
        clearTimeout(silence);
        silence = setTimeout(() => socket.close(), SILENCE);
      };
      const stop = () => socket.close();
      this.#stopping.signal.addEventListener("abort", stop);
      addEventListener("offline", stop);
      socket.onopen = () => {
        opened = true;
        heard();
        tell.state("live");
      };
      socket.onmessage = (message) => {
        heard();
        const event = JSON.parse(message.data);
        if (event.type === "ERROR") {
          reject(new ApiError(event.object?.code ?? 500, String(event.object?.message ?? "the watch failed")));
          socket.close();
          return;
        }
        seen.version = event.object?.metadata?.resourceVersion ?? seen.version;
        if (event.type !== "BOOKMARK") tell.change(event.type, event.object);
      };
      socket.onclose = () => {
        clearTimeout(silence);
        this.#stopping.signal.removeEventListener("abort", stop);
        removeEventListener("offline", stop);
        resolve(opened);
      };
    });
  }

  #sleep(milliseconds) {
    return new Promise((resolve) => {
      const done = () => {
        clearTimeout(timer);
        removeEventListener("online", done);
        this.#stopping.signal.removeEventListener("abort", done);
        resolve();
      };
      const timer = setTimeout(done, milliseconds);
      addEventListener("online", done);
      this.#stopping.signal.addEventListener("abort", done);
    });
  }
}

function base64url(text) {
  const bytes = String.fromCharCode(...new TextEncoder().encode(text));
  return btoa(bytes).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}
