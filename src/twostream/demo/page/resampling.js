/* Images as { height, width, data }, three bytes a pixel, resized as Pillow resizes them. */

const BITS = 22; // of the fraction of a weight
const SUPPORT = 2; // pixels on each side of the centre that a cubic reaches

/* Keys' cubic with a = -1/2. */
function cubic(x) {
  const distance = Math.abs(x);
  if (distance < 1) return (1.5 * distance - 2.5) * distance * distance + 1;
  return distance < 2 ? ((distance - 5) * distance + 8) * distance * -0.5 + 2 : 0;
}

/* The weights of each pixel of a side of `size` that shows `length` pixels from `start` on of a side of `whole`. */
function weightsOf(whole, start, length, size) {
  const scale = length / size;
  const support = SUPPORT * Math.max(scale, 1);
  return Array.from({ length: size }, (_, index) => {
    const centre = start + (index + 0.5) * scale;
    const first = Math.max(Math.trunc(centre - support + 0.5), 0);
    const last = Math.min(Math.trunc(centre + support + 0.5), whole);
    const weights = Array.from({ length: last - first }, (_, at) => cubic((at + first - centre + 0.5) / Math.max(scale, 1)));
    const sum = weights.reduce((total, weight) => total + weight, 0);
    return { first, weights: weights.map((weight) => Math.round((weight / sum) * 2 ** BITS)) };
  });
}

/* Resize the rows from `start` on, `length` of them, to `size` rows; columns stay. */
function resizedRows({ height, width, data }, start, length, size) {
  const resized = new Uint8ClampedArray(size * width * 3);
  weightsOf(height, start, length, size).forEach(({ first, weights }, row) => {
    for (let at = 0; at < width * 3; at++) {
      let sum = 2 ** (BITS - 1);
      for (let index = 0; index < weights.length; index++) sum += weights[index] * data[(first + index) * width * 3 + at];
      resized[row * width * 3 + at] = Math.floor(sum / 2 ** BITS);
    }
  });
  return { height: size, width, data: resized };
}

function transposed({ height, width, data }) {
  const turned = new Uint8ClampedArray(data.length);
  for (let row = 0; row < height; row++) {
    for (let column = 0; column < width; column++) {
      for (let channel = 0; channel < 3; channel++) turned[(column * height + row) * 3 + channel] = data[(row * width + column) * 3 + channel];
    }
  }
  return { height: width, width: height, data: turned };
}

/* Resize the part of an image that begins at [top, left] to a [height, width], as Pillow's `resize` with bicubic resampling.
   Pillow may resize the rows first, which differs by a rounding; its `reducing_gap` concerns images of six times the size. */
export function resized(image, [height, width], [top, left] = [0, 0], part = [image.height, image.width]) {
  const columns = transposed(resizedRows(transposed(image), left, part[1], width));
  return resizedRows(columns, top, part[0], height);
}
