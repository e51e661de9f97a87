"use strict";
// The page by itself: everything it shows lies in the page, and texts are answered from the list of words that
// gags answered when the page was made. Nothing is loaded, nothing is sent.

/** Bytes of one of the page's data blocks: base64 of a zlib stream. */
async function bytesOfBlock(id) {
  const text = byId(id).textContent, binary = atob(text), bytes = new Uint8Array(binary.length);
  for (let k = 0; k < binary.length; k++) bytes[k] = binary.charCodeAt(k);
  if (typeof DecompressionStream === "undefined") throw new Error("This browser is too old to unpack the page (it has no DecompressionStream).");
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

class OfflineBackend extends Backend {
  can(what) {
    return what === "suggest";
  }

  async open() {
    this.scene = JSON.parse(new TextDecoder().decode(await bytesOfBlock("scene")));
    this.answers = new Map(this.scene.words.map(({ word, found }) => [plain(word), { word, found }]));
    this.renamed = memory.get(this._key) ?? {};
    for (const thing of this.scene.things) if (this.renamed[thing.id]) thing.name = this.renamed[thing.id];
    return this.scene;
  }

  get _key() {
    return `names.${this.scene.mark}`;
  }

  async splats(onChunk) {
    await this._chunks("splats", onChunk);
  }

  async harmonics(onChunk) {
    if (this.scene.sh_degree > 0) await this._chunks("harmonics", onChunk);
  }

  async _chunks(name, onChunk) {
    for (let number = 0; number < Math.ceil(this.scene.count / this.scene.chunk); number++) {
      onChunk(await bytesOfBlock(`${name}-${number}`), number);
      byId(`${name}-${number}`).remove(); // its memory is not needed twice
      await new Promise((resume) => setTimeout(resume));
    }
  }

  async things() {
    const planes = await bytesOfBlock("owner"), { count } = this.scene, owner = new Int32Array(count);
    for (let g = 0; g < count; g++) owner[g] = planes[g] | (planes[count + g] << 8) | (planes[2 * count + g] << 16) | (planes[3 * count + g] << 24);
    return { things: this.scene.things, owner };
  }

  async ask(text) {
    const key = plain(text), named = this.scene.things.filter((thing) => thing.listed && plain(this.renamed[thing.id] ?? "") === key);
    if (named.length) return this._answer(text, named.map((thing) => [[thing.id], 1]), "");
    if (!this.scene.things.length) return { ...this._unknown(text), message: "This page knows no things, so it answers no text; `gags view` does." };
    const known = this._known(key);
    if (!known) return this._unknown(text);
    const { word, found } = known, other = plain(word) !== key && singular(key) !== singular(plain(word));
    const message = other ? `“${text}” is not among this page's words; shown is “${word}”.` : "";
    if (!found.length) {
      const nothing = other ? `${message} Nothing in the scene matches it.` : `Nothing in the scene matches “${text}”.`;
      return { text, matches: false, score: 0, strengths: null, instances: [], message: nothing };
    }
    return this._answer(text, found, message);
  }

  _answer(text, found, message) {
    const instances = found.map(([ids, score]) => {
      const thing = this.scene.things.find(({ id }) => id === ids[0]);
      return { score, name: thing.name || text, thing: ids[0], also: ids.slice(1), box: thing.box, gaussians: null };
    });
    return { text, matches: true, score: instances[0].score, strengths: null, instances, message };
  }

  /** The word of the list that a text is; else one that is spelt nearly so, that it ends in, or that begins so. */
  _known(key) {
    const exact = (text) => this.answers.get(text) ?? this.answers.get(singular(text));
    if (exact(key)) return exact(key);
    const all = [...this.answers.values()];
    const near = all.map((entry) => [editDistance(singular(key), singular(plain(entry.word))), entry]).sort((a, b) => a[0] - b[0])[0];
    if (near && near[0] <= 1 && key.length > 3) return near[1];
    // "my red mugs" → "mug": the words at the end say what a thing is, those before say which.
    const words = key.split(" ");
    for (let first = 1; first < words.length; first++) {
      const found = exact(words.slice(first).join(" "));
      if (found) return found;
    }
    if (key.length < 3) return null;
    const begun = all.filter(({ word }) => plain(word).split(" ").some((part) => part.startsWith(key)));
    if (begun.length) return begun.sort((a, b) => (b.found.length > 0) - (a.found.length > 0) || a.word.length - b.word.length)[0];
    return near && near[0] <= 2 && key.length > 5 ? near[1] : null;
  }

  _unknown(text) {
    const message = `“${text}” is not among the ${this.answers.size} words that this page can answer; \`gags view\` answers any text.`;
    return { text, matches: false, score: 0, strengths: null, instances: [], message };
  }

  async suggest(prefix) {
    const key = plain(prefix);
    const names = [...new Set([...this.scene.things.filter((thing) => thing.listed).map((thing) => thing.name),
      ...[...this.answers.values()].filter(({ found }) => found.length).map(({ word }) => word)])];
    return names.filter((name) => plain(name).includes(key)).sort((a, b) => plain(b).startsWith(key) - plain(a).startsWith(key));
  }

  async rename(thing, name) {
    this.renamed[thing] = name;
    memory.set(this._key, this.renamed);
    return "The name is kept in this browser only.";
  }

  async setUnit() {}

  async colors(mode) {
    const { legend } = this.scene.modes[mode];
    return { rgb: await bytesOfBlock(`colors-${mode}`), legend };
  }
}

/** A text without case, accents, marks and doubled spaces, so that spellings meet. */
const plain = (text) => text.normalize("NFKD").replace(/[\u0300-\u036f]/g, "").toLowerCase().replace(/[^\p{L}\p{N}]+/gu, " ").trim();

/** English plurals without their ending. */
const singular = (text) => text.replace(/(ss|us)$/, "$1\u0001").replace(/ies$/, "y").replace(/(x|ch|sh)es$/, "$1").replace(/s$/, "").replace("\u0001", "");

/** Letters to change, add, leave out or swap with the next (Damerau-Levenshtein). */
function editDistance(a, b) {
  if (Math.abs(a.length - b.length) > 2) return 9;
  let older = [], old = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1] ? 0 : 1;
      row[j] = Math.min(old[j] + 1, row[j - 1] + 1, old[j - 1] + same);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) row[j] = Math.min(row[j], older[j - 2] + 1);
    }
    [older, old] = [old, row];
  }
  return old[b.length];
}
