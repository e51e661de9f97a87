"use strict";
// What was asked: the text in the field, texts that were kept, their colours, and the way to what they found.

const LAYER_COLORS = [[255, 92, 92], [66, 170, 255], [96, 211, 110], [255, 190, 60], [196, 120, 255], [60, 220, 210],
  [255, 120, 200], [180, 200, 80]];
const MATCHES = 128; // of a strength as a byte

class Texts {
  constructor(app) {
    this.app = app;
    this.layers = []; // {text, answer, color, visible, strengths}
    this.draft = null;
    this.shownInstance = -1;
    this.asked = "";
    this.asking = Promise.resolve(null); // the answer to what was asked last
    this.number = 0;
    this.history = memory.get("asked") ?? [];
    this.input = byId("text");
    this.answer = byId("answer");
    this.list = el("ul", { id: "layers", "aria-label": "Texts that were kept" });
    this.past = el("div", { class: "chips", "aria-label": "Asked before" });
    const later = afterRest(180, () => this.type());
    this.input.addEventListener("input", () => {
      byId("clear").hidden = !this.input.value;
      this._suggest();
      later();
    });
    byId("clear").addEventListener("click", () => this.fill(""));
    byId("ask").addEventListener("submit", (event) => {
      event.preventDefault();
      trying(() => this.enter());
    });
    this.input.addEventListener("keydown", (event) => event.key === "Escape" && this.fill(""));
    this.threshold = el("input", { type: "range", min: 0, max: 100, value: 50, "aria-label": "Threshold of what counts as a match" });
    this.threshold.addEventListener("input", () => {
      app.renderer.look.threshold = Number(this.threshold.value) / 100;
      app.renderer.colorsStale = true;
      this.show();
      app.changed();
    });
    this.slider = el("label", { class: "field", hidden: true }, "Threshold", this.threshold);
    this.element = el("div", {}, this.list, this.slider, this.past);
    this._showPast();
  }

  fill(text) {
    this.input.value = text;
    byId("clear").hidden = !text;
    this.input.focus();
    return this.type();
  }

  async _suggest() {
    const names = await this.app.backend.suggest(this.input.value.trim());
    byId("suggestions").replaceChildren(...names.slice(0, 8).map((name) => el("option", { value: name })));
  }

  /** Answer what is in the field; of several on the way the newest counts. One that is on the way is waited for. */
  type() {
    const text = this.input.value.trim().replace(/\s+/g, " ");
    if (text === this.asked) return this.asking;
    this.asked = text;
    return (this.asking = this._answer(text, ++this.number));
  }

  async _answer(text, number) {
    this.shownInstance = -1;
    if (!text) {
      this.draft = null;
      this._paint();
      return null;
    }
    const answer = await trying(() => this.app.backend.ask(text));
    if (number !== this.number) return null;
    if (!answer) {
      this.asked = "";
      return null;
    }
    const kept = this.layers.find((layer) => layer.text === text);
    this.draft = kept ? { ...kept, answer } : { text, answer, color: this._nextColor(), visible: true, strengths: this._strengths(answer) };
    if (this.app.renderer.look.mode !== "relevancy") this.app.setMode("relevancy");
    this._paint();
    return this.draft;
  }

  /** Keep the text, and go to what answers it; once more goes to the next one. */
  async enter() {
    const text = this.input.value.trim().replace(/\s+/g, " ");
    if (!text) throw new Error("Type what to look for, as in: red mug");
    if (text !== this.asked || !this.draft) await this.type();
    const layer = this.draft;
    if (!layer || layer.text !== text) return;
    if (!this.layers.some((one) => one.text === text)) this.layers.push(layer);
    this.history = [text, ...this.history.filter((one) => one !== text)].slice(0, 12);
    memory.set("asked", this.history);
    this._showPast();
    const { instances, matches } = layer.answer;
    this._paint();
    if (!matches || !instances.length) return;
    this.shownInstance = (this.shownInstance + 1) % instances.length;
    this.app.selectInstance(layer, this.shownInstance);
    this._say(layer);
  }

  _nextColor() {
    const taken = new Set(this.layers.map((layer) => String(layer.color)));
    return LAYER_COLORS.find((color) => !taken.has(String(color))) ?? LAYER_COLORS[this.layers.length % LAYER_COLORS.length];
  }

