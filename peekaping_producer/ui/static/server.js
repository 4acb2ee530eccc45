// Requests to the server of the page, and the stream of frames.

const SILENT_MS = 5000; // Frames come once a second.
const MAX_WAIT_MS = 15000;

/** GET, or POST with a body. Throws an Error with a sentence, and the status if there is one. */
export async function call(path, body) {
  const post = { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  const response = await fetch(path, body && post).catch(() => {
    throw Error("The server of this page does not answer.");
  });
  const answer = await response.json().catch(() => ({}));
  if (response.ok) return answer;
  const { status } = response;
  throw Object.assign(Error(answer.error ?? `The server answered with status ${status}.`), { status });
}

/** Calls `onFrame` with each frame; `onLost` when the connection ends or no frame comes, and `retry` a while later. */
export class Stream {
  failures = 0;

  constructor(onFrame, onLost, retry) {
    Object.assign(this, { onFrame, onLost, retry });
  }

  open() {
    this.close();
    this.source = new EventSource("/api/frames");
    this.source.onerror = () => this.lose();
    this.source.addEventListener("frame", ({ data }) => {
      this.failures = 0;
      this.expect(SILENT_MS);
      this.onFrame(JSON.parse(data));
    });
    this.expect(3 * SILENT_MS);
  }

  close() {
    clearTimeout(this.timer);
    this.source?.close();
  }

  expect(ms) {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.lose(), ms);
  }

  lose() {
    this.close();
    const wait = Math.min(MAX_WAIT_MS, 1000 * 2 ** this.failures++) * (0.75 + Math.random() / 2);
    this.timer = setTimeout(this.retry, wait);
    this.onLost();
  }
}
