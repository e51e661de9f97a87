"use strict";
// Messages to and from the server: JSON, and arrays of bytes behind it (viewer/wire.py).

/** A message as it is sent. parts: {name: typed array}. */
function packMessage(message, parts = {}) {
  const names = Object.keys(parts);
  if (!names.length) return JSON.stringify(message);
  const bytes = names.map((name) => new Uint8Array(parts[name].buffer, parts[name].byteOffset, parts[name].byteLength));
  const head = new TextEncoder().encode(JSON.stringify({ ...message, parts: names.map((name, k) => [name, bytes[k].length]) }));
  const packed = new Uint8Array(bytes.reduce((sum, part) => sum + part.length, 4 + head.length));
  new DataView(packed.buffer).setUint32(0, head.length, true);
  packed.set(head, 4);
  let at = 4 + head.length;
  for (const part of bytes) {
    packed.set(part, at);
    at += part.length;
  }
  return packed;
}

/** [message, {name: Uint8Array}]; every array starts at 0 of a buffer of its own. */
function unpackMessage(received) {
  if (typeof received === "string") return [JSON.parse(received), {}];
  const length = new DataView(received).getUint32(0, true);
  const message = JSON.parse(new TextDecoder().decode(new Uint8Array(received, 4, length))), parts = {};
  let at = 4 + length;
  for (const [name, size] of message.parts) {
    parts[name] = new Uint8Array(received.slice(at, at + size));
    at += size;
  }
  return [message, parts];
}

/** A bit a Gaussian, the lowest first. rows: Uint32Array */
function bitsOfRows(rows, count) {
  const bits = new Uint8Array((count + 7) >> 3);
  for (const g of rows) bits[g >> 3] |= 1 << (g & 7);
  return bits;
}

/** Changes as the server takes them: which Gaussians are left, the number of the paint of each, the paints. */
function packEdits(edits, count) {
  const alive = new Uint8Array((count + 7) >> 3).fill(255), paint = new Uint8Array(count), colors = [];
  for (const { kind, color, rows } of edits ?? []) {
    let number = 0;
    if (kind === "recolour") {
      number = colors.length < 255 ? colors.push([...color]) : 255; // each has a brightness of its own
    }
    for (const g of rows) {
      if (kind === "delete") alive[g >> 3] &= ~(1 << (g & 7));
      else paint[g] = number;
    }
  }
  return { colors, parts: colors.length ? { alive, paint } : { alive } };
}
