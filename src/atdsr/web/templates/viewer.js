// Before and after: one divider over both pictures, zoom and pan, the same pixels on both sides.

const at = (id) => document.getElementById(id);
const SHOWN = ["png", "jpg", "webp", "gif", "avif", "bmp"]; // what browsers show
const MOST_PIXELS = 50e6; // larger results are shown reduced, as the service makes them
const LARGEST_ZOOM = 32;

export class Viewer {
  /** `jobs` gives those that can be shown, in the order of the page. */
  constructor(jobs) {
    this.jobs = jobs;
    this.dialog = at("viewer");
    this.stage = at("stage");
    this.world = at("world");
    this.before = at("before");
    this.after = at("after");
    this.divider = at("divider");
    this.left = at("viewer-left");
    this.zoom = 1; // pixels of CSS for a pixel of the result
    this.x = 0;
    this.y = 0;
    this.pointers = new Map();
    this.#listen();
  }

  open(job) {
    this.job = job;
    if (!this.dialog.open) this.dialog.showModal();
    const { result } = job;
    at("viewer-name").textContent = job.filename;
    at("viewer-size").textContent = `${job.width} × ${job.height} → ${result.width} × ${result.height}`;
    at("viewer-download").href = job.result_url;
    at("viewer-download").download = result.filename;
    const others = this.jobs();
    at("viewer-back").hidden = at("viewer-on").hidden = others.length < 2;
    this.divider.value = 500;
    this.world.style.width = `${result.width}px`;
    this.world.style.height = `${result.height}px`;
    this.#load();
    this.fit();
    this.divider.focus({ preventScroll: true });
  }

