// The image on the screen: zoom and pan, the masks over it, and the shapes that the user draws.

const CLOSE_ENOUGH = 4; // screen pixels that a drag must exceed to be one

/** Shows an image and turns what the pointer does into prompts (in pixels of the image). */
export class View {
  /** `drawn(prompt)` is called with each finished prompt, as files of prompts hold them. */
  constructor(canvas, drawn) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.drawn = drawn;
    this.tool = "point";
    this.positive = true;
    this.width = 5;
    this.enabled = false;
    this.picture = null;
    this.overlay = null;
    this.prompts = [];
    this.shape = null; // what is being drawn: {points, positive}
    this.moving = null;
    this.space = false;
    this.scale = 1;
    this.left = this.top = 0;
    new ResizeObserver(() => this.#resized()).observe(canvas);
    canvas.addEventListener("pointerdown", (event) => this.#down(event));
    canvas.addEventListener("pointermove", (event) => this.#move(event));
    canvas.addEventListener("pointerup", (event) => this.#up(event));
    canvas.addEventListener("pointercancel", () => this.cancel());
    canvas.addEventListener("dblclick", () => this.close());
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
  }

  /** Shows a picture (anything that canvases draw) of the image's size. */
  show(picture, width, height) {
    this.picture = picture;
    this.size = { width, height };
    this.cancel();
    this.fit();
  }

  /** Fits the image into the window. */
  fit() {
    if (!this.picture) return;
    const { width, height } = this.canvas;
    this.scale = Math.min(width / this.size.width, height / this.size.height) * 0.97;
    this.left = (width - this.size.width * this.scale) / 2;
    this.top = (height - this.size.height * this.scale) / 2;
    this.draw();
  }

  /** Drops the shape that is being drawn. */
  cancel() {
    this.shape = this.moving = null;
    this.draw();
  }

  /** Finishes a polygon. */
  close() {
    if (this.tool !== "polygon" || !this.shape) return;
    const points = this.shape.points.filter((p, i, all) => !i || p[0] !== all[i - 1][0] || p[1] !== all[i - 1][1]);
    if (points.length >= 3) this.#finish({ polygon: points });
    else this.cancel();
  }

  /** Draws everything anew. */
  draw() {
    const { context, canvas } = this;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, canvas.width, canvas.height);
    if (!this.picture) return;
    context.setTransform(this.scale, 0, 0, this.scale, this.left, this.top);
    context.imageSmoothingEnabled = this.scale < 2;
    context.drawImage(this.picture, 0, 0, this.size.width, this.size.height);
    if (this.overlay) {
      const { canvas: masks, step } = this.overlay;
      context.drawImage(masks, 0, 0, masks.width * step, masks.height * step);
    }
    this.prompts.forEach((prompt) => this.#drawPrompt(prompt));
    if (this.shape) this.#drawPrompt(this.#prompt(), true);
  }

  /** Returns the place of an event in the image, within its borders; null when it lies outside. */
  place(event, inside = true) {
    const box = this.canvas.getBoundingClientRect(), ratio = this.canvas.width / box.width;
    const x = ((event.clientX - box.left) * ratio - this.left) / this.scale;
    const y = ((event.clientY - box.top) * ratio - this.top) / this.scale;
    const { width, height } = this.size;
    if (inside && (x < 0 || y < 0 || x >= width || y >= height)) return null;
    return [Math.min(Math.max(x, 0), width), Math.min(Math.max(y, 0), height)].map((v) => Math.round(v * 100) / 100);
  }

  #resized() {
    const box = this.canvas.getBoundingClientRect(), ratio = window.devicePixelRatio || 1;
    this.canvas.width = Math.max(1, Math.round(box.width * ratio));
    this.canvas.height = Math.max(1, Math.round(box.height * ratio));
    this.fit();
  }

  #down(event) {
    this.canvas.focus();
    if (!this.picture) return;
    if (event.button === 1 || this.space) {
      event.preventDefault();
      this.canvas.setPointerCapture(event.pointerId);
      this.moving = { x: event.clientX, y: event.clientY };
      return;
    }
    const point = this.place(event);
    if (!this.enabled || !point || (event.button !== 0 && event.button !== 2)) return;
    this.canvas.setPointerCapture(event.pointerId);
    if (this.tool === "polygon" && this.shape) {
      this.shape.points.push(point);
    } else {
      const positive = this.positive && event.button === 0 && !event.shiftKey;
      this.shape = { points: [point], positive, from: [event.clientX, event.clientY] };
    }
    this.draw();
  }

  #move(event) {
    if (this.moving) {
      const ratio = this.canvas.width / this.canvas.getBoundingClientRect().width;
      this.left += (event.clientX - this.moving.x) * ratio;
      this.top += (event.clientY - this.moving.y) * ratio;
      this.moving = { x: event.clientX, y: event.clientY };
      this.draw();
    } else if (this.shape && event.buttons && this.tool !== "point" && this.tool !== "polygon") {
      const point = this.place(event, false);
      if (this.tool === "scribble") this.shape.points.push(point);
      else this.shape.points = [this.shape.points[0], point];
      this.draw();
    }
  }

