/* A worker that runs the networks by onnxruntime-web, one question after the other. */

import { Frame } from "./frame.js";
import { HEATMAPS } from "./heatmaps.js";
import { strongestMatches } from "./matches.js";
import * as ort from "./onnxruntime.js";

ort.env.wasm.wasmPaths = { wasm: new URL("onnxruntime.wasm", import.meta.url).href };
const sessions = new Map(); // of the networks by name, as promises
let content = null; // of the page
let last = Promise.resolve();

/* The first message is the content of the page, the others are questions. */
addEventListener("message", ({ data }) => {
  if (content === null) content = data;
  else last = last.then(() => answer(data)).then((found) => postMessage({ answer: found }), (error) => postMessage({ error: error.message }));
});

async function answer({ kind, model, view, image, source_joints, target_joints }) {
  const described = content.models.find(({ name }) => name === model);
  const session = await sessionOf(described);
  const start = performance.now();
  const frame = new Frame([image.height, image.width], described.image_size, source_joints, content.frame);
  const outputs = await session.run(inputs(frame, image, source_joints, target_joints, described));
  if (kind === "correspondence") return correspondence(view, outputs, frame);
  const generated = frame.fromNetwork(pixelsOf(outputs.image), image);
  return { image: generated, milliseconds: Math.round(performance.now() - start) };
}

function sessionOf({ name, file }) {
  if (!sessions.has(name)) {
    sessions.set(name, ort.InferenceSession.create(new URL(file, import.meta.url).href, { executionProviders: ["wasm"] }));
  }
  return sessions.get(name);
}

function inputs(frame, image, source, target, { image_size: [height, width], heatmaps: { option, ...values } }) {
  const { data } = frame.toNetwork(image);
  const planes = new Float32Array(data.length);
  const area = height * width;
  data.forEach((value, index) => (planes[(index % 3) * area + Math.floor(index / 3)] = value / 127.5 - 1));
  const maps = (joints) => HEATMAPS[option](frame.jointsToNetwork(joints), [height, width], values);
  const tensor = (array) => new ort.Tensor("float32", array, [1, array.length / area, height, width]);
  return { source_image: tensor(planes), source_heatmaps: tensor(maps(source)), target_heatmaps: tensor(maps(target)) };
}

/* An image of values in [-1, 1] as bytes, rounded to the nearest level. */
function pixelsOf({ data: planes, dims: [, , height, width] }) {
  const area = height * width;
  const level = (_, index) => (planes[(index % 3) * area + Math.floor(index / 3)] + 1) * 127.5;
  return { height, width, data: Uint8ClampedArray.from({ length: planes.length }, level) };
}

function correspondence(view, outputs, frame) {
  const [queries, keys] = ["queries", "keys"].map((name) => outputs[`${view}.${name}`]);
  const corner = frame.of("start").map((start, axis) => start - frame.sides[axis].offset / frame.scale);
  const extent = [...corner, ...frame.networkSize.map((length) => length / frame.scale)];
  return { ...strongestMatches(queries.data, keys.data, queries.dims[2], frame.networkSize), extent };
}
