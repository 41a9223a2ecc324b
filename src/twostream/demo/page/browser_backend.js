/* The questions of the page, answered in the browser: a worker runs the networks, so that the page stays responsive. */

import { element } from "./dom.js";

const MAX_SIDE = 512; // pixels of a photo on the page; larger ones are reduced

export function connect(content) {
  const worker = new Worker(new URL("network_worker.js", import.meta.url), { type: "module" });
  const waiting = []; // of the questions, in the order in which they are answered
  const refuseAll = (text) => waiting.splice(0).forEach(({ reject }) => reject(new Error(text)));
  worker.postMessage(content);
  worker.addEventListener("error", (event) => refuseAll(`network_worker.js: ${event.message ?? "expected a script, got none"}`));
  worker.addEventListener("message", ({ data: { answer, error } }) => {
    const { resolve, reject } = waiting.shift();
    if (error) reject(new Error(error));
    else resolve(answer);
  });

  async function ask(kind, model, { image, ...joints }) {
    const pixels = await decoded(image);
    return new Promise((resolve, reject) => {
      waiting.push({ resolve, reject });
      worker.postMessage({ kind, model, image: pixels, ...joints });
    });
  }

  return {
    photo,
    generate: async ({ models, ...inputs }) => {
      const results = [];
      for (const model of models) {
        const { image, milliseconds } = await ask("generate", model, inputs);
        results.push({ image: encoded(image), milliseconds });
      }
      return { results };
    },
    correspondence: ({ model, view, ...inputs }) => ask("correspondence", model, { view, ...inputs }),
  };
}

/* The pixels of an image, RGB. */
async function decoded(uri) {
  const image = new Image();
  image.src = uri;
  await image.decode();
  const [height, width] = [image.naturalHeight, image.naturalWidth];
  const pen = element("canvas", { height, width }).getContext("2d", { willReadFrequently: true });
  pen.drawImage(image, 0, 0);
  const pixels = pen.getImageData(0, 0, width, height).data;
  return { height, width, data: pixels.filter((_, index) => index % 4 < 3) };
}

function encoded({ height, width, data }) {
  const canvas = element("canvas", { height, width });
  const pixels = new Uint8ClampedArray(height * width * 4).map((_, index) => (index % 4 < 3 ? data[(index >> 2) * 3 + (index % 4)] : 255));
  canvas.getContext("2d").putImageData(new ImageData(pixels, width, height), 0, 0);
  return canvas.toDataURL("image/png");
}

/* A photo as the page shows it: upright, on white if it is transparent, and reduced. Its joints are not found. */
async function photo(file) {
  const image = await createImageBitmap(file).catch(() => {
    throw new Error(`photo: expected an image, got ${file.size} bytes that this browser can't decode`);
  });
  const scale = Math.min(1, MAX_SIDE / Math.max(image.height, image.width));
  const size = [image.height, image.width].map((side) => Math.max(1, Math.round(side * scale)));
  const canvas = element("canvas", { height: size[0], width: size[1] });
  const pen = canvas.getContext("2d");
  [pen.fillStyle, pen.imageSmoothingQuality] = ["#fff", "high"];
  pen.fillRect(0, 0, size[1], size[0]);
  pen.drawImage(image, 0, 0, size[1], size[0]);
  return { image: canvas.toDataURL("image/png"), size, joints: null };
}