  #up(event) {
    if (this.moving) {
      this.moving = null;
    } else if (this.shape && this.tool !== "polygon") {
      const [x, y] = this.shape.from;
      const dragged = Math.hypot(event.clientX - x, event.clientY - y) > CLOSE_ENOUGH;
      if (dragged || this.tool === "point" || this.tool === "scribble") this.#finish(this.#prompt());
      else this.cancel();
    }
  }

  #wheel(event) {
    if (!this.picture) return;
    event.preventDefault();
    const box = this.canvas.getBoundingClientRect(), ratio = this.canvas.width / box.width;
    const x = (event.clientX - box.left) * ratio, y = (event.clientY - box.top) * ratio;
    const factor = Math.exp(-Math.max(-200, Math.min(200, event.deltaY)) / 400);
    const scale = Math.min(64, Math.max(0.01, this.scale * factor));
    this.left = x - ((x - this.left) * scale) / this.scale;
    this.top = y - ((y - this.top) * scale) / this.scale;
    this.scale = scale;
    this.draw();
  }

  #finish(prompt) {
    const { positive } = this.shape;
    this.cancel();
    this.drawn(positive ? prompt : { ...prompt, positive: false });
  }

  /** Returns the shape that is being drawn as a prompt. */
  #prompt() {
    const { points } = this.shape, [[x0, y0]] = points, [x1, y1] = points[points.length - 1];
    switch (this.tool) {
      case "box": return { box: [Math.min(x0, x1), Math.min(y0, y1), Math.max(x0, x1), Math.max(y0, y1)] };
      case "circle": return { circle: [x0, y0, Math.round(100 * Math.hypot(x1 - x0, y1 - y0)) / 100] };
      case "scribble": return { scribble: points, width: this.width };
      case "polygon": return { polygon: points };
      default: return { point: [x0, y0] };
    }
  }

  #drawPrompt(prompt, unfinished = false) {
    const { context, scale } = this;
    const positive = unfinished ? this.shape.positive : prompt.positive !== false;
    const path = new Path2D();
    let solid = false;
    if (prompt.point) {
      path.arc(...prompt.point, 6 / scale, 0, 2 * Math.PI);
      solid = true;
    } else if (prompt.box) {
      const [x0, y0, x1, y1] = prompt.box;
      path.rect(x0, y0, x1 - x0, y1 - y0);
    } else if (prompt.circle) {
      path.arc(...prompt.circle, 0, 2 * Math.PI);
    } else {
      (prompt.scribble || prompt.polygon).forEach((p, i) => (i ? path.lineTo(...p) : path.moveTo(...p)));
      if (prompt.polygon && !unfinished) path.closePath();
      if (prompt.scribble && prompt.scribble.length === 1) path.arc(...prompt.scribble[0], 3 / scale, 0, 2 * Math.PI);
    }
    const color = positive ? "#19c25f" : "#f0343c";
    context.lineJoin = context.lineCap = "round";
    for (const [width, style] of [[5, "#fff"], [2.5, color]]) {
      context.lineWidth = width / scale;
      context.strokeStyle = style;
      context.stroke(path);
    }
    if (solid) {
      context.fillStyle = color;
      context.fill(path);
    }
  }
}
