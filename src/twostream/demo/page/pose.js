/* Poses: 18 joints, each [y, x] in pixels of an image of a [height, width], or null if it is missing. */

export const isFound = (joint) => joint !== null;

const mapped = (joints, change) => joints.map((joint) => joint && change(joint));

/* Scale a pose from one image to another, to fit and centred; pixel centres stay pixel centres. */
export function fitted(joints, from, to) {
  const scale = Math.min(to[0] / from[0], to[1] / from[1]);
  const margin = [0, 1].map((axis) => (to[axis] - from[axis] * scale) / 2);
  return mapped(joints, (joint) => joint.map((value, axis) => (value + 0.5) * scale - 0.5 + margin[axis]));
}

/* The standing skeleton, given as fractions, at the proportions of `shape` in an image. */
export const standing = (fractions, shape, size) =>
  fitted(fractions.map((joint) => joint.map((value, axis) => value * shape[axis] - 0.5)), shape, size);

export const moved = (joints, [dy, dx]) => mapped(joints, ([y, x]) => [y + dy, x + dx]);

/* Swap left and right: `flipped` has the index of each joint afterwards. */
export const mirrored = (joints, width, flipped) =>
  mapped(flipped.map((joint) => joints[joint]), ([y, x]) => [y, width - 1 - x]);

/* Scale a pose about its centre. */
export function scaled(joints, factor) {
  const [top, left, bottom, right] = bounds(joints);
  const centre = [(top + bottom) / 2, (left + right) / 2];
  return mapped(joints, (joint) => joint.map((value, axis) => centre[axis] + (value - centre[axis]) * factor));
}

export function bounds(joints) {
  const found = joints.filter(isFound);
  const ends = (axis) => found.map((joint) => joint[axis]);
  return [Math.min(...ends(0)), Math.min(...ends(1)), Math.max(...ends(0)), Math.max(...ends(1))];
}

/* The part of an image, [top, left, height, width], around a person; margins are fractions of the person's height above
   and below, and of the width beside. */
export function cropAround(joints, ratio, [above, below, beside]) {
  const [top, left, bottom, right] = bounds(joints);
  const tall = bottom - top;
  const height = Math.max((1 + above + below) * tall, (right - left) / (1 - 2 * beside) / ratio, 16);
  return [(top + bottom - (above - below) * tall - height) / 2, (left + right - height * ratio) / 2, height, height * ratio];
}

/* To the nearest, halves to even, as Python rounds. */
export function rounded(value) {
  const nearest = Math.round(value);
  return Math.abs(value % 1) === 0.5 && nearest % 2 ? nearest - 1 : nearest;
}