  /** A byte a Gaussian; where the answer has none, things that answer count as they match. */
  _strengths(answer) {
    if (answer.strengths) return answer.strengths;
    const strengths = new Uint8Array(this.app.scene.count), best = Math.max(...answer.instances.map((one) => one.score), 1e-6);
    for (const one of [...answer.instances].reverse()) {
      const strength = Math.round(MATCHES + 127 * clamp(one.score / best, 0, 1));
      for (const g of this.app.instanceBits(one).rows()) strengths[g] = strength;
    }
    return strengths;
  }

  get shown() {
    const kept = this.layers.filter((layer) => layer.visible && layer.text !== this.draft?.text);
    return this.draft ? [...kept, this.draft] : kept;
  }

  /** Write layers and strengths into the renderer's bytes: where several match, the strongest counts. */
  _paint() {
    const { app } = this, { states } = app.renderer, { shown } = this, { count } = app.scene;
    for (let g = 0; g < count; g++) states[4 * g] = states[4 * g + 1] = 0;
    shown.forEach(({ strengths }, k) => {
      for (let g = 0; g < count; g++) {
        if (strengths[g] > states[4 * g + 1]) {
          states[4 * g] = k + 1;
          states[4 * g + 1] = strengths[g];
        }
      }
    });
    app.renderer.look.anyLayer = shown.length > 0;
    app.uploadStates();
    this.show();
    if (this.draft) this._say(this.draft);
    else this.answer.replaceChildren();
  }

  /** Say what was found, and offer to go there if it is out of sight. */
  _say({ text, answer }) {
    const { instances, matches } = answer, parts = [];
    const unseen = (this.saidUnseen = this._unseen(answer));
    if (!matches || !instances.length) {
      parts.push(el("span", { class: "warn" }, answer.message || `Nothing in the scene matches “${text}”.`));
    } else {
      const at = this.shownInstance < 0 ? 0 : this.shownInstance;
      const where = instances.length > 1 ? `${instances.length} found` : "1 found";
      const number = this.shownInstance >= 0 && instances.length > 1 ? `, shown: ${at + 1}` : "";
      parts.push(el("span", {}, `${where}${number}, score ${instances[at].score.toFixed(2)}. `));
      if (answer.message) parts.push(el("span", { class: "quiet" }, `${answer.message} `));
      if (unseen) parts.push(el("span", { class: "warn" }, "It lies outside the picture. "));
      parts.push(button(this.shownInstance < 0 ? (unseen ? "Show it" : "Go there") : instances.length > 1 ? "Next" : "Frame it", () => trying(() => this.enter()), { class: "small" }));
    }
    this.answer.replaceChildren(...parts);
  }

  /** Whether what a text found best is out of sight, and nothing of it was gone to yet. */
  _unseen({ instances, matches }) {
    return matches && instances.length > 0 && this.shownInstance < 0 && !this.app.isInSight(instances[0].box);
  }

  /** The camera rests somewhere else: what was in sight may not be any more. */
  looked() {
    if (this.draft && this._unseen(this.draft.answer) !== this.saidUnseen) this._say(this.draft);
  }

  show() {
    this.slider.hidden = !this.draft && !this.layers.length;
    const least = 255 * this.app.renderer.look.threshold;
    this.list.replaceChildren(...this.layers.map((layer) => {
      const matching = layer.strengths.reduce((sum, strength) => sum + (strength >= least && strength > 0 ? 1 : 0), 0);
      const color = el("input", { type: "color", value: toHex(layer.color), "aria-label": `Colour of ${layer.text}` });
      color.addEventListener("input", () => { layer.color = fromHex(color.value); this._paint(); });
      const title = `score ${layer.answer.score.toFixed(2)}, ${grouped(matching)} Gaussians`;
      return el("li", { class: layer.visible ? "layer" : "layer off" }, color,
        button(layer.text, () => this.fill(layer.text), { class: "plain name", title }),
        el("span", { class: "count", title }, layer.answer.matches ? layer.answer.score.toFixed(2) : "none"),
        button("select", (event) => this.app.selectLayer(layer, how(event)), { class: "small", "aria-label": `Select ${layer.text}` }),
        button(layer.visible ? "hide" : "show", () => { layer.visible = !layer.visible; this._paint(); }, { class: "small" }),
        button("×", () => { this.layers.splice(this.layers.indexOf(layer), 1); this._paint(); }, { class: "small", "aria-label": `Remove ${layer.text}` }));
    }));
    this.app.renderer.setPalette(this.app.paints, this.shown.map((layer) => layer.color));
  }

  _showPast() {
    const chips = this.history.map((text) => button(text, () => this.fill(text), { class: "chip" }));
    this.past.replaceChildren(...(chips.length ? [el("span", { class: "quiet" }, "Before: "), ...chips] : []));
  }
}
