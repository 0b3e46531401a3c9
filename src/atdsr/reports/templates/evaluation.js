"use strict";
// The page is whole without this: it adds the order of pictures and the comparison in place.
const viewer = document.getElementById("viewer");
const now = { article: null, tile: 0, before: 0, errors: false };

const tiles = () => [...now.article.querySelectorAll("figure")];

function show(tile) {
  const all = tiles();
  tile = (tile + all.length) % all.length;
  if (tile !== now.tile) now.before = now.tile;
  now.tile = tile;
  const figure = all[tile];
  const picture = (now.errors && figure.querySelector(".error")) || figure.querySelector(".crop");
  const image = viewer.querySelector(".stage img");
  image.src = picture.src;
  image.alt = picture.alt;
  image.style.aspectRatio = `${picture.width || 4} / ${picture.height || 3}`;
  viewer.querySelector(".bar b").textContent = now.article.dataset.name;
  viewer.querySelector(".bar span").textContent = `${figure.dataset.label}  ${figure.dataset.figures}`;
  viewer.querySelectorAll(".choices button").forEach((button, index) =>
    button.setAttribute("aria-pressed", button.dataset.do === "errors" ? now.errors : index === tile));
}

function button(text, key, act) {
  const made = document.createElement("button");
  made.type = "button";
  made.append(Object.assign(document.createElement("kbd"), { textContent: key }), text);
  made.addEventListener("click", act);
  return made;
}

function errors() {
  now.errors = !now.errors;
  show(now.tile);
}

function open(article, tile) {
  now.article = article;
  now.tile = now.before = tile;
  const choices = tiles().map((figure, index) => {
    const made = button(figure.dataset.label, index < 9 ? index + 1 : "", () => show(index));
    made.addEventListener("pointerenter", (event) => event.pointerType === "mouse" && show(index));
    return made;
  });
  const toggle = button("errors", "e", errors);
  toggle.dataset.do = "errors";
  viewer.querySelector(".choices").replaceChildren(...choices, toggle);
  show(tile);
  if (!viewer.open) viewer.showModal();
  viewer.focus();
}

function neighbour(step) {
  const all = [...document.querySelectorAll(".group[open] article")];
  const next = all[all.indexOf(now.article) + step];
  if (!next) return;
  const tile = Math.min(now.tile, next.querySelectorAll("figure").length - 1);
  open(next, tile);
  next.scrollIntoView({ block: "nearest" });
}

const keys = {
  ArrowRight: () => show(now.tile + 1),
  ArrowLeft: () => show(now.tile - 1),
  ArrowDown: () => neighbour(1),
  ArrowUp: () => neighbour(-1),
  " ": () => show(now.before),
  e: errors,
};

if (viewer) {
  viewer.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === " " && event.target.dataset.do) return; // presses that button
    const number = Number(event.key);
    if (number >= 1 && number <= tiles().length) show(number - 1);
    else if (keys[event.key]) keys[event.key]();
    else return;
    event.preventDefault();
  });
  viewer.querySelector(".stage").addEventListener("click", () => show(now.tile + 1));
  viewer.querySelector("[data-do=close]").addEventListener("click", () => viewer.close());
  viewer.addEventListener("click", (event) => event.target === viewer && viewer.close());
  for (const crop of document.querySelectorAll(".crop")) {
    crop.tabIndex = 0;
    crop.setAttribute("role", "button");
    const start = () => {
      const article = crop.closest("article");
      open(article, [...article.querySelectorAll("figure")].indexOf(crop.closest("figure")));
    };
    crop.addEventListener("click", start);
    crop.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      start();
    });
  }
}

const orders = {
  gain: (a, b) => b.dataset.gain - a.dataset.gain,
  name: (a, b) => a.dataset.name.localeCompare(b.dataset.name, undefined, { numeric: true }),
};
for (const order of document.querySelectorAll(".order")) {
  const list = order.nextElementSibling;
  for (const choice of order.querySelectorAll("button")) {
    choice.addEventListener("click", () => {
      list.append(...[...list.children].sort(orders[choice.dataset.by]));
      for (const other of order.querySelectorAll("button"))
        other.setAttribute("aria-pressed", other === choice);
    });
  }
}
for (const part of document.querySelectorAll(".order, .scripted")) part.hidden = false;

function unfold() {
  const target = document.getElementById(location.hash.slice(1));
  const group = target && target.closest("details");
  if (group) group.open = true;
  if (target) target.scrollIntoView();
}
addEventListener("hashchange", unfold);
unfold();
