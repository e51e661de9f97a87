"use strict";
// Choosing by hand: box, sphere and lasso; grow, shrink, invert. Shift adds, alt takes away, both keep what is
// in both.

const CELLS_ACROSS = 100; // of the scene's radius: what a selection grows by

class Chooser {
  constructor(app) {
    this.app = app;
    this.tool = "point";
    this.through = false;
    this.shape = null; // the box or sphere that was drawn last, for the numbers in the panel
    this.drag = null;
    const canvas = app.canvas;
    canvas.addEventListener("pointerdown", (event) => this._down(event));
    canvas.addEventListener("pointermove", (event) => this._move(event));
    canvas.addEventListener("pointerup", (event) => this._up(event));
    canvas.addEventListener("pointercancel", () => { this.drag = null; app.changed(); });
    app.overlay.painters.push((overlay) => this._paint(overlay));
    this.numbers = el("div", { class: "numbers" });
    this.element = el("div", {},
      el("p", { class: "quiet" }, "Choose a tool at the left edge and drag in the picture. Shift adds, Alt takes away, both keep what is in both."),
      el("div", { class: "buttons" },
        button("Grow", () => this.grow(), { title: "Grow the selection (+)" }),
        button("Shrink", () => this.shrink(), { title: "Shrink the selection (−)" }),
        button("Invert", () => this.invert(), { title: "Select everything else (I)" }),
        button("Select none", () => app.history.go("Select nothing", { selected: null }), { title: "Esc" })),
      checkField("The lasso goes through to what is behind", false, (on) => { this.through = on; }),
      this.numbers);
  }

  get active() {
    return ["box", "sphere", "lasso"].includes(this.tool);
  }

  _at(event) {
    const ratio = this.app.view.width / Math.max(1, this.app.canvas.clientWidth);
    return [event.offsetX * ratio, event.offsetY * ratio];
  }

  _down(event) {
    if (!this.active || event.button !== 0) return;
    const at = this._at(event);
    if (this.tool === "lasso") this.drag = { points: [at], how: how(event) };
    else {
      const hit = this.app.surface(...at);
      if (!hit) {
        notify("Begin on something that is there: box and sphere are drawn around a place of the scene.");
        return;
      }
      this.drag = { hit, from: at, how: how(event) };
    }
    this.app.canvas.setPointerCapture(event.pointerId);
  }

  _move(event) {
    if (!this.drag) return;
    const at = this._at(event);
    if (this.tool === "lasso") {
      const last = this.drag.points[this.drag.points.length - 1];
      if (Math.hypot(at[0] - last[0], at[1] - last[1]) > 3) this.drag.points.push(at);
    } else {
      if (!this.drag.drawn && Math.hypot(at[0] - this.drag.from[0], at[1] - this.drag.from[1]) <= 3) return; // a click
      const camera = this.app.view.camera(), z = project(camera, this.drag.hit)[2];
      const radius = (Math.hypot(at[0] - this.drag.from[0], at[1] - this.drag.from[1]) * z) / camera.fx;
      this.shape = this._shapeAt(this.drag.hit, radius);
      this.drag.drawn = true;
    }
    this.app.changed();
  }

  _shapeAt(center, radius) {
    const { east, north, up } = this.app.view;
    return this.tool === "sphere" ? { kind: "sphere", center, radius }
      : { kind: "box", center, axes: [east, north, up], size: [2 * radius, 2 * radius, 2 * radius] };
  }

  _up(event) {
    const { drag } = this;
    this.drag = null;
    if (!drag) return;
    const joined = how(event) === "new" ? drag.how : how(event);
    if (this.tool === "lasso") {
      if (drag.points.length > 2) this.app.select(this._lassoed(drag.points, joined), { title: "Lasso" }, joined, "Lasso");
    } else if (drag.drawn) { // not the shape before, at a click that draws none
      this.applyShape(joined);
      this._showNumbers();
    }
    this.app.changed();
  }

  applyShape(joined = "new") {
    const { shape } = this, name = shape.kind === "box" ? "Box" : "Sphere";
    this.app.select(this._inside(shape), { title: name }, joined, name);
  }

  /** Gaussians that are not hidden and whose centre lies in a box or sphere. */
  _inside(shape) {
    const { xyz, count } = this.app.splats, hidden = this.app.hiddenFlags();
    const offset = (g) => shape.center.map((middle, k) => xyz[3 * g + k] - middle);
    const holds = shape.kind === "sphere" ? (at) => dot(at, at) <= shape.radius ** 2
      : (at) => shape.axes.every((axis, j) => 2 * Math.abs(dot(axis, at)) <= shape.size[j]);
    return Bits.where(count, (g) => !hidden[g] && holds(offset(g)));
  }

  /**
   * Gaussians whose centre lies in an outline; only those in front, unless `through`. Taking away and keeping are
   * about what is selected already, of which nothing unseen is to stay behind: they always go through.
   */
  _lassoed(points, joined) {
    const camera = this.app.view.camera(), { splats } = this.app, { count } = splats, hidden = this.app.hiddenFlags();
    const inside = insideOutline(points, camera.width, camera.height);
    const cell = 6, columns = Math.ceil(camera.width / cell), depths = new Float32Array(columns * Math.ceil(camera.height / cell)).fill(Infinity);
    const found = [];
    for (let g = 0; g < count; g++) {
      if (hidden[g]) continue;
      const [x, y, z] = project(camera, splats.mean(g));
      if (!(z > NEAR_PLANE) || !inside(x, y)) continue;
      const at = Math.floor(y / cell) * columns + Math.floor(x / cell);
      found.push([g, z, at]);
      if (splats.opacity(g) > 0.4) depths[at] = Math.min(depths[at], z);
    }
    const depth = 0.04 * this.app.radius; // what lies so little behind the first belongs to the same surface
    const through = this.through || joined === "subtract" || joined === "and";
    return Bits.of(count, found.filter(([, z, at]) => through || z <= depths[at] + depth).map(([g]) => g));
  }

