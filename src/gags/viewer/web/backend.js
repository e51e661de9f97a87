"use strict";
// What the page asks. Two files implement this: backend_live.js (a server) and backend_offline.js (the page
// itself). All methods but `can` and `close` return promises; an Error's message is shown to the person.
//
// Gaussians are numbered as the page has them: in the order of the chunks (viewer/payload.py).
//
// A box is {center: [3], axes: [[3], [3], [3]] as rows, size: [3]}. An instance is
// {score, name, thing: id | null, box, gaussians: Uint32Array | null}; null stands for all of the thing.

class Backend {
  /** What this one can do, of: ask anything, rename, thumbnails, unit, up, picture, video, save, name, suggest, alike. */
  can(what) {
    return false;
  }

  /** The content of scene.json. `things` may be empty then; `things()` gives them when they are known. */
  async open() {
    throw new Error("not implemented");
  }

  /** Gaussians: onChunk(Uint8Array, number) once a chunk, in order. */
  async splats(onChunk) {}

  /** Their harmonics above degree 0: onChunk(Uint8Array, number) once a chunk. */
  async harmonics(onChunk) {}

  /** {things: [{id, parent, name, kind, listed, level, count, box, score, thumbnail}], owner: Int32Array, lacks}; see `Listed`. */
  async things() {
    return { things: [], owner: null };
  }

  /** Pictures of things that `things` gave none of, which come later: {id: data URI}. */
  async thumbnails() {
    return {};
  }

  /**
   * The answer to a text: {text, matches, score, message, strengths: Uint8Array[count] | null, instances}.
   * 128 of a strength just counts as a match.
   */
  async ask(text) {
    throw new Error("not implemented");
  }

  /** Names of some Gaussians, best first: {sure: boolean, names: [[word, score], …]}. rows: Uint32Array */
  async name(rows) {
    return { sure: false, names: [] };
  }

  /** Keep a name of a thing, so that later texts find it. rows: Uint32Array of its Gaussians. */
  async rename(thing, name, rows) {
    throw new Error("A page without a server keeps names only while it is open.");
  }

  /** Keep that `length` world units are `known` of a unit, as "m". */
  async setUnit(length, known, unit) {}

  /** Keep what is up in the scene, a direction. */
  async setUp(up) {}

  /** What is alike around a click that hits no thing: {gaussians: Uint32Array, names, sure, box}. */
  async alike(hits) {
    throw new Error("not implemented");
  }

  /** Colours of a mode (granularity, features, things): {rgb: Uint8Array[3 count], legend: [[name, color], …]}. */
  async colors(mode) {
    throw new Error("not implemented");
  }

  /** A picture rendered by gags: a Blob. camera: as `pinhole` makes it; options: {transparent, edits}. */
  async picture(camera, options) {
    throw new Error("not implemented");
  }

  /** A film along key views: a Blob. onProgress(share). options: {width, height, fps, seconds, relevancy}. */
  async video(keys, options, onProgress) {
    throw new Error("not implemented");
  }

  /** Gaussians with edits, as a 3DGS .ply: a Blob. edits: [{kind, color, rows}]; only: Uint32Array | null. */
  async save(edits, only) {
    throw new Error("not implemented");
  }

  /** Names that a text may go on to. */
  async suggest(prefix) {
    return [];
  }

  /** Told "ok", "gone" or "back" as the server comes and goes. */
  onStatus(listener) {
    this.listener = listener;
  }

  close() {}
}
