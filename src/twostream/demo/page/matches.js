/* Which positions of the source count most for a position of the target: `twostream.nets.inspection` in the browser. */

const COUNT = 8; // matches of a position

/* `queries` and `keys` have a row of values of all positions for each channel. Returns `map`, the rows and columns of the
   map; and for each target position the `sources` with the highest attention (Eq. 4), and that attention as `weights`, in
   multiples of uniform attention. */
export function strongestMatches(queries, keys, positions, [height, width]) {
  const stride = Math.round(Math.sqrt((height * width) / positions));
  const [sources, weights] = [[], []];
  for (let target = 0; target < positions; target++) {
    const attention = attentionOf(queries, keys, positions, target);
    const best = strongest(attention);
    sources.push(best);
    weights.push(best.map((source) => Math.round(attention[source] * positions * 10) / 10));
  }
  return { map: [Math.floor(height / stride), Math.floor(width / stride)], sources, weights };
}

/* A row of the attention matrix: the softmax of the products of a query with all keys. */
function attentionOf(queries, keys, positions, target) {
  const row = new Float64Array(positions);
  for (let start = 0; start < keys.length; start += positions) {
    const query = queries[start + target];
    for (let source = 0; source < positions; source++) row[source] += query * keys[start + source];
  }
  const highest = row.reduce((most, value) => Math.max(most, value), -Infinity);
  const exponentials = row.map((value) => Math.exp(value - highest));
  const sum = exponentials.reduce((total, value) => total + value, 0);
  return exponentials.map((value) => value / sum);
}

/* The indices of the highest values in descending order; of equal ones the first comes first. */
function strongest(values) {
  const best = [];
  values.forEach((value, index) => {
    if (best.length === COUNT && value <= values[best[COUNT - 1]]) return;
    const at = best.findIndex((other) => value > values[other]);
    best.splice(at < 0 ? best.length : at, 0, index);
    best.splice(COUNT);
  });
  return best;
}
