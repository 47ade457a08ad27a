// The evaluation protocol in a browser: Pillow's bicubic resizing, to the last bit, and the centre.

const PRECISION = 2 ** 22; // of Pillow's weights, which are whole numbers

// What each of `count` pixels from `start` on is made of, when an axis of `side` becomes `resized`.
function filters(side, resized, start, count) {
  const scale = side / resized;
  const stretch = Math.max(scale, 1); // antialiasing
  const support = 2 * stretch;
  return Array.from({ length: count }, (_, n) => {
    const centre = (start + n + 0.5) * scale;
    const first = Math.max(0, Math.trunc(centre - support + 0.5));
    const last = Math.min(side, Math.trunc(centre + support + 0.5));
    const weights = Array.from({ length: last - first }, (_, k) =>
      bicubic((k + first - centre + 0.5) / stretch),
    );
    const sum = weights.reduce((a, b) => a + b, 0);
    return { first, weights: weights.map((w) => roundAway((w / sum) * PRECISION)) };
  });
}

function roundAway(x) {
  return x < 0 ? Math.ceil(x - 0.5) : Math.floor(x + 0.5);
}

function bicubic(x) {
  x = Math.abs(x);
  if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
  return x < 2 ? ((2.5 - 0.5 * x) * x - 4) * x + 2 : 0;
}

// Halves to the even, as Python rounds.
function half(x) {
  const floor = Math.floor(x / 2);
  return x % 2 === 0 ? x / 2 : floor + (floor % 2);
}

const grey = (sum) => Math.min(255, Math.max(0, Math.floor((sum + PRECISION / 2) / PRECISION)));

// RGBA of a picture -> RGB of the network's size, as a Uint8Array.
export function resizeAndCenterCrop({ data, width, height }, size, ratio) {
  const [coverHeight, coverWidth] = size.map((side) => Math.floor((side * ratio[0]) / ratio[1]));
  const byHeight = coverHeight * width >= coverWidth * height;
  const resized = byHeight
    ? [coverHeight, Math.floor((coverHeight * width) / height)]
    : [Math.floor((coverWidth * height) / width), coverWidth];
  const columns = filters(width, resized[1], half(resized[1] - size[1]), size[1]);
  const rows = filters(height, resized[0], half(resized[0] - size[0]), size[0]);
  const top = rows[0].first;
  const bottom = rows.at(-1).first + rows.at(-1).weights.length;

  // Width first, with whole grey levels in between, as Pillow does.
  const line = 3 * size[1];
  const between = new Uint8Array((bottom - top) * line);
  for (let y = top; y < bottom; y++) {
    columns.forEach(({ first, weights }, x) => {
      for (let c = 0; c < 3; c++) {
        let at = 4 * (y * width + first) + c;
        let sum = 0;
        for (const weight of weights) {
          sum += weight * data[at];
          at += 4;
        }
        between[(y - top) * line + 3 * x + c] = grey(sum);
      }
    });
  }
  const result = new Uint8Array(size[0] * line);
  rows.forEach(({ first, weights }, y) => {
    for (let x = 0; x < line; x++) {
      let at = (first - top) * line + x;
      let sum = 0;
      for (const weight of weights) {
        sum += weight * between[at];
        at += line;
      }
      result[y * line + x] = grey(sum);
    }
  });
  return result;
}
