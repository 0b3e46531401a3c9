"use strict";
// What page.py puts beside this script: the padded category map, its sizes, colours and counts.
const data = JSON.parse(document.getElementById("data").textContent);
const bytes = Uint8Array.from(atob(data.categories), (c) => c.charCodeAt(0));
const categories = new Uint16Array(bytes.buffer); // little endian, as every browser's machine is
const { width, height, gridWidth, group } = data;

const map = document.getElementById("map");
const overlay = document.getElementById("overlay");
const said = document.getElementById("said");
const hint = said.textContent;
const onlyRun = document.getElementById("run");
const buttons = new Map();
let pinned = null;
let shown = "";

// The order in which category attention takes the pixels: by category, ties row by row.
const starts = new Uint32Array(data.colours.length + 1);
for (const token of categories) starts[token + 1] += 1;
for (let token = 1; token < starts.length; token += 1) starts[token] += starts[token - 1];
const order = new Uint32Array(categories.length);
const ranks = new Uint32Array(categories.length);
const next = starts.slice();
categories.forEach((token, place) => {
  const rank = next[token]++;
  order[rank] = place;
  ranks[place] = rank;
});

function paint(canvas, colourOf) {
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  for (let y = 0, i = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1, i += 4) {
      const [red, green, blue, alpha] = colourOf(categories[y * gridWidth + x]);
      image.data[i] = red;
      image.data[i + 1] = green;
      image.data[i + 2] = blue;
      image.data[i + 3] = alpha;
    }
  }
  context.putImageData(image, 0, 0);
  return context;
}

/** Show one category and, where a pixel is given, say or show which others it attends to. */
function show(token, place = null) {
  const withRun = onlyRun.checked && place !== null;
  const key = `${token} ${withRun ? Math.floor(ranks[place] / group) + " " + place : ""}`;
  if (key === shown) return;
  shown = key;
  for (const [other, button] of buttons) {
    button.classList.toggle("on", other === token);
    button.setAttribute("aria-pressed", String(pinned !== null && pinned.token === other));
  }
  if (token === null) {
    overlay.getContext("2d").clearRect(0, 0, width, height);
    said.textContent = hint;
    return;
  }
  const context = paint(overlay, (other) => (other === token ? [0, 0, 0, 0] : [18, 19, 22, 205]));
  const share = (100 * data.counts[token]) / (width * height);
  said.textContent =
    `Token ${token}: ${data.counts[token].toLocaleString("en")} pixels, ${share.toFixed(2)}% of the picture.`;
  if (withRun) showRun(context, place);
}

function showRun(context, place) {
  const first = Math.floor(ranks[place] / group) * group;
  const run = order.subarray(first, first + group);
  context.fillStyle = "#ffd23f";
  let inside = 0;
  for (const member of run) {
    const x = member % gridWidth;
    const y = Math.floor(member / gridWidth);
    if (x < width && y < height) {
      inside += 1;
      context.fillRect(x - 1, y - 1, 3, 3);
    }
  }
  context.fillStyle = "#5adcff";
  context.fillRect((place % gridWidth) - 2, Math.floor(place / gridWidth) - 2, 5, 5);
  said.textContent += ` The ${inside} yellow pixels are its run: those that the blue one attends to.`;
}

function placeUnder(event) {
  const box = overlay.getBoundingClientRect();
  const x = Math.floor(((event.clientX - box.left) / box.width) * width);
  const y = Math.floor(((event.clientY - box.top) / box.height) * height);
  return Math.min(Math.max(y, 0), height - 1) * gridWidth + Math.min(Math.max(x, 0), width - 1);
}

function showPinned() {
  if (pinned === null) show(null);
  else show(pinned.token, pinned.place);
}

function pin(token, place) {
  pinned = pinned !== null && pinned.token === token && pinned.place === place ? null : { token, place };
  shown = "";
  showPinned();
}

paint(map, (token) => [...data.colours[token], 255]);
paint(overlay, () => [0, 0, 0, 0]);
overlay.addEventListener("pointermove", (event) => {
  const place = placeUnder(event);
  show(categories[place], place);
});
overlay.addEventListener("pointerleave", showPinned);
overlay.addEventListener("click", (event) => {
  const place = placeUnder(event);
  pin(categories[place], place);
});
onlyRun.addEventListener("change", () => {
  shown = "";
  showPinned();
});

const list = document.getElementById("tokens");
data.largest.forEach((token) => {
  const button = document.createElement("button");
  const swatch = document.createElement("i");
  const name = document.createElement("span");
  const share = document.createElement("span");
  swatch.style.background = `rgb(${data.colours[token].join(" ")})`;
  name.textContent = `token ${token}`;
  share.textContent = `${((100 * data.counts[token]) / (width * height)).toFixed(1)}%`;
  button.type = "button";
  button.setAttribute("aria-pressed", "false");
  button.append(swatch, name, share);
  button.addEventListener("pointerenter", () => show(token));
  button.addEventListener("pointerleave", showPinned);
  button.addEventListener("focus", () => show(token));
  button.addEventListener("blur", showPinned);
  button.addEventListener("click", () => pin(token, null));
  buttons.set(token, button);
  list.append(button);
});

const under = { photo: document.getElementById("photo"), both: document.getElementById("both"), map };
for (const input of document.querySelectorAll("input[name=under]")) {
  input.addEventListener("change", () => {
    for (const [name, element] of Object.entries(under)) {
      element.style.visibility = name === input.value ? "visible" : "hidden";
    }
  });
}
