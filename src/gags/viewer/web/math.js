"use strict";
// Vectors are arrays of 3, matrices of cameras are row-major arrays of 16 (world → camera, OpenCV's axes:
// x right, y down, z forward), as in Python.

const add = (a, b) => [a[0] + b[0], a[1] + b[1], a[2] + b[2]];
const sub = (a, b) => [a[0] - b[0], a[1] - b[1], a[2] - b[2]];
const times = (a, s) => [a[0] * s, a[1] * s, a[2] * s];
const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
const cross = (a, b) => [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
const length = (a) => Math.sqrt(dot(a, a));
const unit = (a) => times(a, 1 / Math.max(length(a), 1e-30));
const clamp = (x, low, high) => Math.min(Math.max(x, low), high);

/** A direction at right angles to another; any of length 1. */
function perpendicular(a) {
  const smallest = [0, 1, 2].sort((i, j) => Math.abs(a[i]) - Math.abs(a[j]))[0];
  const axis = [0, 0, 0];
  axis[smallest] = 1;
  return unit(cross(a, axis));
}

/** A direction rotated about an axis of length 1 (Rodrigues). */
function rotated(v, axis, angle) {
  const c = Math.cos(angle), s = Math.sin(angle);
  return add(add(times(v, c), times(cross(axis, v), s)), times(axis, dot(axis, v) * (1 - c)));
}

/** World → camera of a camera at `position` that looks at `target`, without roll. */
function lookAt(position, target, up) {
  const z = unit(sub(target, position));
  let x = cross(z, up);
  x = length(x) < 1e-6 ? perpendicular(z) : unit(x);
  const y = cross(z, x);
  return [
    ...x, -dot(x, position),
    ...y, -dot(y, position),
    ...z, -dot(z, position),
    0, 0, 0, 1,
  ];
}

/** Where a camera is. */
function positionOf(viewmat) {
  const m = viewmat;
  return [0, 1, 2].map((k) => -(m[k] * m[3] + m[4 + k] * m[7] + m[8 + k] * m[11]));
}

/** A camera as the renderer wants it: a pinhole with square pixels and its centre in the middle. */
function pinhole(viewmat, fovY, width, height) {
  const focal = height / (2 * Math.tan(fovY / 2));
  return { viewmat, fx: focal, fy: focal, cx: width / 2, cy: height / 2, width, height };
}

/** Pixel and depth of a world point: [x, y, z]; z ≤ 0 is behind the camera. */
function project(camera, p) {
  const m = camera.viewmat;
  const x = m[0] * p[0] + m[1] * p[1] + m[2] * p[2] + m[3];
  const y = m[4] * p[0] + m[5] * p[1] + m[6] * p[2] + m[7];
  const z = m[8] * p[0] + m[9] * p[1] + m[10] * p[2] + m[11];
  return [(camera.fx * x) / z + camera.cx, (camera.fy * y) / z + camera.cy, z];
}

/** The ray through a pixel: where it starts, and its direction of length 1. */
function rayThrough(camera, px, py) {
  const m = camera.viewmat;
  const x = (px - camera.cx) / camera.fx, y = (py - camera.cy) / camera.fy;
  const direction = [0, 1, 2].map((k) => m[k] * x + m[4 + k] * y + m[8 + k]);
  return { origin: positionOf(m), direction: unit(direction) };
}

/** The eight corners of a box; corner k lies on the far side along axis j if bit j of k is set. */
function corners(box) {
  return Array.from({ length: 8 }, (_, k) => {
    let point = box.center;
    for (let j = 0; j < 3; j++) {
      point = add(point, times(box.axes[j], ((k >> j) & 1 ? 0.5 : -0.5) * box.size[j]));
    }
    return point;
  });
}

const BOX_EDGES = [];
for (let k = 0; k < 8; k++) for (let j = 0; j < 3; j++) if (!((k >> j) & 1)) BOX_EDGES.push([k, k | (1 << j)]);

/** Axes (rows) of a wxyz quaternion's rotation matrix, written into out[0..8], row-major. */
function rotationInto(out, w, x, y, z) {
  out[0] = 1 - 2 * (y * y + z * z); out[1] = 2 * (x * y - w * z); out[2] = 2 * (x * z + w * y);
  out[3] = 2 * (x * y + w * z); out[4] = 1 - 2 * (x * x + z * z); out[5] = 2 * (y * z - w * x);
  out[6] = 2 * (x * z - w * y); out[7] = 2 * (y * z + w * x); out[8] = 1 - 2 * (x * x + y * y);
}
