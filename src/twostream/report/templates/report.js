"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const [height, width] = data.size;
const byId = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function svgElement(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

/* An image of a sprite, enlarged to a height in CSS pixels. */
function image(sprite, index, shownHeight, label) {
  const zoom = shownHeight / height;
  const [x, y] = [index % data.per_row, Math.floor(index / data.per_row)];
  const made = element("div", { class: "image", role: "img", "aria-label": label });
  made.style.width = `${width * zoom}px`;
  made.style.height = `${shownHeight}px`;
  made.style.backgroundImage = `url(${sprite})`;
  made.style.backgroundSize = `${data.per_row * width * zoom}px auto`;
  made.style.backgroundPosition = `${-x * width * zoom}px ${-y * shownHeight}px`;
  return made;
}

/* A skeleton; a joint is [y, x], or [-1, -1] if it was not found. */
function pose(joints, shownHeight, label) {
  const made = svgElement("svg", {
    class: "pose", role: "img", "aria-label": label, viewBox: `0 0 ${width} ${height}`,
    width: (shownHeight * width) / height, height: shownHeight,
  });
  const found = (joint) => joints[joint][0] !== -1 || joints[joint][1] !== -1;
  const colour = (joint) => `rgb(${data.colours[joint].join()})`;
  for (const [a, b] of data.limbs) {
    if (!found(a) || !found(b)) continue;
    const [[y1, x1], [y2, x2]] = [joints[a], joints[b]].map((joint) => joint.map((value) => value + 0.5));
    made.append(svgElement("line", { x1, y1, x2, y2, stroke: colour(b), "stroke-width": height / 64 }));
  }
  joints.forEach(([y, x], joint) => {
    if (found(joint)) made.append(svgElement("circle", { cx: x + 0.5, cy: y + 0.5, r: height / 80, fill: colour(joint) }));
  });
  return made;
}

/* Test pairs */
const shown = { order: [], index: 0 };
const keys = data.methods.flatMap(({ label }, method) =>
  Object.keys(data.pairs[0].scores[method]).map((name) => ({ method, name, text: `${name} of ${label}` })));
keys.forEach(({ text }, number) => byId("sort").append(element("option", { value: number }, text)));
[...new Set(data.pairs.map((pair) => pair.identity))].sort().forEach((name) =>
  byId("identity").append(element("option", { value: name }, name)));

function list() {
  const [sort, identity] = [byId("sort").value, byId("identity").value];
  shown.order = data.pairs.map((_, index) => index).filter((index) => !identity || data.pairs[index].identity === identity);
  if (sort !== "") {
    const { method, name } = keys[Number(sort)];
    const sign = Number(byId("direction").value);
    shown.order.sort((a, b) => sign * (data.pairs[a].scores[method][name] - data.pairs[b].scores[method][name]));
  }
  byId("thumbnails").replaceChildren(...shown.order.map((index, place) => {
    const option = element("div", { role: "option", id: `pair-${index}` }, image(data.sprites.target, index, 56, data.pairs[index].target));
    option.addEventListener("click", () => choose(place));
    return option;
  }));
  choose(0, false);
}

function choose(place, scroll = true) {
  shown.index = Math.min(Math.max(place, 0), shown.order.length - 1);
  const index = shown.order[shown.index];
  const pair = data.pairs[index];
  for (const option of byId("thumbnails").children) option.setAttribute("aria-selected", option.id === `pair-${index}`);
  byId("thumbnails").setAttribute("aria-activedescendant", `pair-${index}`);
  if (scroll) byId(`pair-${index}`).scrollIntoView({ block: "nearest" });
  byId("chosen").textContent = `${shown.index + 1} of ${shown.order.length}: identity ${pair.identity}, ${pair.source} to ${pair.target}`;
  const figure = (content, label, scores = {}) => element("figure", {}, content, element("figcaption", {}, label,
    ...Object.entries(scores).map(([name, value]) => element("small", {}, `${name} ${value.toFixed(3)}`))));
  byId("detail").replaceChildren(
    figure(image(data.sprites.source, index, 192, "source"), "Source"),
    figure(pose(pair.joints[0], 192, "source pose"), "Source pose"),
    figure(pose(pair.joints[1], 192, "target pose"), "Target pose"),
    figure(image(data.sprites.target, index, 192, "ground truth"), "Ground truth"),
    ...data.methods.map(({ label, sprite }, method) => figure(image(sprite, index, 192, label), label, pair.scores[method])));
}

byId("thumbnails").addEventListener("keydown", (event) => {
  const steps = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1, Home: -shown.order.length, End: shown.order.length };
  if (!(event.key in steps)) return;
  event.preventDefault();
  choose(shown.index + steps[event.key]);
});
for (const id of ["sort", "direction", "identity"]) byId(id).addEventListener("change", list);
list();