  _paint(overlay) {
    if (this.drag?.points) overlay.polygon(this.drag.points, "#ffd640");
    const { shape } = this;
    if (!shape || !this.active || this.tool === "lasso" || shape.kind !== this.tool) return;
    if (shape.kind === "sphere") overlay.sphere(shape.center, shape.radius, "#ffd640");
    else overlay.box(shape, "#ffd640");
  }

  _showNumbers() {
    const { shape, app } = this, unit_ = app.unitName ? ` in ${app.unitName}` : "", s = app.unitScale || 1;
    const field = (label, get, set) => numberField(label, +(get() * s).toPrecision(4), (value, input) => {
      if (!(value > 0 || label.length === 1) || !Number.isFinite(value)) {
        input.value = String(+(get() * s).toPrecision(4));
        return;
      }
      set(value / s);
      this.applyShape();
    });
    const place = ["x", "y", "z"].map((axis, k) => field(axis, () => shape.center[k], (v) => { shape.center = shape.center.with(k, v); }));
    const size = shape.kind === "sphere" ? [field("radius", () => shape.radius, (v) => { shape.radius = v; })]
      : ["width", "depth", "height"].map((name, k) => field(name, () => shape.size[k], (v) => { shape.size = shape.size.with(k, v); }));
    this.numbers.replaceChildren(el("p", { class: "quiet" }, `The ${shape.kind}${unit_}:`), ...place, ...size);
  }

  /** Cells of a grid over the Gaussians: the same number for those that are close together. */
  _cells() {
    if (this.cells) return this.cells;
    const { splats, radius } = this.app, step = radius / CELLS_ACROSS, numbers = new Map(), cells = new Int32Array(splats.count), keys = [];
    for (let g = 0; g < splats.count; g++) {
      const key = splats.mean(g).map((v) => Math.floor(clamp(v / step, -65000, 65000)));
      const name = cellName(...key);
      let number = numbers.get(name);
      if (number === undefined) {
        numbers.set(name, (number = keys.length));
        keys.push(key);
      }
      cells[g] = number;
    }
    return (this.cells = { cells, keys, numbers });
  }

  /** Cells that hold some Gaussians, and those around them. */
  _around(bits) {
    const { cells, keys, numbers } = this._cells(), near = new Uint8Array(keys.length), seen = new Uint8Array(keys.length);
    for (const g of bits.rows()) {
      const cell = cells[g];
      if (seen[cell]) continue;
      seen[cell] = 1;
      const [x, y, z] = keys[cell];
      for (let k = 0; k < 27; k++) {
        const next = numbers.get(cellName(x + (k % 3) - 1, y + (Math.floor(k / 3) % 3) - 1, z + Math.floor(k / 9) - 1));
        if (next !== undefined) near[next] = 1;
      }
    }
    return (g) => near[cells[g]];
  }

  _needed() {
    const { selected } = this.app.history.now;
    if (!selected) notify("Nothing is selected: click on a thing, or use a tool.");
    return selected;
  }

  grow() {
    const selected = this._needed();
    if (!selected) return;
    const near = this._around(selected), hidden = this.app.hiddenFlags();
    this.app.select(Bits.where(selected.count, (g) => near(g) && !hidden[g]).or(selected), this.app.looseInfo(), "new", "Grow");
  }

  shrink() {
    const selected = this._needed();
    if (!selected) return;
    const outside = this._around(selected.not());
    this.app.select(Bits.where(selected.count, (g) => selected.has(g) && !outside(g)), this.app.looseInfo(), "new", "Shrink");
  }

  invert() {
    const { selected } = this.app.history.now, hidden = this.app.hiddenFlags();
    const bits = selected ?? new Bits(this.app.scene.count);
    this.app.select(Bits.where(bits.count, (g) => !bits.has(g) && !hidden[g]), { title: "Everything else" }, "new", "Invert");
  }
}

/** A number that names a cell of the grid, 17 bits an axis. */
const cellName = (x, y, z) => (x + 65536) * 2 ** 34 + (y + 65536) * 2 ** 17 + z + 65536;

/** Whether a point lies in an outline: a test of pixels that are drawn once. */
function insideOutline(points, width, height) {
  const scale = Math.min(1, 700 / Math.max(width, height)), canvas = document.createElement("canvas");
  canvas.width = Math.ceil(width * scale);
  canvas.height = Math.ceil(height * scale);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.beginPath();
  points.forEach(([x, y], k) => (k ? context.lineTo(x * scale, y * scale) : context.moveTo(x * scale, y * scale)));
  context.fill();
  const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
  return (x, y) => {
    const column = Math.floor(x * scale), row = Math.floor(y * scale);
    return column >= 0 && row >= 0 && column < canvas.width && row < canvas.height && data[4 * (row * canvas.width + column) + 3] > 127;
  };
}
