/* The panel of the person: an image with joints; of a photo, the network is given the part around the joints. */

import { byId, element, svgElement } from "./dom.js";
import { cropAround, isFound, standing } from "./pose.js";
import { SkeletonEditor } from "./skeleton.js";

const MOST = 256; // pixels of the height of the part of a photo

export class Person {
  #content;
  #editor;
  #shown = new Image();
  #size;
  #isPhoto = false;
  #framed = null;

  /* `changed` is called after a change of the joints. */
  constructor(content, changed) {
    this.#content = content;
    this.#editor = new SkeletonEditor(byId("person-skeleton"), byId("person-joints"), content, () => {
      this.#frame();
      changed();
    });
    byId("edit-joints").addEventListener("change", (event) => this.#showJoints(event.target.checked));
  }

  /* Show an image of a [height, width] as a data URI; null joints stand for a skeleton that the user moves to the person. */
  async show(image, size, joints, isPhoto) {
    this.#shown.src = byId("person-image").src = byId("origin-image").src = image;
    [this.#size, this.#isPhoto] = [size, isPhoto];
    const ratio = size[1] / size[0];
    for (const id of ["person-stage", "origin-stage"]) byId(id).style.setProperty("--ratio", ratio);
    document.querySelector("main").classList.toggle("wide", ratio > 0.75);
    for (const layer of document.querySelectorAll(".over-person")) layer.setAttribute("viewBox", `0 0 ${size[1]} ${size[0]}`);
    const placed = standing(this.#content.standing, this.#content.size, size);
    this.#editor.set(joints ?? placed, size, placed);
    if (isPhoto) this.#showJoints(true);
    byId("person-hint").hidden = !isPhoto;
    byId("person-hint").textContent = joints ? "Drag joints that were not found well. The network sees what is inside the frame."
      : "Drag the joints onto the person, and remove those that can't be seen. The network sees what is inside the frame.";
    await this.#shown.decode();
    this.#frame();
  }

  /* What the network is given: `image`, its `size`, and its `joints`. */
  get framed() {
    return this.#framed;
  }

  /* Outline squares, in pixels of the framed image, or none. */
  highlight(squares) {
    byId("origin-stage").hidden = !squares.length;
    const { zoom, top, left } = this.#framed;
    const placed = squares.map(({ x, y, width, height, ...rest }) =>
      ({ x: x / zoom + left, y: y / zoom + top, width: width / zoom, height: height / zoom, ...rest }));
    for (const layer of document.querySelectorAll(".sources")) {
      layer.replaceChildren(...(placed.length ? [this.#shade(placed)] : []), ...placed.map((square) => svgElement("rect", square)));
    }
  }

  #showJoints(are) {
    byId("edit-joints").checked = are;
    byId("person-skeleton").toggleAttribute("hidden", !are);
    byId("person-joints").hidden = !are;
  }

  /* A shade over the image with holes. */
  #shade(holes) {
    const [height, width] = this.#size;
    const paths = holes.map(({ x, y, width: w, height: h }) => `M${x} ${y}h${w}v${h}h${-w}z`);
    return svgElement("path", { class: "shade", d: `M0 0h${width}v${height}h${-width}z${paths.join("")}` });
  }

  /* Cut the part of a photo that shows the person as the network's images do. */
  #frame() {
    const joints = this.#editor.joints;
    if (!this.#isPhoto || !joints.some(isFound)) {
      this.#framed = { image: this.#shown.src, size: this.#size, joints, zoom: 1, top: 0, left: 0 };
      byId("frame").replaceChildren();
      return;
    }
    const [rows, columns] = this.#content.size;
    const [top, left, height, width] = cropAround(joints, columns / rows, this.#content.margins);
    const zoom = Math.min(MOST, Math.max(height, rows)) / height;
    const canvas = element("canvas", { width: Math.round(width * zoom), height: Math.round(height * zoom) });
    const pen = canvas.getContext("2d");
    [pen.fillStyle, pen.imageSmoothingQuality] = ["#808080", "high"];
    pen.fillRect(0, 0, canvas.width, canvas.height);
    pen.drawImage(this.#shown, -left * zoom, -top * zoom, this.#size[1] * zoom, this.#size[0] * zoom);
    const cut = joints.map((joint) => joint && [(joint[0] + 0.5 - top) * zoom - 0.5, (joint[1] + 0.5 - left) * zoom - 0.5]);
    this.#framed = { image: canvas.toDataURL("image/png"), size: [canvas.height, canvas.width], joints: cut, zoom, top, left };
    const border = { x: left, y: top, width, height };
    byId("frame").replaceChildren(this.#shade([border]), svgElement("rect", border));
  }
}
