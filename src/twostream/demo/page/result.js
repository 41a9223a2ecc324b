/* An image that a model generated, and where its positions come from. */

import { byId, element, svgElement } from "./dom.js";
import { Latest } from "./latest.js";

const STEPS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
const viewName = (name) => (name === "warp" ? "Warp" : name.replace("block_", "AT-block "));

/* The squares of positions of a map; `extent` is its top, left, height and width in pixels of the image. */
export function squares(positions, { map: [rows, columns], extent: [top, left, height, width] }) {
  return positions.map((position) => ({
    x: left + ((position % columns) * width) / columns,
    y: top + (Math.floor(position / columns) * height) / rows,
    width: width / columns,
    height: height / rows,
  }));
}

/* A model's result. `explain(squares, text)` is called with the squares of the source, null when there are none. */
export class Result {
  root;
  #image = element("img", { alt: "The person in the new pose" });
  #mark = svgElement("svg", { class: "spotlight", "aria-hidden": "true", preserveAspectRatio: "none" });
  #stage = element("div", { class: "stage", tabindex: 0, role: "group", "aria-label": "Result: arrow keys move the position whose origin is shown" });
  #time = element("span", { class: "time", title: "Time of this network for a frame" });
  #download = element("a", { class: "button", download: "twostream.png" }, "Download PNG");
  #views = element("select");
  #models = element("select");
  #offered;
  #backend;
  #explain;
  #question = null;
  #matches = null;
  #at = null;
  #size = [1, 1];
  #fetcher = new Latest(() => this.#fetch());

  /* `models` are those offered, `chosen` the index of the first one shown; `changed` is called for another one. */
  constructor(models, chosen, label, backend, changed, explain) {
    [this.#offered, this.#backend, this.#explain] = [models, backend, explain];
    this.#models.append(...models.map(({ name }, index) => element("option", { value: index }, name)));
    this.#models.value = chosen;
    this.#stage.append(this.#image, this.#mark);
    this.#download.hidden = true;
    const row = (...children) => element("div", { class: "row" }, ...children);
    const origin = element("label", { class: "origin" }, "Origin by ", this.#views);
    this.root = element("div", { class: "model" },
      this.#stage, row(element("label", {}, `${label} `, this.#models), this.#time), row(origin, this.#download));
    this.#models.addEventListener("change", () => (this.#offerViews(), changed()));
    this.#views.addEventListener("change", () => this.#forget());
    this.#stage.addEventListener("pointermove", (event) => this.#point(event));
    this.#stage.addEventListener("pointerdown", (event) => this.#point(event));
    this.#stage.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && this.leave());
    this.#stage.addEventListener("blur", () => this.leave());
    this.#stage.addEventListener("keydown", (event) => this.#press(event));
    this.#offerViews();
  }

  get model() {
    return this.#offered[Number(this.#models.value)];
  }

  /* Show a generated image; `inputs` are what it was generated from. */
  show({ image, milliseconds }, inputs, size) {
    this.#image.src = this.#download.href = image;
    this.#download.hidden = false;
    this.#download.download = `${this.model.name.replace(/\W+/g, "-")}.png`;
    this.#time.textContent = `${milliseconds} ms`;
    this.#stage.style.setProperty("--ratio", size[1] / size[0]);
    this.#mark.setAttribute("viewBox", `0 0 ${size[1]} ${size[0]}`);
    [this.#question, this.#size] = [inputs, size];
    this.#forget();
  }

  leave() {
    this.#at = null;
    this.#mark.replaceChildren();
    this.#explain(null, "");
  }

  #offerViews() {
    this.#views.replaceChildren(...this.model.views.map((name) => element("option", { value: name }, viewName(name))));
    this.#views.parentElement.hidden = this.model.views.length === 0;
    this.#forget();
  }

  #forget() {
    this.#matches = null;
    if (this.#at) this.#draw();
  }

  #point(event) {
    const box = this.#stage.getBoundingClientRect();
    this.#at = [((event.clientY - box.top) / box.height) * this.#size[0], ((event.clientX - box.left) / box.width) * this.#size[1]];
    this.#draw();
  }

  #press(event) {
    if (!(event.key in STEPS)) return;
    event.preventDefault();
    const [rows, columns] = this.#matches?.map ?? [32, 16];
    const [height, width] = this.#matches?.extent.slice(2) ?? this.#size;
    const step = [height / rows, width / columns].map((value, axis) => value * STEPS[event.key][axis]);
    const from = this.#at ?? [this.#size[0] * 0.4, this.#size[1] / 2];
    this.#at = from.map((value, axis) => Math.min(Math.max(value + step[axis], 0), this.#size[axis] - 0.01));
    this.#draw();
  }

  async #fetch() {
    const question = this.#question;
    if (!question || this.#matches) return;
    const view = this.#views.value;
    try {
      const matches = await this.#backend.correspondence({ model: this.model.name, view, ...question });
      if (question !== this.#question || view !== this.#views.value) return;
      this.#matches = matches;
      if (this.#at) this.#draw();
    } catch (error) {
      this.#explain(null, error.message);
    }
  }

  #draw() {
    if (!this.model.views.length) return this.#explain(null, `${this.model.name} does not match positions of the images.`);
    if (!this.#matches) return void this.#fetcher.call();
    const { map: [rows, columns], extent: [top, left, height, width], sources, weights } = this.#matches;
    const inside = (value, count) => Math.min(Math.max(Math.floor(value * count), 0), count - 1);
    const [row, column] = [inside((this.#at[0] - top) / height, rows), inside((this.#at[1] - left) / width, columns)];
    const position = row * columns + column;
    this.root.after(byId("origin-stage"));
    this.#mark.replaceChildren(...squares([position], this.#matches).map((square) => svgElement("rect", square)));
    const strengths = weights[position].map((weight) => weight / weights[position][0]);
    const share = Math.round((100 * weights[position].reduce((sum, weight) => sum + weight, 0)) / (rows * columns));
    const found = squares(sources[position], this.#matches).map((square, index) => ({ ...square, "stroke-opacity": Math.max(strengths[index], 0.15) }));
    this.#explain(found, `${viewName(this.#views.value)}, row ${row + 1}, column ${column + 1} of ${rows}x${columns}: ${share} % of the attention is on the outlined squares of the photo.`);
  }
}
