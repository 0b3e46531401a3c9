// The page: settings, pictures that come in, and the list of cards.
import * as api from "./api.js";
import { Card } from "./card.js";
import { duration, plural } from "./words.js";
import { showExplanation } from "./explainer.js";
import { Viewer } from "./viewer.js";

const UPLOADS = 3; // at once
const at = (id) => document.getElementById(id);
const form = at("settings");
const list = at("cards");
const cards = []; // in the order of the page, the newest first
const queue = []; // cards whose upload waits
const early = new Map(); // jobs that were told of before their upload was answered
let uploading = 0;
let suffixes = [];

const viewer = new Viewer(() => cards.filter((card) => card.job?.state === "done").map((card) => card.job));

const actions = {
  compare: (card) => viewer.open(card.job),
  explain: (card) => showExplanation(card.job),
  async cancel(card) {
    card.abort.abort();
    if (card.job) await api.remove(card.job.id);
    else card.fail("Cancelled.", "cancelled");
    update();
  },
  retry(card) {
    card.reset();
    queue.push(card);
    pump();
  },
  async remove(card) {
    if (card.job) await api.remove(card.job.id);
    drop(card);
  },
};

function add(card) {
  cards.unshift(card);
  list.prepend(card.element);
}

function drop(card) {
  const place = cards.indexOf(card);
  if (place < 0) return;
  cards.splice(place, 1);
  card.element.remove();
  update();
}

// ------------------------------------------------------------------------------------- settings

function query() {
  const chosen = new FormData(form);
  const values = {};
  for (const name of ["scale", "format", "model"]) if (chosen.get(name)) values[name] = chosen.get(name);
  if (!values.scale) {
    if (chosen.get("outscale")) values.outscale = chosen.get("outscale");
    else if (chosen.get("size")) values.size = chosen.get("size").replace("×", "x").replaceAll(" ", "");
  }
  if (values.model) delete values.scale; // a model has its own
  if (!at("quality-field").hidden && chosen.get("quality")) values.quality = chosen.get("quality");
  if (chosen.get("ensemble")) values.ensemble = "true";
  if (!chosen.get("metadata")) values.strip_metadata = "true";
  return values;
}

function settingsChanged() {
  at("other").hidden = form.elements.scale.value !== "";
  at("quality-field").hidden = !["jpg", "webp", "avif", "jxl"].includes(form.elements.format.value);
  const values = Object.fromEntries(new FormData(form));
  try {
    localStorage.setItem("atdsr-settings", JSON.stringify(values));
  } catch {
    // they are the defaults at the next visit
  }
}

function restoreSettings() {
  let values = null;
  try {
    values = JSON.parse(localStorage.getItem("atdsr-settings"));
  } catch {
    // as above
  }
  if (values) {
    for (const element of form.elements) {
      if (!element.name) continue;
      if (element.type === "radio") element.checked = values[element.name] === element.value;
      else if (element.type === "checkbox") element.checked = element.name in values;
      else element.value = values[element.name] ?? "";
    }
  }
  if (!form.elements.scale.value && !form.querySelector("[name=scale]:checked")) form.elements.scale.value = "2";
  if (form.elements.format.selectedIndex < 0) form.elements.format.value = "";
  settingsChanged();
}

async function loadFacts() {
  const facts = await api.facts();
  suffixes = facts.suffixes;
  at("files").accept = ["image/*", ...suffixes].join(",");
  const select = form.elements.model;
  for (const model of facts.models) {
    select.add(new Option(`${model.name} (${model.scale}×)`, model.name));
  }
  const scales = new Set(facts.models.map((model) => String(model.scale)));
  for (const radio of form.querySelectorAll("[name=scale]")) {
    radio.disabled = radio.value !== "" && !scales.has(radio.value);
    radio.parentElement.title = radio.disabled ? "No model of this size is offered here." : "";
  }
  for (const option of form.elements.format.options) {
    option.disabled = option.value !== "" && !facts.formats.includes(option.value);
  }
}

// -------------------------------------------------------------------------------------- pictures

function take(files) {
  if (!form.reportValidity()) return;
  const values = query();
  for (const file of files) {
    const card = new Card(actions);
    card.start(file, values);
    add(card);
    queue.push(card);
  }
  update();
  pump();
}

function pump() {
  while (uploading < UPLOADS && queue.length) {
    uploading += 1;
    uploadOne(queue.shift()).finally(() => {
      uploading -= 1;
      pump();
    });
  }
}

async function uploadOne(card) {
  if (card.abort.signal.aborted) return;
  try {
    const job = await api.upload(card.file, card.query, card.abort.signal, (part) => card.sent(part));
    card.show(early.get(job.id) ?? job);
    early.delete(job.id);
  } catch (error) {
    if (error.name === "AbortError") card.fail("Cancelled.", "cancelled");
    else card.fail(error.message, "failed", error.status);
  }
  update();
  follow();
}

