// Masks as they come from the server (COCO's compressed run-length codes, column by column) to coloured pixels.

const MOST_PIXELS = 6e6; // of the overlay; larger images are painted at a fraction of their size

/** Returns the lengths of the runs of a code's text, which alternate between outside and inside. */
export function runLengths(counts) {
  const runs = [];
  let at = 0;
  while (at < counts.length) {
    let value = 0, shift = 0, more = true;
    while (more) {
      const bits = counts.charCodeAt(at++) - 48;
      value |= (bits & 31) << shift;
      shift += 5;
      more = (bits & 32) !== 0;
      if (!more && bits & 16) value |= -1 << shift;
    }
    runs.push(runs.length > 2 ? value + runs[runs.length - 2] : value);
  }
  return runs;
}

/** Returns whether the pixel (column, row) lies inside a mask. */
export function covers(mask, column, row) {
  const position = column * mask.size[0] + row;
  let end = 0, inside = false;
  for (const run of runLengths(mask.counts)) {
    end += run;
    if (position < end) return inside;
    inside = !inside;
  }
  return false;
}

/** Paints masks over an image of one size, later ones over earlier ones. */
export class Overlay {
  constructor(width, height) {
    this.step = Math.max(1, Math.ceil(Math.sqrt((width * height) / MOST_PIXELS)));
    this.canvas = document.createElement("canvas");
    this.canvas.width = Math.ceil(width / this.step);
    this.canvas.height = Math.ceil(height / this.step);
    this.labels = new Uint16Array(this.canvas.width * this.canvas.height);
  }

  /** `layers`: {mask, color [r, g, b], strong} from the lowest to the uppermost. */
  paint(layers) {
    const { width, height } = this.canvas;
    this.labels.fill(0);
    layers.forEach((layer, place) => this.#label(layer.mask, place + 1));
    const context = this.canvas.getContext("2d");
    const pixels = context.createImageData(width, height);
    const data = pixels.data, labels = this.labels;
    for (let y = 0, at = 0; y < height; y++) {
      for (let x = 0; x < width; x++, at++) {
        const label = labels[at];
        if (!label) continue;
        const { color, strong } = layers[label - 1];
        const rim =
          (x > 0 && labels[at - 1] !== label) || (x + 1 < width && labels[at + 1] !== label) ||
          (y > 0 && labels[at - width] !== label) || (y + 1 < height && labels[at + width] !== label);
        data.set(color, 4 * at);
        data[4 * at + 3] = rim ? 255 : strong ? 150 : 105;
      }
    }
    context.putImageData(pixels, 0, 0);
  }

  #label(mask, label) {
    const rows = mask.size[0], step = this.step, width = this.canvas.width;
    let start = 0, inside = false;
    for (const run of runLengths(mask.counts)) {
      const end = start + run;
      if (inside) {
        for (let column = Math.floor(start / rows); column * rows < end; column++) {
          if (column % step) continue;
          const top = Math.max(0, start - column * rows), bottom = Math.min(rows, end - column * rows);
          for (let row = Math.ceil(top / step); row * step < bottom; row++) {
            this.labels[row * width + column / step] = label;
          }
        }
      }
      start = end;
      inside = !inside;
    }
  }
}
