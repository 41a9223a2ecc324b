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
  choose(0);
}

function choose(place) {
  shown.index = Math.min(Math.max(place, 0), shown.order.length - 1);
  const index = shown.order[shown.index];
  const pair = data.pairs[index];
  for (const option of byId("thumbnails").children) option.setAttribute("aria-selected", option.id === `pair-${index}`);
  byId("thumbnails").setAttribute("aria-activedescendant", `pair-${index}`);
  byId(`pair-${index}`).scrollIntoView({ block: "nearest" });
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
if (byId("correspondence")) {
  const SATURATION = 16;
  const at = { row: Math.floor(data.correspondence[0].map[0] / 2), column: Math.floor(data.correspondence[0].map[1] / 2) };
  data.correspondence.forEach(({ label }, index) => byId("network").append(element("option", { value: index }, label)));
  const network = () => data.correspondence[Number(byId("network").value)];
  let target, source;

  function draw() {
    const { map, pairs, sources, generated, source: sourceSprite } = network();
    byId("block").max = sources[0].length;
    if (byId("matched-pair").children.length !== pairs.length) {
      byId("matched-pair").replaceChildren(...pairs.map(([a, b], index) => element("option", { value: index }, `${a} to ${b}`)));
    }
    const index = Number(byId("matched-pair").value);
    const overlay = (content, caption) => {
      const box = element("div", { class: "overlay" }, content);
      box.append(svgElement("svg", { viewBox: `0 0 ${map[1]} ${map[0]}`, preserveAspectRatio: "none" }));
      byId("viewer").append(element("figure", {}, box, element("figcaption", {}, caption)));
      return box;
    };
    byId("viewer").replaceChildren();
    target = overlay(image(generated, index, 320, "generated image"), "Generated");
    source = overlay(image(sourceSprite, index, 320, "source image"), "Source");
    target.tabIndex = 0;
    target.setAttribute("aria-label", "Generated image: arrow keys move the position");
    target.addEventListener("pointermove", (event) => {
      const box = target.getBoundingClientRect();
      move(Math.floor((event.clientY - box.top) / box.height * map[0]), Math.floor((event.clientX - box.left) / box.width * map[1]));
    });
    target.addEventListener("keydown", (event) => {
      const steps = { ArrowDown: [1, 0], ArrowUp: [-1, 0], ArrowRight: [0, 1], ArrowLeft: [0, -1] };
      if (!(event.key in steps)) return;
      event.preventDefault();
      move(at.row + steps[event.key][0], at.column + steps[event.key][1]);
    });
    move(at.row, at.column);
  }

  function move(row, column) {
    const { map, sources, weights } = network();
    const block = Number(byId("block").value);
    at.row = Math.min(Math.max(row, 0), map[0] - 1);
    at.column = Math.min(Math.max(column, 0), map[1] - 1);
    const index = Number(byId("matched-pair").value);
    const position = at.row * map[1] + at.column;
    const square = (place, fill, opacity) => svgElement("rect", {
      x: place % map[1], y: Math.floor(place / map[1]), width: 1, height: 1, fill, "fill-opacity": opacity,
      stroke: "#fff", "stroke-width": 0.06,
    });
    const matches = sources[index][block - 1][position];
    const strengths = weights[index][block - 1][position];
    target.querySelector("svg").replaceChildren(square(position, "#ff3b30", 0.5));
    source.querySelector("svg").replaceChildren(...matches.map((place, k) => square(place, "#ff3b30", Math.min(1, strengths[k] / SATURATION))));
    byId("block-number").textContent = block;
    byId("match").textContent = `AT-block ${block}, row ${at.row + 1}, column ${at.column + 1}: `
      + `the best match is at row ${Math.floor(matches[0] / map[1]) + 1}, column ${matches[0] % map[1] + 1}, with ${strengths[0]} times uniform attention.`;
  }

  for (const id of ["network", "matched-pair", "block"]) byId(id).addEventListener("input", draw);
  draw();
  byId("block").value = byId("block").max;
  draw();
}
