"use strict";
// The Gaussians as they arrive: chunks of byte planes (viewer/payload.py says what is in them), unpacked
// into arrays that the renderer uploads and that clicks and lassos are tested with.

const TEXTURE_WIDTH = 2048; // Gaussians a row of every texture; chunks are whole rows
const MIN_ALPHA = 1 / 255;
const MAX_ALPHA = 0.999;

class Splats {
  /** @param scene The content of scene.json. */
  constructor(scene) {
    this.count = scene.count;
    this.degree = scene.sh_degree;
    this.packing = scene.packing; // ranges of what is kept as bytes
    this.arrived = 0;
    this.harmonicsArrived = 0;
    this.rows = Math.max(1, Math.ceil(this.count / TEXTURE_WIDTH));
    const size = this.rows * TEXTURE_WIDTH;
    this.geometry = new Uint32Array(4 * size); // bits of x, y, z, and the quaternion
    this.xyz = new Float32Array(3 * size);
    this.shape = new Uint32Array(size); // three bytes of logarithms of scales, one of opacity
    this.base = new Uint8Array(4 * size); // colour of degree 0
    this.owner = new Int32Array(this.count).fill(-1);
    this.reach = new Float32Array(size); // largest standard deviation
    this.layers = Math.ceil((3 * ((this.degree + 1) ** 2 - 1)) / 4);
  }

  /** Unpack a chunk of Gaussians; returns the first one and how many they are. */
  add(bytes, start, n) {
    const plane = (k) => bytes.subarray(k * n, (k + 1) * n);
    const word = (first) => [plane(first), plane(first + 1), plane(first + 2), plane(first + 3)];
    const bits = new Uint32Array(this.xyz.buffer);
    for (let axis = 0; axis < 3; axis++) {
      const [a, b, c, d] = word(4 * axis);
      for (let i = 0, g = start; i < n; i++, g++) {
        const value = (a[i] | (b[i] << 8) | (c[i] << 16) | (d[i] << 24)) >>> 0;
        this.geometry[4 * g + axis] = value;
        bits[3 * g + axis] = value;
      }
    }
    const [a, b, c, d] = word(12);
    const [sx, sy, sz, opacity] = word(16);
    const rgb = [plane(20), plane(21), plane(22)];
    const [low, high] = this.packing.log_scales;
    const step = (high - low) / 255;
    for (let i = 0, g = start; i < n; i++, g++) {
      this.geometry[4 * g + 3] = (a[i] | (b[i] << 8) | (c[i] << 16) | (d[i] << 24)) >>> 0;
      this.shape[g] = (sx[i] | (sy[i] << 8) | (sz[i] << 16) | (opacity[i] << 24)) >>> 0;
      this.reach[g] = Math.exp(low + step * Math.max(sx[i], sy[i], sz[i]));
      this.base[4 * g] = rgb[0][i];
      this.base[4 * g + 1] = rgb[1][i];
      this.base[4 * g + 2] = rgb[2][i];
      this.base[4 * g + 3] = 255;
    }
    this.arrived = Math.max(this.arrived, start + n);
    return [start, n];
  }

  /** Coefficients of one chunk in the texture's layers, four bytes of each Gaussian a layer. */
  harmonics(bytes, n) {
    const rows = Math.ceil(n / TEXTURE_WIDTH), planes = bytes.length / n;
    const out = new Uint8Array(4 * rows * TEXTURE_WIDTH * this.layers);
    for (let p = 0; p < planes; p++) {
      const layer = (p >> 2) * 4 * rows * TEXTURE_WIDTH + (p & 3);
      for (let i = 0, from = p * n; i < n; i++, from++) out[layer + 4 * i] = bytes[from];
    }
    return out;
  }

  opacity(g) {
    return (this.shape[g] >>> 24) / 255;
  }

  /** Mean brightness of some Gaussians by their opacity, 0 to 255. */
  brightness(rows) {
    const [low, high] = this.packing.colors;
    let sum = 0, weights = 0;
    for (const g of rows) {
      const [r, g_, b] = [0, 1, 2].map((k) => Math.max(0, 255 * low + (high - low) * this.base[4 * g + k]));
      sum += this.opacity(g) * (0.299 * r + 0.587 * g_ + 0.114 * b);
      weights += this.opacity(g);
    }
    return clamp(sum / Math.max(weights, 1e-9), 5, 255);
  }

  mean(g) {
    return [this.xyz[3 * g], this.xyz[3 * g + 1], this.xyz[3 * g + 2]];
  }

  scales(g) {
    const [low, high] = this.packing.log_scales;
    const step = (high - low) / 255, bits = this.shape[g];
    return [bits & 255, (bits >>> 8) & 255, (bits >>> 16) & 255].map((v) => Math.exp(low + step * v));
  }

  /** wxyz; the largest component was left out, the others have 10 bits each. */
  quaternion(g) {
    const bits = this.geometry[4 * g + 3], q = [0, 0, 0, 0], largest = bits >>> 30;
    let sum = 0, shift = 20;
    for (let k = 0; k < 4; k++) {
      if (k === largest) continue;
      q[k] = (((bits >>> shift) & 1023) / 1023 - 0.5) * Math.SQRT2;
      sum += q[k] * q[k];
      shift -= 10;
    }
    q[largest] = Math.sqrt(Math.max(0, 1 - sum));
    return q;
  }

  /**
   * Gaussians along a ray, nearest first, with blending weights: what `Ellipsoids.along` does in Python.
   * @returns {{rows: number[], weights: number[], distances: number[], total: number}}
   */
  along(origin, direction, hidden) {
    const found = [], R = new Float64Array(9), [ox, oy, oz] = origin, [dx, dy, dz] = direction;
    for (let g = 0; g < this.arrived; g++) {
      const x = this.xyz[3 * g] - ox, y = this.xyz[3 * g + 1] - oy, z = this.xyz[3 * g + 2] - oz;
      const t = x * dx + y * dy + z * dz, far = 3.4 * this.reach[g];
      if (t < -far || x * x + y * y + z * z - t * t > far * far || (hidden && hidden[g])) continue;
      const q = this.quaternion(g), s = this.scales(g);
      rotationInto(R, q[0], q[1], q[2], q[3]);
      let lengths = 0, along = 0;
      const offset = [0, 0, 0], towards = [0, 0, 0];
      for (let j = 0; j < 3; j++) {
        offset[j] = (x * R[j] + y * R[3 + j] + z * R[6 + j]) / s[j];
        towards[j] = (dx * R[j] + dy * R[3 + j] + dz * R[6 + j]) / s[j];
        lengths += towards[j] * towards[j];
        along += towards[j] * offset[j];
      }
      const distance = along / lengths;
      if (!(distance > 0)) continue;
      let missed = 0;
      for (let j = 0; j < 3; j++) missed += (offset[j] - distance * towards[j]) ** 2;
      const alpha = Math.min(MAX_ALPHA, this.opacity(g) * Math.exp(-0.5 * missed));
      if (alpha >= MIN_ALPHA) found.push([distance, g, alpha]);
    }
    found.sort((a, b) => a[0] - b[0]);
    const hits = { rows: [], weights: [], distances: [], total: 0 };
    let left = 1;
    for (const [distance, g, alpha] of found) {
      hits.rows.push(g);
      hits.weights.push(alpha * left);
      hits.distances.push(distance);
      hits.total += alpha * left;
      left *= 1 - alpha;
      if (left < 1e-4) break;
    }
    return hits;
  }
}
