"use strict";
// Lines over the picture: boxes of what is selected, the grid, axes, cameras of the photos, measures, and the
// outline that a tool draws. They are drawn on a flat canvas, from the camera of the picture.

const LONGEST_LABEL = 60; // letters

class Overlay {
  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.painters = []; // (overlay) => void, in order
  }

  draw(camera) {
    const { canvas, context } = this;
    if (canvas.width !== camera.width || canvas.height !== camera.height) {
      canvas.width = camera.width;
      canvas.height = camera.height;
    }
    this.camera = camera;
    this.ratio = camera.width / Math.max(1, canvas.clientWidth);
    context.clearRect(0, 0, canvas.width, canvas.height);
    context.lineJoin = "round";
    for (const paint of this.painters) paint(this);
  }

  /** A line between world points, cut where it would go behind the camera. */
  line(from, to, color, width = 1.5) {
    const m = this.camera.viewmat, depth = (p) => m[8] * p[0] + m[9] * p[1] + m[10] * p[2] + m[11];
    const near = 1e-3;
    let a = from, b = to;
    const za = depth(a), zb = depth(b);
    if (za < near && zb < near) return;
    const cut = () => add(from, times(sub(to, from), (near - za) / (zb - za)));
    if (za < near) a = cut();
    if (zb < near) b = cut();
    const p = project(this.camera, a), q = project(this.camera, b), c = this.context;
    c.beginPath();
    c.moveTo(clamp(p[0], -1e5, 1e5), clamp(p[1], -1e5, 1e5));
    c.lineTo(clamp(q[0], -1e5, 1e5), clamp(q[1], -1e5, 1e5));
    c.strokeStyle = color;
    c.lineWidth = width * this.ratio;
    c.stroke();
  }

  box(box, color, width = 1.5) {
    const points = corners(box);
    for (const [a, b] of BOX_EDGES) this.line(points[a], points[b], color, width);
  }

  dot(point, color, radius = 4) {
    const [x, y, z] = project(this.camera, point), c = this.context;
    if (z <= 0) return;
    c.beginPath();
    c.arc(x, y, radius * this.ratio, 0, 2 * Math.PI);
    c.fillStyle = color;
    c.fill();
  }

  /** Text beside a world point, on a plate so that it can be read over anything. */
  label(point, text, color = "#fff") {
    const [x, y, z] = project(this.camera, point);
    if (z > 0) this.text(x, y, text, color);
  }

  text(x, y, text, color = "#fff") {
    const c = this.context, size = 13 * this.ratio, pad = 5 * this.ratio;
    if (text.length > LONGEST_LABEL) text = `${text.slice(0, LONGEST_LABEL - 1)}…`;
    c.font = `${size}px system-ui, sans-serif`;
    const width = c.measureText(text).width;
    const left = clamp(x - width / 2, pad, Math.max(pad, this.canvas.width - width - pad));
    const base = clamp(y - 8 * this.ratio, size + pad, this.canvas.height - pad);
    c.fillStyle = "rgb(0 0 0 / 72%)";
    c.beginPath();
    c.roundRect(left - pad, base - size, width + 2 * pad, size + pad, 4 * this.ratio);
    c.fill();
    c.fillStyle = color;
    c.fillText(text, left, base - 1);
  }

  polygon(points, color) {
    const c = this.context;
    if (points.length < 2) return;
    c.beginPath();
    points.forEach(([x, y], k) => (k ? c.lineTo(x, y) : c.moveTo(x, y)));
    c.closePath();
    c.fillStyle = `${color}22`;
    c.fill();
    c.strokeStyle = color;
    c.lineWidth = 1.5 * this.ratio;
    c.stroke();
  }

  /** A circle of world radius about a point, as a sphere looks. */
  sphere(center, radius, color) {
    const [x, y, z] = project(this.camera, center), c = this.context;
    if (z <= 0) return;
    c.beginPath();
    c.arc(x, y, (radius * this.camera.fx) / z, 0, 2 * Math.PI);
    c.fillStyle = `${color}22`;
    c.fill();
    c.strokeStyle = color;
    c.lineWidth = 1.5 * this.ratio;
    c.stroke();
  }
}

/** A round length, 1, 2 or 5 times a power of ten, near another. */
function roundLength(x) {
  const power = 10 ** Math.floor(Math.log10(x)), first = x / power;
  return power * (first < 1.5 ? 1 : first < 3.5 ? 2 : first < 7.5 ? 5 : 10);
}

/** Painter of the grid and the axes at the scene's ground. */
function gridPainter(app) {
  return (overlay) => {
    if (!app.showGrid) return;
    const { view, ground } = app, { up, east, north } = view;
    const step = roundLength(app.radius / 5 * (app.unitScale || 1)) / (app.unitScale || 1), lines = 10;
    const middle = sub(app.middle, times(up, dot(app.middle, up) - ground));
    const at = (i, j) => add(middle, add(times(east, i * step), times(north, j * step)));
    for (let k = -lines; k <= lines; k++) {
      const color = k % 5 ? "rgb(140 150 165 / 35%)" : "rgb(140 150 165 / 65%)";
      overlay.line(at(k, -lines), at(k, lines), color, 1);
      overlay.line(at(-lines, k), at(lines, k), color, 1);
    }
    overlay.label(at(0, 1), `grid: ${app.lengthText(step)}`);
    const axis = 0.3 * app.radius;
    for (const [k, color, name] of [[0, "#ff5a5a", "x"], [1, "#6fdc6f", "y"], [2, "#6aa8ff", "z"]]) {
      const end = middle.slice();
      end[k] += axis;
      overlay.line(middle, end, color, 2.5);
      overlay.label(end, name, color);
    }
  };
}

/** Painter of the cameras that took the photos. */
function camerasPainter(app) {
  return (overlay) => {
    if (!app.showCameras) return;
    const size = 0.04 * app.radius, eye = app.view.position;
    for (const camera of app.scene.cameras) {
      const at = positionOf(camera.viewmat);
      if (length(sub(at, eye)) < 2 * size) continue;
      const m = camera.viewmat, [fx, , cx, , fy, cy] = camera.K;
      const corner = (x, y) => {
        const d = [((x - cx) / fx) * size, ((y - cy) / fy) * size, size];
        return add(at, [0, 1, 2].map((k) => m[k] * d[0] + m[4 + k] * d[1] + m[8 + k] * d[2]));
      };
      const { width, height } = camera, color = camera.held_out ? "#ff9a3c" : "#5aa2ff";
      const around = [corner(0, 0), corner(width, 0), corner(width, height), corner(0, height)];
      around.forEach((point, k) => {
        overlay.line(at, point, color, 1);
        overlay.line(point, around[(k + 1) % 4], color, k ? 1 : 2.5); // the thick side is the photo's top
      });
    }
  };
}