/* Correspondence */
if (data.correspondence.length) {
  const SATURATION = 16;
  const at = { y: 0.5, x: 0.5 };  // fractions of height and width
  data.correspondence.forEach(({ label }, index) => byId("network").append(element("option", { value: index }, label)));
  const network = () => data.correspondence[Number(byId("network").value)];
  const view = () => network().views[byId("view").value];
  let target, source;

  /* Offer the views and pairs of the chosen network, the last view first. */
  function offer() {
    byId("view").replaceChildren(...Object.keys(network().views).reverse().map((name) =>
      element("option", { value: name }, name.replace("block_", "AT-block "))));
    byId("matched-pair").replaceChildren(...network().pairs.map(([a, b], index) =>
      element("option", { value: index }, `${a} to ${b}`)));
    draw();
  }

  function draw() {
    const { generated, source: sourceSprite } = network();
    const [rows, columns] = view().map;
    const index = Number(byId("matched-pair").value);
    const overlay = (content, caption) => {
      const box = element("div", { class: "overlay" }, content);
      box.append(svgElement("svg", { viewBox: `0 0 ${columns} ${rows}`, preserveAspectRatio: "none" }));
      byId("viewer").append(element("figure", {}, box, element("figcaption", {}, caption)));
      return box;
    };
    byId("viewer").replaceChildren();
    target = overlay(image(generated, index, 320, "generated image"), "Generated");
    source = overlay(image(sourceSprite, index, 320, "source image"), "Source");
    target.tabIndex = 0;
    target.setAttribute("aria-label", "Generated image: arrow keys move the position");
    // A finger only taps.
    for (const kind of ["pointermove", "pointerdown"])
      target.addEventListener(kind, (event) => {
        const box = target.getBoundingClientRect();
        move((event.clientY - box.top) / box.height, (event.clientX - box.left) / box.width);
      });
    target.addEventListener("keydown", (event) => {
      const steps = { ArrowDown: [1, 0], ArrowUp: [-1, 0], ArrowRight: [0, 1], ArrowLeft: [0, -1] };
      if (!(event.key in steps)) return;
      event.preventDefault();
      move(at.y + steps[event.key][0] / rows, at.x + steps[event.key][1] / columns);
    });
    move(at.y, at.x);
  }

  function move(y, x) {
    const { map: [rows, columns], sources, weights } = view();
    const inside = (value, count) => Math.min(Math.max(Math.floor(value * count), 0), count - 1);
    const [row, column] = [inside(y, rows), inside(x, columns)];
    [at.y, at.x] = [(row + 0.5) / rows, (column + 0.5) / columns];
    const index = Number(byId("matched-pair").value);
    const position = row * columns + column;
    const square = (place, opacity) => svgElement("rect", {
      x: place % columns, y: Math.floor(place / columns), width: 1, height: 1, fill: "#ff3b30", "fill-opacity": opacity,
      stroke: "#fff", "stroke-width": 0.06,
    });
    const [matches, strengths] = [sources[index][position], weights[index][position]];
    target.querySelector("svg").replaceChildren(square(position, 0.5));
    source.querySelector("svg").replaceChildren(...matches.map((place, k) => square(place, Math.min(1, strengths[k] / SATURATION))));
    byId("match").textContent = `Row ${row + 1}, column ${column + 1} of ${rows}x${columns}: the best match is at row `
      + `${Math.floor(matches[0] / columns) + 1}, column ${matches[0] % columns + 1}, with ${strengths[0]} times uniform attention.`;
  }

  byId("network").addEventListener("change", offer);
  for (const id of ["view", "matched-pair"]) byId(id).addEventListener("change", draw);
  offer();
}
