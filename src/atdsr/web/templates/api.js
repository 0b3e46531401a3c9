// Requests to the service: uploads with progress, and what changes about the jobs of this browser.

/** The name of this browser's jobs, which nobody can guess; it outlives the page. */
export const group = storedGroup();

function storedGroup() {
  const made = Array.from(crypto.getRandomValues(new Uint8Array(24)), (byte) =>
    byte.toString(16).padStart(2, "0"),
  ).join("");
  try {
    const stored = localStorage.getItem("atdsr-group");
    if (stored && /^[0-9a-f]{48}$/.test(stored)) return stored;
    localStorage.setItem("atdsr-group", made);
  } catch {
    // without storage the pictures are forgotten at a reload
  }
  return made;
}

const pause = (seconds) => new Promise((resolve) => setTimeout(resolve, 1000 * seconds));

async function json(url, options) {
  const answer = await fetch(url, options);
  if (answer.status === 401) location.reload();
  if (answer.status === 204) return null;
  const content = await answer.json();
  if (!answer.ok) throw new Error(content.detail);
  return content;
}

export const jobs = async () => (await json(`/v1/jobs?group=${group}`)).jobs;
export const remove = (id) => fetch(`/v1/jobs/${id}`, { method: "DELETE" });
export const removeAll = () => fetch(`/v1/jobs?group=${group}`, { method: "DELETE" });
export const archiveUrl = `/v1/archive?group=${group}`;

/** What the service can do, once it is ready. */
export async function facts() {
  for (;;) {
    try {
      return await json("/v1/models");
    } catch {
      await pause(1);
    }
  }
}

/**
 * Send a picture; the promise gives its job. While the queue is full it is sent again and again.
 * `tell` is called with the fraction that is sent, or null while there is no room.
 */
export async function upload(file, query, signal, tell) {
  const parameters = new URLSearchParams({ ...query, filename: file.name.slice(0, 255), group });
  for (;;) {
    const answer = await send(`/v1/upscale?${parameters}`, file, signal, tell);
    if (answer.status === 202) return answer.content;
    const wait = Number(answer.retry);
    if (!(wait > 0) || (answer.status !== 503 && answer.status !== 429)) {
      const error = new Error(answer.content?.detail ?? "The service cannot be reached.");
      throw Object.assign(error, { status: answer.status });
    }
    tell(null);
    await pause(Math.min(wait, 10));
    if (signal.aborted) throw new DOMException("", "AbortError");
  }
}

function send(url, file, signal, tell) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    const stop = () => request.abort();
    request.open("POST", url);
    request.setRequestHeader("Content-Type", "application/octet-stream");
    request.responseType = "json";
    request.upload.onprogress = (event) => tell(event.loaded / Math.max(1, event.total));
    request.onload = () =>
      resolve({
        status: request.status,
        content: request.response,
        retry: request.getResponseHeader("Retry-After"),
      });
    request.onerror = () => reject(new Error("The service cannot be reached, or refused the file."));
    request.onabort = () => reject(new DOMException("", "AbortError"));
    request.onloadend = () => signal.removeEventListener("abort", stop);
    signal.addEventListener("abort", stop);
    request.send(file);
  });
}

let stream = null;

/** Follow the jobs of this browser until all have ended; more calls change nothing meanwhile. */
export function follow(changed, gone, ended) {
  if (stream) return;
  stream = new EventSource(`/v1/events?group=${group}`);
  stream.addEventListener("job", (event) => changed(JSON.parse(event.data)));
  stream.addEventListener("gone", (event) => gone(JSON.parse(event.data).id));
  stream.addEventListener("end", () => {
    stream.close();
    stream = null;
    ended();
  });
}
