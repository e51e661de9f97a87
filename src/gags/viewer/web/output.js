"use strict";
// What people take away: pictures, films along a path of key views, Gaussians.

class Output {
  constructor(app) {
    this.app = app;
    this.keys = []; // {position, target, up, fov_y, name}
    this.playing = null;
    app.overlay.painters.push((overlay) => this._paint(overlay));
    this.size = [1920, 1080];
    this.transparent = false;
    this.keyList = el("ol", { "aria-label": "Key views of the path" });
    const { backend } = app, film = backend.can("video");
    this.filmSettings = { seconds: 8, fps: 30, relevancy: false };
    this.progress = el("progress", { max: 1, value: 0, hidden: true, "aria-label": "Rendering the film" });
    this.element = el("div", {},
      el("h3", {}, "Picture"),
      el("div", { class: "numbers" },
        numberField("width", this.size[0], (v, input) => this._setSize(0, v, input), { min: 16, max: 8192 }),
        numberField("height", this.size[1], (v, input) => this._setSize(1, v, input), { min: 16, max: 8192 })),
      checkField("Transparent background", false, (on) => { this.transparent = on; }),
      el("div", { class: "buttons" }, button("Save picture", () => trying(() => this.savePicture()))),
      el("h3", {}, "Film"),
      el("p", { class: "quiet" }, "A path goes through key views: add where you are, or photos' views."),
      el("div", { class: "buttons" },
        button("Add this view (K)", () => this.addKey()),
        button("From photos", () => this._fromPhotos()),
        button("Play", () => this.play(), { id: "play" })),
      this.keyList,
      el("div", { class: "numbers" },
        numberField("seconds", this.filmSettings.seconds, (v, input) => this._setFilm("seconds", v, input, 0.5, 600), { min: 0.5, max: 600 }),
        numberField("frames a second", this.filmSettings.fps, (v, input) => this._setFilm("fps", v, input, 1, 120), { min: 1, max: 120 })),
      checkField("Show what texts match", false, (on) => { this.filmSettings.relevancy = on; }),
      el("div", { class: "buttons" }, button("Render as mp4", () => trying(() => this._film()), { disabled: !film }), this.progress),
      film ? null : el("p", { class: "quiet" }, "Films are rendered by gags: open the scene with `gags view`."),
      el("h3", {}, "Gaussians"),
      el("div", { class: "buttons" },
        button("Save selection", () => trying(() => this._save(true)), { disabled: !backend.can("save") }),
        button("Save scene with changes", () => trying(() => this._save(false)), { disabled: !backend.can("save") })),
      backend.can("save") ? null : el("p", { class: "quiet" }, "Files of Gaussians are written by `gags view`, or by `gags extract`."));
  }

  _setSize(k, value, input) {
    this.size[k] = clamp(Math.round(value) || 16, 16, 8192);
    input.value = String(this.size[k]);
  }

  _setFilm(name, value, input, least, most) {
    this.filmSettings[name] = clamp(value || least, least, most);
    input.value = String(this.filmSettings[name]);
  }

  async savePicture() {
    const { app } = this, [width, height] = this.size, camera = app.view.camera(width, height);
    const options = { transparent: this.transparent, edits: app.editsForPython() };
    const blob = app.backend.can("picture") ? await app.backend.picture(camera, options) : await app.ownPicture(camera, this.transparent);
    download(blob, `${fileName(app.scene.title)}-view.png`);
  }

  addKey() {
    this.keys.push({ ...this.app.view.pose(), name: `view ${this.keys.length + 1}` });
    this._show();
    this.app.changed();
  }

  _fromPhotos() {
    const { cameras } = this.app.scene, step = Math.max(1, Math.ceil(cameras.length / 12));
    const chosen = cameras.filter((_, k) => k % step === 0);
    this.keys = chosen.map((camera) => ({ ...this.app.poseOfPhoto(camera), name: camera.name }));
    this._show();
    this.app.changed();
  }

  _show() {
    this.keyList.replaceChildren(...this.keys.map((key, k) => el("li", {},
      button(key.name, () => this.app.controls.goTo(key), { class: "plain name", title: "Go there" }),
      button("↑", () => this._swap(k, k - 1), { class: "small", "aria-label": `Move ${key.name} up`, disabled: k === 0 }),
      button("↓", () => this._swap(k, k + 1), { class: "small", "aria-label": `Move ${key.name} down`, disabled: k === this.keys.length - 1 }),
      button("×", () => { this.keys.splice(k, 1); this._show(); this.app.changed(); }, { class: "small", "aria-label": `Remove ${key.name}` }))));
  }

  _swap(a, b) {
    [this.keys[a], this.keys[b]] = [this.keys[b], this.keys[a]];
    this._show();
    this.app.changed();
  }

  /** Go along the path; once more stops. */
  play() {
    if (this.playing) {
      this.playing = null;
      return;
    }
    if (this.keys.length < 2) {
      notify("A path needs two key views or more: move, then “Add this view”.");
      return;
    }
    this.playing = { began: performance.now() };
    this.app.changed();
  }

  step(now) {
    if (!this.playing) return false;
    const t = (now - this.playing.began) / 1000 / this.filmSettings.seconds;
    if (t >= 1) this.playing = null;
    const { position, target } = alongPath(this.keys, clamp(t, 0, 1));
    this.app.view.look(position, target);
    return true;
  }

  async _film() {
    if (this.keys.length < 2) throw new Error("A path needs two key views or more: move, then “Add this view”.");
    const [width, height] = this.size;
    this.progress.hidden = false;
    try {
      const texts = this.filmSettings.relevancy ? this.app.texts.shown.map((layer) => layer.text) : [];
      const options = { width, height, ...this.filmSettings, texts, edits: this.app.editsForPython() };
      const blob = await this.app.backend.video(this.keys, options, (share) => { this.progress.value = share; });
      download(blob, `${fileName(this.app.scene.title)}-film.mp4`);
    } finally {
      this.progress.hidden = true;
    }
  }

  async _save(selection) {
    const { selected, info } = this.app.history.now;
    if (selection && !selected) throw new Error("Nothing is selected: click on a thing, or use a tool.");
    const blob = await this.app.backend.save(this.app.editsForPython(), selection ? selected.rows() : null);
    download(blob, `${fileName(this.app.scene.title)}-${selection ? fileName(info?.title ?? "selection") : "scene"}.ply`);
  }

  _paint(overlay) {
    if (this.keys.length < 1 || this.playing) return;
    const steps = 16 * Math.max(1, this.keys.length - 1);
    let before = this.keys[0].position;
    if (this.keys.length > 1) {
      for (let k = 1; k <= steps; k++) {
        const { position } = alongPath(this.keys, k / steps);
        overlay.line(before, position, "#ff7ad9", 1.5);
        before = position;
      }
    }
    for (const key of this.keys) overlay.dot(key.position, "#ff7ad9", 3.5);
  }
}

/** Position and target at t from 0 to 1 of a path: Catmull-Rom through the keys, each as long as the others. */
function alongPath(keys, t) {
  const place = t * (keys.length - 1), k = Math.min(Math.floor(place), keys.length - 2), s = place - k;
  const at = (n) => keys[clamp(n, 0, keys.length - 1)];
  const curve = (name) => [0, 1, 2].map((j) => {
    const [a, b, c, d] = [-1, 0, 1, 2].map((n) => at(k + n)[name][j]);
    return 0.5 * (2 * b + (c - a) * s + (2 * a - 5 * b + 4 * c - d) * s * s + (3 * b - a - 3 * c + d) * s ** 3);
  });
  return { position: curve("position"), target: curve("target") };
}
