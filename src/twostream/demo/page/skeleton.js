/* A skeleton in an SVG, to look at or to drag. */

import { button, element, svgElement } from "./dom.js";
import { isFound, mirrored, moved, scaled } from "./pose.js";

const REACH = 26; // CSS pixels around a joint in which it is caught
const STEPS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

/* Draw a skeleton that can't be dragged. */
export function drawing(joints, [height, width], { limbs, colours }) {
  const made = svgElement("svg", { viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" });
  for (const [a, b] of limbs) {
    if (!isFound(joints[a]) || !isFound(joints[b])) continue;
    const [[y1, x1], [y2, x2]] = [joints[a], joints[b]].map((joint) => joint.map((value) => value + 0.5));
    const colour = `rgb(${colours[b].join()})`;
    made.append(svgElement("line", { x1, y1, x2, y2, stroke: colour, "stroke-width": height / 40, "stroke-linecap": "round" }));
  }
  return made;
}

/* A skeleton whose joints are dragged, moved by arrow keys, removed and restored. */
export class SkeletonEditor {
  joints = [];
  #svg;
  #tools;
  #body;
  #changed;
  #size = [1, 1];
  #given = [];
  #standing = [];
  #limbs = [];
  #dots = [];
  #chosen = null;

  /* `tools` gets the buttons; `body` has the names, colours, limbs and flips; `changed` is called after a change. */
  constructor(svg, tools, body, changed) {
    [this.#svg, this.#tools, this.#body, this.#changed] = [svg, tools, body, changed];
    svg.setAttribute("role", "group");
    svg.setAttribute("aria-label", "Skeleton: arrow keys move a joint, Shift with arrow keys the whole skeleton, Delete removes it");
    this.#limbs = body.limbs.map(([, end]) => svgElement("line", { class: "limb", stroke: `rgb(${body.colours[end].join()})` }));
    this.#dots = body.joint_names.map((name, joint) => this.#dot(name, joint));
    svg.append(...this.#limbs, ...this.#dots);
    svg.addEventListener("pointerdown", (event) => this.#drag(event));
    svg.addEventListener("dblclick", (event) => this.#remove(this.#nearest(event)));
    this.#addTools();
  }

  /* Show a pose in the frame of an image; Reset returns to it. `standing` is a pose with all joints in that frame. */
  set(joints, size, standing) {
    [this.#given, this.#size, this.#standing] = [joints, size, standing];
    this.#svg.setAttribute("viewBox", `0 0 ${size[1]} ${size[0]}`);
    this.#svg.setAttribute("preserveAspectRatio", "none");
    this.#choose(null);
    this.#show(joints);
  }

  #dot(name, joint) {
    const colour = `rgb(${this.#body.colours[joint].join()})`;
    const parts = [svgElement("path", { class: "edge" }), svgElement("path", { class: "dot", stroke: colour })];
    const made = svgElement("g", { class: "joint", tabindex: 0, role: "button", "aria-label": name }, ...parts);
    made.append(svgElement("title", {}, name));
    made.addEventListener("keydown", (event) => this.#press(event, joint));
    made.addEventListener("focus", () => this.#choose(joint));
    return made;
  }

  #addTools() {
    const all = (change) => () => this.#change(change(this.joints));
    const nothing = () => this.joints.every((joint) => joint === null);
    this.#tools.append(
      button("Mirror", all((joints) => mirrored(joints, this.#size[1], this.#body.flipped))),
      button("Larger", () => nothing() || this.#change(scaled(this.joints, 1.05))),
      button("Smaller", () => nothing() || this.#change(scaled(this.joints, 1 / 1.05))),
      button("Reset", () => this.#change(this.#given)),
      button("Remove joint", () => this.#remove(this.#chosen), { class: "remove" }),
      element("span", { class: "missing tools" }),
    );
  }

  #choose(joint) {
    this.#chosen = joint;
    this.#dots.forEach((dot, index) => dot.classList.toggle("chosen", index === joint));
    this.#describe();
  }

  #describe() {
    const names = this.#body.joint_names;
    const remove = this.#tools.querySelector(".remove");
    remove.textContent = this.#chosen === null ? "Remove joint" : `Remove ${names[this.#chosen]}`;
    remove.disabled = this.#chosen === null;
    const missing = names.map((_, joint) => joint).filter((joint) => !isFound(this.joints[joint] ?? null));
    const restore = (joint) => button(`+ ${names[joint]}`, () => this.#restore(joint), { title: `Restore the ${names[joint]}` });
    this.#tools.querySelector(".missing").replaceChildren(...missing.map(restore));
  }

  #change(joints) {
    this.#show(joints);
    this.#changed();
  }

  #show(joints) {
    const hadAll = this.joints.map(isFound).join();
    this.joints = joints;
    this.#body.limbs.forEach((ends, index) => {
      const [start, end] = ends.map((joint) => joints[joint]);
      this.#limbs[index].toggleAttribute("hidden", !(start && end));
      if (!start || !end) return;
      const places = { y1: start[0], x1: start[1], y2: end[0], x2: end[1] };
      for (const [key, value] of Object.entries(places)) this.#limbs[index].setAttribute(key, value + 0.5);
    });
    joints.forEach((joint, index) => {
      this.#dots[index].toggleAttribute("hidden", !joint);
      if (!joint) return;
      for (const path of this.#dots[index].querySelectorAll("path")) path.setAttribute("d", `M${joint[1] + 0.5} ${joint[0] + 0.5}h0`);
    });
    if (hadAll !== joints.map(isFound).join()) this.#describe();
  }

  /* The pixel under the pointer. */
  #place(event) {
    const box = this.#svg.getBoundingClientRect();
    const fractions = [(event.clientY - box.top) / box.height, (event.clientX - box.left) / box.width];
    return fractions.map((fraction, axis) => fraction * this.#size[axis] - 0.5);
  }

  /* The joint next to the pointer, null if none is near. */
  #nearest(event) {
    const place = this.#place(event);
    const unit = this.#svg.getBoundingClientRect().height / this.#size[0];
    const distances = this.joints.map((joint) => (joint ? unit * Math.hypot(joint[0] - place[0], joint[1] - place[1]) : Infinity));
    const least = Math.min(...distances);
    return least <= REACH ? distances.indexOf(least) : null;
  }

  #drag(event) {
    if (event.button !== 0) return;
    event.preventDefault();
    const joint = event.shiftKey ? null : this.#nearest(event);
    if (joint !== null) this.#dots[joint].focus({ preventScroll: true });
    let last = this.#place(event);
    const follow = (moving) => {
      const place = this.#place(moving);
      const step = place.map((value, axis) => value - last[axis]);
      last = place;
      this.#change(joint === null ? moved(this.joints, step) : this.#with(joint, moved([this.joints[joint]], step)[0]));
    };
    const ended = new AbortController();
    const listen = (name, action) =>
      this.#svg.addEventListener(name, (one) => one.pointerId === event.pointerId && action(one), { signal: ended.signal });
    this.#svg.setPointerCapture(event.pointerId);
    this.#svg.classList.add("dragging");
    listen("pointermove", follow);
    listen("lostpointercapture", () => {
      this.#svg.classList.remove("dragging");
      ended.abort();
    });
  }

  #press(event, joint) {
    if (event.key in STEPS) {
      const step = STEPS[event.key].map((value) => (value * this.#size[0]) / 64);
      this.#change(event.shiftKey ? moved(this.joints, step) : this.#with(joint, moved([this.joints[joint]], step)[0]));
    } else if (event.key === "Delete" || event.key === "Backspace") this.#remove(joint);
    else return;
    event.preventDefault();
  }

  #remove(joint) {
    if (joint === null) return;
    const next = this.joints.findIndex((other, index) => other && index > joint);
    const hadFocus = this.#dots[joint].matches(":focus");
    this.#choose(null);
    this.#change(this.joints.map((other, index) => (index === joint ? null : other)));
    if (hadFocus && next >= 0) this.#dots[next].focus();
  }

  /* Put a joint where it is in the standing skeleton, relative to the found joint that is next to it there. */
  #restore(joint) {
    const far = (other) => Math.hypot(...[0, 1].map((axis) => this.#standing[other][axis] - this.#standing[joint][axis]));
    const found = this.joints.map((_, index) => index).filter((index) => this.joints[index]);
    const anchor = found.sort((a, b) => far(a) - far(b))[0];
    const offset = anchor === undefined ? [0, 0] : [0, 1].map((axis) => this.joints[anchor][axis] - this.#standing[anchor][axis]);
    this.#change(this.#with(joint, moved([this.#standing[joint]], offset)[0]));
    this.#dots[joint].focus();
  }

  /* The pose with a joint at a place, which is kept inside the image. */
  #with(joint, place) {
    const inside = place.map((value, axis) => Math.min(Math.max(value, 0), this.#size[axis] - 1));
    return this.joints.map((other, index) => (index === joint ? inside : other));
  }
}
