"use strict";
// What is selected, hidden and painted: one state, which what is drawn, the boxes and the list all follow.
// Every change makes a new one; undo and redo go through the list of them.

const SELECTED = 1, HIDDEN = 2, HOVERED = 4;
const MOST_STEPS = 100;

/** A set of Gaussians with a bit each, so that a hundred steps of a million Gaussians are 12 MB. */
class Bits {
  constructor(count, words = null) {
    this.count = count;
    this.words = words ?? new Uint32Array((count + 31) >> 5);
  }

  static of(count, rows) {
    const bits = new Bits(count);
    for (const g of rows) bits.words[g >> 5] |= 1 << (g & 31);
    return bits;
  }

  static where(count, test) {
    const bits = new Bits(count);
    for (let g = 0; g < count; g++) if (test(g)) bits.words[g >> 5] |= 1 << (g & 31);
    return bits;
  }

  has(g) {
    return (this.words[g >> 5] >>> (g & 31)) & 1;
  }

  _with(other, join) {
    return new Bits(this.count, this.words.map((word, k) => join(word, other.words[k])));
  }

  or(other) {
    return this._with(other, (a, b) => a | b);
  }

  and(other) {
    return this._with(other, (a, b) => a & b);
  }

  without(other) {
    return this._with(other, (a, b) => a & ~b);
  }

  not() {
    const bits = new Bits(this.count, this.words.map((word) => ~word));
    const left = this.count & 31;
    if (left) bits.words[bits.words.length - 1] &= (2 ** left - 1) | 0;
    return bits;
  }

  get size() {
    let sum = 0;
    for (let word of this.words) {
      word -= (word >>> 1) & 0x55555555;
      word = (word & 0x33333333) + ((word >>> 2) & 0x33333333);
      sum += (((word + (word >>> 4)) & 0x0f0f0f0f) * 0x01010101) >>> 24;
    }
    return sum;
  }

  rows() {
    const rows = new Uint32Array(this.size);
    let k = 0;
    for (let w = 0; w < this.words.length; w++) {
      let word = this.words[w];
      while (word) {
        const low = word & -word;
        rows[k++] = 32 * w + (31 - Math.clz32(low));
        word ^= low;
      }
    }
    return rows;
  }
}

/**
 * The steps of a session. A step is {label, selected: Bits | null, info, edits, hidden}:
 * info: {title, boxes, thing, names} of what is selected; edits: [{kind: "delete" | "recolour", bits, color, brightness: of what was painted, 0 to 255}];
 * hidden: ids of things that are hidden.
 */
class History {
  constructor(count, changed) {
    this.count = count;
    this.changed = changed;
    this.steps = [{ label: "Start", selected: null, info: null, edits: [], hidden: [] }];
    this.at = 0;
  }

  get now() {
    return this.steps[this.at];
  }

  /** Go on to a new state; what was undone is forgotten. */
  go(label, changes) {
    const step = { ...this.now, ...changes, label };
    if (step.selected && !step.selected.size) step.selected = null;
    if (!step.selected) step.info = null;
    this.steps = [...this.steps.slice(0, this.at + 1), step].slice(-MOST_STEPS - 1);
    this.at = this.steps.length - 1;
    this.changed();
  }

  jump(at) {
    const to = clamp(at, 0, this.steps.length - 1);
    if (to === this.at) return false;
    this.at = to;
    this.changed();
    return true;
  }

  undo() {
    return this.jump(this.at - 1);
  }

  redo() {
    return this.jump(this.at + 1);
  }

  /** Write flags and paints of the state as it is now into the renderer's bytes; returns the paints. */
  write(states, owner, isHidden) {
    const { selected, edits, hidden } = this.now, paints = [], anyHidden = hidden.length > 0;
    for (let g = 0; g < this.count; g++) {
      let flags = states[4 * g + 2] & HOVERED;
      if (selected && selected.has(g)) flags |= SELECTED;
      if (anyHidden && owner[g] >= 0 && isHidden(owner[g])) flags |= HIDDEN;
      states[4 * g + 2] = flags;
      states[4 * g + 3] = 0;
    }
    for (const { kind, bits, color, brightness } of edits) {
      if (kind === "recolour") paints.push([...color, brightness]);
      const paint = Math.min(paints.length, 255);
      for (const g of bits.rows()) {
        if (kind === "delete") states[4 * g + 2] |= HIDDEN;
        else states[4 * g + 3] = paint;
      }
    }
    return paints;
  }
}
