/* Heatmaps of 18 joints, [y, x] in pixels or null, for an image of a [height, width]: those of `twostream.data.pose`. */

import { rounded } from "./pose.js";

/* Draw each joint by a function of the vertical and horizontal distance in pixels; the channel of a missing joint is 0. */
function drawn(joints, [height, width], value) {
  const maps = new Float32Array(joints.length * height * width);
  joints.forEach((joint, index) => {
    if (joint === null) return;
    for (let row = 0; row < height; row++) {
      for (let column = 0; column < width; column++) {
        maps[(index * height + row) * width + column] = value(row - joint[0], column - joint[1]);
      }
    }
  });
  return maps;
}

export const HEATMAPS = {
  gaussian_heatmaps: (joints, size, { sigma }) => drawn(joints, size, (y, x) => Math.exp(-(y * y + x * x) / (2 * sigma * sigma))),
  delta_heatmaps: (joints, size) => drawn(joints.map((joint) => joint && joint.map(rounded)), size, (y, x) => y === 0 && x === 0),
  disc_heatmaps: (joints, size, { radius }) => drawn(joints, size, (y, x) => y * y + x * x <= radius * radius),
};
