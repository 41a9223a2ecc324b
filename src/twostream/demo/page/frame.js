/* Which rectangle of an image a network sees, and the way back: `twostream.data.frame` in the browser. */

import { bounds, isFound, rounded } from "./pose.js";
import { resized } from "./resampling.js";

/* Top, left and height of the smallest box of the network's aspect ratio that contains an image. */
function wholeBox([height, width], [rows, columns]) {
  const tall = Math.max(height, (width * rows) / columns);
  return [(height - tall) / 2, (width - (tall * columns) / rows) / 2, tall];
}

/* Top, left and height of a box around a person, null unless it is seen from head to foot. */
function personBox(joints, [rows, columns], { head, ankles, margins: [above, below, beside] }) {
  const heads = head.map((joint) => joints[joint]).filter(isFound);
  const feet = ankles.map((joint) => joints[joint]).filter(isFound);
  if (!heads.length || !feet.length) return null;
  const highest = Math.min(...heads.map(([y]) => y));
  const lowest = Math.max(...feet.map(([y]) => y));
  const tall = lowest - highest;
  if (tall <= 0) return null;
  const [first, left, last, right] = bounds(joints);
  const [top, bottom] = [first - above * tall, last + below * tall];
  const height = Math.max(bottom - top, (((right - left) / (1 - 2 * beside)) * rows) / columns);
  return [(top + bottom - height) / 2, (left + right - (height * columns) / rows) / 2, height];
}

/* One axis: `part` pixels of an image from `start` on become `size` at `offset`. */
function side(scale, low, length, image, network) {
  const start = Math.min(image - 1, Math.max(0, rounded(low)));
  const part = Math.max(1, Math.min(image, rounded(low + length)) - start);
  const size = Math.min(network, Math.max(1, rounded(part * scale)));
  return { start, part, size, offset: Math.min(network - size, Math.max(0, rounded((start - low) * scale))) };
}

/* How much a crop has of each pixel of an axis: 1, and less in `ramp` pixels where the image goes on. */
function shares({ start, part }, image, ramp) {
  const after = (index) => (start > 0 ? index + 1 : Infinity);
  const before = (index) => (start + part < image ? part - index : Infinity);
  return Array.from({ length: part }, (_, index) => Math.min(1, Math.min(after(index), before(index)) / (ramp + 1)));
}

export class Frame {
  /* Sizes are [height, width]; `body` has the joints of head and ankles, the margins, what is a small person, and the
     part of the network's width in which a crop is blended with the image. */
  constructor(imageSize, networkSize, joints, body) {
    [this.imageSize, this.networkSize, this.feather] = [imageSize, networkSize, body.feather];
    const whole = wholeBox(imageSize, networkSize);
    const box = personBox(joints, networkSize, body);
    const [top, left, height] = box === null || box[2] >= body.small * whole[2] ? whole : box;
    this.scale = networkSize[0] / height;
    const lengths = [height, networkSize[1] / this.scale];
    this.sides = [top, left].map((low, axis) => side(this.scale, low, lengths[axis], imageSize[axis], networkSize[axis]));
  }

  of(key) {
    return this.sides.map((one) => one[key]);
  }

  /* What the network sees of an image; what lies outside is padded by its edges. */
  toNetwork(image) {
    const part = resized(image, this.of("size"), this.of("start"), this.of("part"));
    const [[rows, columns], [above, before]] = [this.networkSize, this.of("offset")];
    const data = new Uint8ClampedArray(rows * columns * 3);
    const inside = (value, count) => Math.min(Math.max(value, 0), count - 1);
    for (let row = 0; row < rows; row++) {
      for (let column = 0; column < columns; column++) {
        const from = inside(row - above, part.height) * part.width + inside(column - before, part.width);
        for (let channel = 0; channel < 3; channel++) data[(row * columns + column) * 3 + channel] = part.data[from * 3 + channel];
      }
    }
    return { height: rows, width: columns, data };
  }

  jointsToNetwork(joints) {
    return joints.map((joint) => joint && joint.map((value, axis) => (value - this.sides[axis].start + 0.5) * this.scale - 0.5 + this.sides[axis].offset));
  }

  /* A generated image in the place of what the network saw of `image`. */
  fromNetwork(generated, image) {
    const part = resized(cropped(generated, this.of("offset"), this.of("size")), this.of("part"));
    const [top, left] = this.of("start");
    const data = image.data.slice();
    const ramp = rounded((this.feather * this.networkSize[1]) / this.scale);
    const [rows, columns] = this.sides.map((one, axis) => shares(one, this.imageSize[axis], ramp));
    for (let row = 0; row < part.height; row++) {
      for (let at = 0; at < part.width * 3; at++) {
        const to = ((top + row) * image.width + left) * 3 + at;
        const share = rounded(255 * rows[row] * columns[Math.floor(at / 3)]) / 255;
        data[to] += share * (part.data[row * part.width * 3 + at] - data[to]);
      }
    }
    return { ...image, data };
  }
}

function cropped({ width, data }, [top, left], [rows, columns]) {
  const kept = Array.from({ length: rows }, (_, row) => {
    const start = ((top + row) * width + left) * 3;
    return [...data.subarray(start, start + columns * 3)];
  });
  return { height: rows, width: columns, data: Uint8ClampedArray.from(kept.flat()) };
}