function find(id) {
  return cards.find((card) => card.job?.id === id);
}

function changed(job) {
  const card = find(job.id);
  if (!card) {
    if (uploading) early.set(job.id, job);
    return;
  }
  card.show(job);
  update();
}

const isOpen = (card) => card.job && !card.job.expires;

function follow() {
  if (cards.some(isOpen)) {
    api.follow(changed, (id) => find(id) && drop(find(id)), () => setTimeout(refresh, 300));
  }
}

/** Look once more after the end of the stream: a job may have come in at that moment. */
async function refresh() {
  if (!cards.some(isOpen)) return;
  try {
    for (const job of await api.jobs()) changed(job);
  } catch {
    // the next look will tell
  }
  follow();
}

async function restore() {
  let jobs = [];
  try {
    jobs = await api.jobs();
  } catch {
    return;
  }
  for (const job of jobs) {
    const card = new Card(actions);
    card.show(job);
    add(card);
  }
  update();
  follow();
}

// --------------------------------------------------------------------------------------- summary

function update() {
  const done = cards.filter((card) => card.state === "done").length;
  const failed = cards.filter((card) => card.state === "failed").length;
  const open = cards.filter((card) => ["sending", "waiting", "running"].includes(card.state));
  at("pictures").hidden = !cards.length;
  at("archive").hidden = done < 2;
  at("archive").href = api.archiveUrl;
  at("overall").hidden = !open.length || cards.length < 2;
  at("overall").value = cards.reduce((sum, card) => sum + card.fraction, 0) / Math.max(1, cards.length);
  const parts = [`${done} of ${plural(cards.length, "picture")} done`];
  if (failed) parts.push(`${failed} failed`);
  const left = secondsLeft(open);
  if (open.length && left) parts.push(`about ${duration(left)} left`);
  const text = parts.join(", ");
  if (at("summary").textContent !== text) at("summary").textContent = text;
  document.title = open.length ? `${done}/${cards.length} · atdsr` : "atdsr";
}

/** The time that all pictures still take, by their pixels and by those that are done. */
function secondsLeft(open) {
  const timed = cards.map((card) => card.job).filter((job) => job?.seconds && job.state === "done");
  const pixels = (job) => job.width * job.height * job.frames;
  const worked = timed.reduce((sum, job) => sum + pixels(job), 0);
  const running = open.map((card) => card.job?.seconds_left ?? 0).reduce((sum, left) => sum + left, 0);
  if (!worked) return open.length === 1 ? running : 0;
  const pace = timed.reduce((sum, job) => sum + job.seconds, 0) / worked;
  const waiting = open.map((card) => card.job).filter((job) => job?.state === "waiting");
  return running + pace * waiting.reduce((sum, job) => sum + pixels(job), 0);
}

// ---------------------------------------------------------------------------------------- events

async function filesIn(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.some((entry) => entry.isDirectory)) return [...transfer.files];
  const found = [];
  for (const entry of entries) await walk(entry, found);
  return found;
}

async function walk(entry, found) {
  if (entry.isFile) {
    const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
    const name = file.name.toLowerCase();
    if (file.type.startsWith("image/") || suffixes.some((suffix) => name.endsWith(suffix))) found.push(file);
    return;
  }
  const reader = entry.createReader();
  for (;;) {
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!some.length) return;
    for (const inner of some) await walk(inner, found);
  }
}

const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
let depth = 0;
addEventListener("dragenter", (event) => {
  if (!hasFiles(event)) return;
  depth += 1;
  at("veil").hidden = false;
});
addEventListener("dragleave", () => {
  depth = Math.max(0, depth - 1);
  at("veil").hidden = depth === 0;
});
addEventListener("dragover", (event) => hasFiles(event) && event.preventDefault());
addEventListener("drop", async (event) => {
  if (!hasFiles(event)) return;
  event.preventDefault();
  depth = 0;
  at("veil").hidden = true;
  take(await filesIn(event.dataTransfer));
});
addEventListener("paste", (event) => {
  if (event.clipboardData.files.length) take(event.clipboardData.files);
});
at("files").addEventListener("change", (event) => {
  take(event.target.files);
  event.target.value = "";
});
form.addEventListener("input", settingsChanged);
form.addEventListener("submit", (event) => event.preventDefault());
at("clear").addEventListener("click", async () => {
  const unfinished = cards.filter((card) => ["sending", "waiting", "running"].includes(card.state)).length;
  if (unfinished && !confirm(`Cancel ${plural(unfinished, "picture")} and remove all?`)) return;
  for (const card of cards) card.abort.abort();
  await api.removeAll();
  await api.removeAll(); // those that were cancelled are deleted
  for (const card of [...cards]) drop(card);
});
addEventListener("beforeunload", (event) => {
  if (queue.length || uploading) event.preventDefault();
});

restoreSettings();
loadFacts();
restore();
