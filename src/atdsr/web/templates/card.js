// A card: one picture, from the moment it is dropped until it is removed.
import { bytes, duration, ordinal } from "./words.js";

/** Statuses of a request whose answer is always the same. */
const LASTING = [400, 413, 415, 422];

const template = document.getElementById("card");

export class Card {
  constructor(actions) {
    this.element = template.content.firstElementChild.cloneNode(true);
    this.job = null;
    this.file = null;
    this.query = null;
    this.state = "sending";
    this.status = undefined;
    this.fraction = 0;
    this.abort = new AbortController();
    this.parts = {
      thumb: this.element.querySelector(".thumb"),
      image: this.element.querySelector("img"),
      name: this.element.querySelector("h3"),
      status: this.element.querySelector(".status"),
      progress: this.element.querySelector("progress"),
      notices: this.element.querySelector(".notices"),
    };
    this.parts.thumb.addEventListener("click", () => actions.compare(this));
    this.parts.image.addEventListener("error", () => (this.parts.image.hidden = true));
    this.buttons = {};
    for (const button of this.element.querySelectorAll("[data-do]")) {
      const name = button.dataset.do;
      this.buttons[name] = button;
      if (actions[name]) button.addEventListener("click", () => actions[name](this));
    }
  }

  start(file, query) {
    this.file = file;
    this.query = query;
    this.#named(file.name);
    this.#paint("sending", "Waiting to be sent", 0);
  }

  reset() {
    this.abort = new AbortController();
    this.job = null;
    this.#paint("sending", "Waiting to be sent", 0);
  }

  sent(part) {
    if (part === null) this.#paint("sending", "Waiting for room in the queue", 0);
    else this.#paint("sending", part < 1 ? `Sending, ${Math.round(100 * part)}%` : "Being checked", 0);
  }

  fail(sentence, state = "failed", status = undefined) {
    this.status = status;
    this.#paint(state, sentence, 1);
  }

  show(job) {
    this.job = job;
    this.status = job.problem?.status;
    this.#named(job.filename);
    const { image, notices } = this.parts;
    const hasFiles = ["waiting", "running", "done"].includes(job.state);
    if (hasFiles && !image.src) image.src = `${job.url}/views/thumbnail`;
    notices.hidden = !job.notices.length;
    notices.replaceChildren(
      ...job.notices.map((sentence) => {
        const item = document.createElement("li");
        item.textContent = sentence;
        return item;
      }),
    );
    if (job.state === "done") {
      this.buttons.download.href = job.result_url;
      this.buttons.download.download = job.result.filename;
    }
    this.#paint(job.state, describe(job), job.state === "running" ? job.progress : job.expires ? 1 : 0);
  }

  #named(name) {
    this.parts.name.textContent = name;
    this.parts.name.title = name;
    this.parts.progress.setAttribute("aria-label", `Progress of ${name}`);
    for (const [action, button] of Object.entries(this.buttons)) {
      const words = { remove: "Remove", download: "Download" }[action] ?? button.textContent;
      button.setAttribute("aria-label", `${words}: ${name}`);
    }
  }

  #paint(state, text, fraction) {
    this.state = state;
    this.fraction = fraction;
    this.element.dataset.state = state;
    if (this.parts.status.textContent !== text) this.parts.status.textContent = text;
    this.parts.progress.value = fraction;
    const isOpen = ["sending", "waiting", "running"].includes(state);
    this.parts.progress.hidden = !isOpen;
    this.parts.thumb.disabled = state !== "done";
    const mayPass = state === "cancelled" || (state === "failed" && !LASTING.includes(this.status));
    const shown = {
      compare: state === "done",
      download: state === "done",
      explain: state === "done",
      retry: this.file !== null && mayPass,
      cancel: isOpen,
      remove: !isOpen,
    };
    for (const [name, button] of Object.entries(this.buttons)) button.hidden = !shown[name];
  }
}

function describe(job) {
  const size = (of) => `${of.width}\u00a0×\u00a0${of.height}`;
  const change = job.result ? `${size(job)}\u00a0→ ${size(job.result)}` : "";
  if (job.state === "waiting") return `${change} · ${ordinal(job.place ?? 1)} in the queue`;
  if (job.state === "running") {
    const left = job.seconds_left === null ? "" : ` · about ${duration(job.seconds_left)} left`;
    return `${change} · ${Math.floor(100 * job.progress)}%${left}`;
  }
  if (job.state === "done") {
    const facts = [change, job.result.format.toUpperCase(), bytes(job.result.bytes)];
    return `${facts.join(" · ")} · in\u00a0${duration(job.seconds)}`;
  }
  if (job.state === "cancelled") return "Cancelled.";
  return job.problem?.detail ?? "It failed.";
}