  async #load() {
    const { job } = this;
    const { result } = job;
    const asItIs = SHOWN.includes(result.format) && job.frames === 1 && result.width * result.height <= MOST_PIXELS;
    const nearest = this.left.value === "nearest";
    at("tag-left").textContent = this.left.selectedOptions[0].textContent;
    this.before.classList.toggle("nearest", nearest);
    this.before.alt = `The original of ${job.filename}`;
    this.after.alt = `The result of ${job.filename}`;
    this.world.hidden = true;
    at("viewer-loading").textContent = "Loading…";
    this.after.src = asItIs ? job.result_url : `${job.url}/views/result`;
    this.before.src = `${job.url}/views/${nearest ? "input" : "bicubic"}`;
    try {
      await Promise.all([this.after.decode(), this.before.decode()]);
      if (job !== this.job) return;
      this.world.hidden = false;
      at("viewer-loading").textContent = "";
    } catch {
      if (job === this.job) at("viewer-loading").textContent = "The picture cannot be shown. It may have expired.";
    }
  }

  /** Show the whole picture. */
  fit() {
    const { clientWidth, clientHeight } = this.stage;
    const { width, height } = this.job.result;
    this.zoom = Math.min((clientWidth - 24) / width, (clientHeight - 24) / height, 4);
    this.x = (clientWidth - width * this.zoom) / 2;
    this.y = (clientHeight - height * this.zoom) / 2;
    this.#paint();
  }

  /** Zoom so that the point of the stage stays where it is; 1 is a pixel of the screen. */
  zoomTo(zoom, x = this.stage.clientWidth / 2, y = this.stage.clientHeight / 2) {
    const least = Math.min(0.02, this.zoom);
    const next = Math.min(LARGEST_ZOOM, Math.max(least, zoom));
    this.x = x - ((x - this.x) * next) / this.zoom;
    this.y = y - ((y - this.y) * next) / this.zoom;
    this.zoom = next;
    this.#paint();
  }

  pan(dx, dy) {
    this.x += dx;
    this.y += dy;
    this.#paint();
  }

  step(by) {
    const jobs = this.jobs();
    const place = jobs.findIndex((job) => job.id === this.job.id);
    if (jobs.length) this.open(jobs[(place + by + jobs.length) % jobs.length]);
  }

  #paint() {
    const { clientWidth, clientHeight } = this.stage;
    const { width, height } = this.job.result;
    const keep = 48; // pixels of the picture that stay in sight
    this.x = Math.min(clientWidth - keep, Math.max(keep - width * this.zoom, this.x));
    this.y = Math.min(clientHeight - keep, Math.max(keep - height * this.zoom, this.y));
    this.world.style.transform = `translate(${this.x}px, ${this.y}px) scale(${this.zoom})`;
    this.world.classList.toggle("pixels", this.zoom * devicePixelRatio >= 1.9);
    const place = (this.divider.value / 1000) * clientWidth;
    at("handle").style.left = `${place}px`;
    const cut = Math.max(0, width - (place - this.x) / this.zoom);
    this.before.style.clipPath = `inset(0 ${cut}px 0 0)`;
    const percent = Math.round(100 * this.zoom * devicePixelRatio);
    at("zoom-value").textContent = `${percent}%`;
  }

  #listen() {
    at("viewer-close").addEventListener("click", () => this.dialog.close());
    at("viewer-back").addEventListener("click", () => this.step(-1));
    at("viewer-on").addEventListener("click", () => this.step(1));
    at("zoom-in").addEventListener("click", () => this.zoomTo(this.zoom * 1.5));
    at("zoom-out").addEventListener("click", () => this.zoomTo(this.zoom / 1.5));
    at("zoom-real").addEventListener("click", () => this.zoomTo(1 / devicePixelRatio));
    at("zoom-fit").addEventListener("click", () => this.fit());
    this.left.addEventListener("change", () => this.#load());
    this.divider.addEventListener("input", () => this.#paint());
    addEventListener("resize", () => this.dialog.open && this.fit());
    this.dialog.addEventListener("keydown", (event) => this.#key(event));
    this.dialog.addEventListener("close", () => {
      this.before.removeAttribute("src");
      this.after.removeAttribute("src");
    });
    this.stage.addEventListener("wheel", (event) => {
      event.preventDefault();
      const box = this.stage.getBoundingClientRect();
      const pixels = event.deltaMode ? 33 * event.deltaY : event.deltaY;
      this.zoomTo(this.zoom * Math.exp(-pixels / 300), event.clientX - box.left, event.clientY - box.top);
    }, { passive: false });
    this.stage.addEventListener("dblclick", (event) => {
      const box = this.stage.getBoundingClientRect();
      const real = 1 / devicePixelRatio;
      if (Math.abs(this.zoom - real) < 0.001) this.fit();
      else this.zoomTo(real, event.clientX - box.left, event.clientY - box.top);
    });
    this.#drag();
  }

  #drag() {
    const handle = at("handle");
    handle.addEventListener("pointerdown", (event) => {
      handle.setPointerCapture(event.pointerId);
      event.stopPropagation();
    });
    handle.addEventListener("pointermove", (event) => {
      if (!handle.hasPointerCapture(event.pointerId)) return;
      const box = this.stage.getBoundingClientRect();
      this.divider.value = (1000 * (event.clientX - box.left)) / box.width;
      this.#paint();
    });
    handle.addEventListener("dblclick", (event) => event.stopPropagation());
    this.stage.addEventListener("pointerdown", (event) => {
      if (event.target.closest("button")) return;
      this.stage.setPointerCapture(event.pointerId);
      this.pointers.set(event.pointerId, event);
      this.stage.classList.add("panning");
    });
    this.stage.addEventListener("pointermove", (event) => {
      const last = this.pointers.get(event.pointerId);
      if (!last) return;
      const other = [...this.pointers.values()].find((pointer) => pointer.pointerId !== event.pointerId);
      this.pan((event.clientX - last.clientX) / this.pointers.size, (event.clientY - last.clientY) / this.pointers.size);
      if (other) {
        const distance = (from) => Math.hypot(from.clientX - other.clientX, from.clientY - other.clientY);
        const box = this.stage.getBoundingClientRect();
        const x = (event.clientX + other.clientX) / 2 - box.left;
        const y = (event.clientY + other.clientY) / 2 - box.top;
        this.zoomTo((this.zoom * distance(event)) / Math.max(1, distance(last)), x, y);
      }
      this.pointers.set(event.pointerId, event);
    });
    const release = (event) => {
      this.pointers.delete(event.pointerId);
      if (!this.pointers.size) this.stage.classList.remove("panning");
    };
    this.stage.addEventListener("pointerup", release);
    this.stage.addEventListener("pointercancel", release);
  }

  #key(event) {
    if (event.target.closest("select, a") || event.ctrlKey || event.metaKey || event.altKey) return;
    const keys = {
      "+": () => this.zoomTo(this.zoom * 1.5),
      "=": () => this.zoomTo(this.zoom * 1.5),
      "-": () => this.zoomTo(this.zoom / 1.5),
      0: () => this.fit(),
      1: () => this.zoomTo(1 / devicePixelRatio),
      n: () => this.step(1),
      p: () => this.step(-1),
      ...(event.shiftKey && {
        ArrowLeft: () => this.pan(60, 0),
        ArrowRight: () => this.pan(-60, 0),
        ArrowUp: () => this.pan(0, 60),
        ArrowDown: () => this.pan(0, -60),
      }),
    };
    if (!keys[event.key]) return;
    event.preventDefault();
    keys[event.key]();
  }
}
