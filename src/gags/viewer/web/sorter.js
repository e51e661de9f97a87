"use strict";
// Sorts the Gaussians from far to near in a thread of its own, so that moving never waits for it.

/** The worker's program; it is made into a Blob, because a page from file:// may load no worker's file. */
function sorterProgram() {
  let xyz = new Float32Array(0), reach = new Float32Array(0), counts = new Uint32Array(1 << 16);
  let keys = new Uint32Array(0), kept = new Uint32Array(0);
  const float = new Float32Array(1), bits = new Uint32Array(float.buffer);

  // Bits of a positive float grow with it, evenly in its logarithm: a far floater takes no steps from what is
  // near, as it would with steps of equal depth. 13 bits of the mantissa tell depths apart by 1 in 8000.
  const SHIFT = 10;

  function sort({ view, tanX, tanY, near, limit }) {
    const count = Math.min(limit, xyz.length / 3), [a, b, c, d, e, f, g, h, k, l, m, n] = view;
    let visible = 0, least = 0xffffffff, most = 0;
    for (let i = 0, at = 0; i < count; i++, at += 3) {
      const x = xyz[at], y = xyz[at + 1], z = xyz[at + 2];
      const depth = k * x + l * y + m * z + n;
      if (!(depth >= near)) continue;
      const margin = 3.4 * reach[i] * 1.5;
      if (Math.abs(a * x + b * y + c * z + d) > tanX * depth + margin) continue;
      if (Math.abs(e * x + f * y + g * z + h) > tanY * depth + margin) continue;
      float[0] = depth;
      const key = bits[0] >>> SHIFT;
      keys[visible] = key;
      kept[visible++] = i;
      if (key < least) least = key;
      if (key > most) most = key;
    }
    const bins = visible ? most - least + 1 : 0;
    const order = new Uint32Array(2048 * Math.ceil(visible / 2048)); // whole rows of a texture
    if (counts.length < bins + 1) counts = new Uint32Array(bins + 1);
    counts.fill(0, 0, bins + 1);
    for (let i = 0; i < visible; i++) counts[most - keys[i] + 1]++; // farthest first
    for (let i = 1; i <= bins; i++) counts[i] += counts[i - 1];
    for (let i = 0; i < visible; i++) order[counts[most - keys[i]]++] = kept[i];
    return [order, visible];
  }

  onmessage = ({ data }) => {
    if (data.xyz) {
      const total = data.start + data.xyz.length / 3;
      if (xyz.length < 3 * total) {
        const grow = (old, size, Type) => { const larger = new Type(size); larger.set(old); return larger; };
        xyz = grow(xyz, 3 * total, Float32Array);
        reach = grow(reach, total, Float32Array);
        keys = new Uint32Array(total);
        kept = new Uint32Array(total);
      }
      xyz.set(data.xyz, 3 * data.start);
      reach.set(data.reach, data.start);
      return;
    }
    const began = performance.now(), [order, count] = sort(data);
    postMessage({ order, count, number: data.number, took: performance.now() - began }, [order.buffer]);
  };
}

class Sorter {
  /** @param onOrder Called with {order: Uint32Array, far to near, in whole rows of 2048; count}. */
  constructor(onOrder) {
    const source = new Blob([`(${sorterProgram})()`], { type: "text/javascript" });
    this.url = URL.createObjectURL(source);
    this.worker = new Worker(this.url);
    this.busy = false;
    this.waiting = null;
    this.wanted = new Map(); // what waits for its own order, by number
    this.took = 0;
    this.worker.onmessage = ({ data }) => {
      this.took = data.took;
      if (data.number) {
        this.wanted.get(data.number)(data);
        this.wanted.delete(data.number);
        return;
      }
      this.busy = false;
      onOrder(data);
      if (this.waiting) this.sort(...this.waiting);
    };
  }

  add(xyz, reach, start) {
    const some = [xyz.slice(), reach.slice()];
    this.worker.postMessage({ xyz: some[0], reach: some[1], start }, some.map((one) => one.buffer));
  }

  /** Ask for the order in a camera; of several requests while it is busy the last one is done. */
  sort(camera, limit) {
    if (this.busy) {
      this.waiting = [camera, limit];
      return;
    }
    this.busy = true;
    this.waiting = null;
    this._ask(camera, limit, 0);
  }

  /** The order of all Gaussians in a camera, whatever is sorted for the screen meanwhile. */
  order(camera) {
    this.numbers = (this.numbers ?? 0) + 1;
    return new Promise((resolve) => {
      this.wanted.set(this.numbers, resolve);
      this._ask(camera, Infinity, this.numbers);
    });
  }

  _ask(camera, limit, number) {
    const { width, height, cx, cy, fx, fy } = camera;
    const tanX = Math.max(cx, width - cx) / fx, tanY = Math.max(cy, height - cy) / fy;
    this.worker.postMessage({ view: camera.viewmat.slice(0, 12), tanX, tanY, near: NEAR_PLANE, limit, number });
  }
}
