"use strict";
// The page: what belongs together, and when it is drawn.

const LEAST_STOPPED = 0.3; // share of the light that must be stopped for a click to hit something
const FRAME = 60; // ms that a frame should take while moving
const RESTED = 220; // ms without a move, after which everything is drawn

class App {
  constructor(backend) {
    this.backend = backend;
    this.canvas = byId("picture");
    this.showGrid = this.showCameras = false;
    this.paints = [];
    this.coarse = 1; // share of the picture's sides while moving
    this.most = Infinity; // Gaussians while moving
    this.modeColors = new Map();
    this.hovered = null;
  }

  async start() {
    this.setTheme(memory.get("theme") ?? "");
    this.scene = await this.backend.open();
    const { scene } = this;
    document.title = `${scene.title} · gags`;
    this.splats = new Splats(scene);
    this.renderer = new Renderer(this.canvas, this.splats);
    this.sorter = new Sorter((sorted) => this._sorted(sorted));
    this.view = new View(scene.start, scene.up);
    this.things = new Things(scene.count);
    this.history = new History(scene.count, () => this._stateChanged());
    this.radius = Math.max(1e-6, length(sub(scene.start.position, scene.start.target)));
    this.middle = scene.start.target;
    this.ground = dot(this.middle, this.view.up);
    this.overlay = new Overlay(byId("overlay"));
    this.overlay.painters.push(gridPainter(this), camerasPainter(this), () => this._paintBoxes());
    this.controls = new Controls(this.canvas, this.view, {
      changed: () => this.moved(), clicked: (event) => this._clicked(event),
      free: (event) => event.button !== 0 || !this.chooser.active,
    });
    this.modes = ["colour", "relevancy", "depth", "things", ...Object.keys(scene.modes ?? {})];
    if (this.renderer.software) [this.coarse, this.most] = [0.4, 150000];
    this._build();
    this._background();
    window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this._background());
    new ResizeObserver(() => this._resize()).observe(this.canvas.parentElement);
    this._resize();
    this._stateChanged();
    requestAnimationFrame((now) => this._frame(now));
    this.backend.onStatus((status) => status === "back" && this._cameBack());
    await this._load();
  }

  _build() {
    this.chooser = new Chooser(this);
    this.measure = new Measure(this);
    this.output = new Output(this);
    this.texts = new Texts(this);
    this.list = new ThingList(this);
    this.selectedSheet = new Selected(this);
    this.steps = new Steps(this);
    this.toolbar = new Toolbar(this, byId("tools"));
    this.loading = el("p", { id: "loading", role: "status" }, "Loading …");
    byId("kept").replaceChildren(this.texts.element);
    const about = sheet("Selected", true, this.selectedSheet.element);
    about.id = "about";
    byId("sheets").replaceChildren(this.loading,
      // Selected comes after the list: what it says is longer or shorter, and rows must not move under a hand.
      sheet("Things", true, this.list.element), about,
      sheet("Look", false, lookSheet(this)), sheet("Choose by hand", false, this.chooser.element),
      sheet("Measure", false, this.measure.element), sheet("Steps", false, this.steps.element),
      sheet("Take away", false, this.output.element));
    const fold = byId("fold");
    fold.addEventListener("click", () => this.fold(!document.body.classList.contains("folded")));
    this.fold(window.matchMedia("(max-width: 640px)").matches);
    fillHelp(byId("help"), this);
    listenToKeys(this);
    this.measure.show();
    if (this.renderer.software && !memory.get("software")) this._warnOfSoftware();
  }

  _warnOfSoftware() {
    const note = el("p", { class: "remark" }, "This browser draws without a graphics card: moving is coarser, and large scenes are slow. ");
    note.append(button("Got it", () => { memory.set("software", true); note.remove(); }, { class: "small" }));
    byId("sheets").append(note);
  }

  fold(folded) {
    document.body.classList.toggle("folded", folded);
    byId("fold").setAttribute("aria-expanded", String(!folded));
  }

  async _load() {
    const { scene, splats, renderer } = this, began = performance.now();
    await this.backend.splats((bytes, number) => {
      const [start, n] = splats.add(bytes, number * scene.chunk, Math.min(scene.chunk, scene.count - number * scene.chunk));
      renderer.upload(start, n);
      this.sorter.add(splats.xyz.subarray(3 * start, 3 * (start + n)), splats.reach.subarray(start, start + n), start);
      this.loading.textContent = `Loading: ${grouped(splats.arrived)} of ${grouped(scene.count)} Gaussians`;
      this._measureScene();
      this.changed(true);
    });
    this.loadedIn = performance.now() - began;
    const things = trying(() => this._loadThings());
    if (scene.sh_degree > 0) {
      this.loading.textContent = "Loading how colours change with the direction …";
      await this.backend.harmonics((bytes, number) => {
        const start = number * scene.chunk, n = Math.min(scene.chunk, scene.count - start);
        renderer.uploadHarmonics(bytes, start, n);
        splats.harmonicsArrived = start + n;
      });
    }
    await things;
    this.loading.remove();
    renderer.colorsStale = true;
    this.changed(true);
    this.ready = true;
    document.body.dataset.ready = "true";
  }

  async _loadThings() {
    const { things, owner, lacks } = await this.backend.things().catch((error) => {
      this.list.failed(error);
      throw error;
    });
    this.things.set(things, owner);
    this.list.lacks = lacks ?? "";
    this.list.show();
    this._stateChanged();
    this.modeColors.delete("things"); // made before they were known
    if (this.renderer.look.mode === "things") this.setMode("things");
    if (this.backend.can("thumbnails")) trying(() => this._loadThumbnails());
  }

  async _loadThumbnails() {
    this.list.picture(await this.backend.thumbnails());
    this.pictured = true;
  }

  /** The server is back: what was not answered before is asked again. */
  _cameBack() {
    if (!this.ready) return; // still on its way
    if (!this.things.roots) trying(() => this._loadThings());
    else if (!this.pictured) trying(() => this._loadThumbnails());
  }

  /** Size of what is there, and where its ground is, from a sample of what arrived. */
  _measureScene() {
    const { splats, view } = this, step = Math.max(1, Math.floor(splats.arrived / 5000)), heights = [], away = [], depths = [];
    for (let g = 0; g < splats.arrived; g += step) {
      if (splats.opacity(g) < 0.3) continue;
      const mean = splats.mean(g);
      heights.push(dot(mean, view.up));
      away.push(length(sub(mean, this.middle)));
      depths.push(length(sub(mean, view.position)));
    }
    const quantile = (values, q) => values.sort((a, b) => a - b)[Math.floor(q * (values.length - 1))] ?? 1;
    this.ground = heights.length ? quantile(heights, 0.03) : this.ground;
    if (away.length) this.radius = Math.max(1e-6, quantile(away, 0.8));
    this.renderer.look.depthRange = [Math.max(quantile(depths, 0.02), 1e-6), Math.max(quantile(depths, 0.98), 2e-6)];
  }

  // What is drawn, and when.

  _resize() {
    const ratio = Math.min(window.devicePixelRatio || 1, this.renderer.software ? 1 : 2), { clientWidth, clientHeight } = this.canvas.parentElement;
    const width = Math.max(2, Math.round(clientWidth * ratio)), height = Math.max(2, Math.round(clientHeight * ratio));
    if (this.canvas.width === width && this.canvas.height === height) return;
    this.canvas.width = this.view.width = width;
    this.canvas.height = this.view.height = height;
    this.changed(true);
  }

  /** The camera moved. */
  moved() {
    this.lastMove = performance.now();
    this.wasMoving = true; // until a frame finds it at rest, however late that frame comes
    this.changed(true);
  }

  /** Something else is to be seen. `sort`: from other places, so that the order may differ. */
  changed(sort = false) {
    this.stale = true;
    if (sort) this.unsorted = true;
  }

  _frame(now) {
    requestAnimationFrame((later) => this._frame(later));
    if (this.controls.step(now) || this.output.step(now)) this.moved();
    const moving = performance.now() - (this.lastMove ?? -1e9) < RESTED;
    if (this.wasMoving && !moving) {
      this.wasMoving = false;
      this.changed(true); // all of it, once at rest
      this.texts.looked();
    }
    if (!this.stale || this.drawing || document.hidden) return;
    const camera = this.view.camera();
    if (this.unsorted) {
      this.unsorted = false;
      this.sorter.sort(camera, moving ? this.most : Infinity);
    }
    this.stale = false;
    this._draw(camera, moving ? this.coarse : 1, moving);
  }

  _sorted(sorted) {
    this.renderer.setOrder(sorted);
    this.stale = true;
  }

  _draw(camera, scale, moving) {
    const { gl } = this.renderer, began = performance.now();
    this.renderer.draw(camera, scale, { rough: this.renderer.software });
    this.overlay.draw(camera);
    const fence = gl.fenceSync(gl.SYNC_GPU_COMMANDS_COMPLETE, 0);
    gl.flush();
    this.drawing = true;
    // The next picture waits for this one: a queue of pictures would lag behind the hand.
    const check = () => {
      const status = gl.clientWaitSync(fence, 0, 0);
      if (status === gl.TIMEOUT_EXPIRED && !gl.isContextLost()) {
        setTimeout(check, 4);
        return;
      }
      gl.deleteSync(fence);
      this.drawing = false;
      this.frameTook = performance.now() - began;
      if (moving) this._adapt(this.frameTook);
    };
    check();
  }

  /** Coarser pictures and fewer Gaussians, the least visible left out, where moving would stutter. */
  _adapt(took) {
    const room = clamp(FRAME / Math.max(took, 1), 0.25, 1.5);
    if (room > 0.7 && room < 1.3) return;
    this.coarse = clamp(this.coarse * Math.sqrt(room), 0.25, 1);
    this.most = clamp(Math.min(this.most, this.scene.count) * room, 50000, this.scene.count);
  }

  setTheme(theme) {
    memory.set("theme", theme);
    if (theme) document.documentElement.dataset.theme = theme;
    else delete document.documentElement.dataset.theme;
    if (this.renderer) this._background();
  }

  _background() {
    const color = getComputedStyle(byId("stage")).backgroundColor.match(/[\d.]+/g).map(Number);
    this.renderer.background = color.slice(0, 3).map((v) => v / 255);
    this.changed();
  }

  async setMode(mode) {
    const { look } = this.renderer, legend = byId("legend");
    let colors = this.modeColors.get(mode);
    if (!colors && mode === "things") colors = this._thingColors();
    else if (!colors && !["colour", "relevancy", "depth"].includes(mode)) colors = await this.backend.colors(mode);
    if (colors) {
      this.modeColors.set(mode, colors);
      this.renderer.setModeColors(colors.rgb);
    }
    look.mode = mode;
    byId("mode").value = mode;
    legend.replaceChildren(...(colors?.legend ?? []).map(([name, color]) => {
      const patch = el("span", { class: "patch" });
      patch.style.background = toHex(color);
      return el("span", { class: "key" }, patch, name);
    }));
    if (mode === "depth") legend.replaceChildren(el("span", { class: "quiet" }, "Near is bright."));
    this._measureScene();
    this.renderer.colorsStale = true;
    this.changed();
  }

  /** A colour a thing: far apart for neighbours in the list. */
  _thingColors() {
    const { owner, byId: things } = this.things, rgb = new Uint8Array(3 * this.scene.count).fill(90), known = new Map();
    for (let g = 0; g < this.scene.count; g++) {
      if (owner[g] < 0) continue;
      if (!known.has(owner[g])) {
        const thing = this.things.chain(owner[g]).find((one) => one.listed) ?? things.get(owner[g]);
        known.set(owner[g], hueColor(((thing?.id ?? 0) * 0.618034) % 1));
      }
      rgb.set(known.get(owner[g]), 3 * g);
    }
    return { rgb, legend: [] };
  }

  // One state: what is selected, hidden, painted.

  _stateChanged() {
    const hidden = new Set(this.history.now.hidden.flatMap((id) => [...this.things.within(id)]));
    const paints = this.history.write(this.renderer.states, this.things.owner, (id) => hidden.has(id));
    this.paints = paints;
    this.renderer.look.highlight = this.history.now.selected !== null;
    this.renderer.setPalette(paints, this.texts.shown.map((layer) => layer.color));
    this.uploadStates();
    this.selectedSheet.show();
    this.steps.show();
    this.toolbar.show();
    this.list.mark();
  }

  uploadStates() {
    this.renderer.uploadStates();
    this.changed();
  }

  hiddenFlags() {
    const { states } = this.renderer;
    return Uint8Array.from({ length: this.scene.count }, (_, g) => (states[4 * g + 2] & HIDDEN ? 1 : 0));
  }

  isHidden(id) {
    return this.things.chain(id).some((thing) => this.history.now.hidden.includes(thing.id));
  }

  /** Select, joined to what is selected already: new, add, subtract or and. */
  select(bits, info, joined, label) {
    const before = this.history.now.selected ?? new Bits(this.scene.count);
    const selected = joined === "add" ? before.or(bits) : joined === "subtract" ? before.without(bits) : joined === "and" ? before.and(bits) : bits;
    const words = { new: "Select", add: "Add", subtract: "Take away", and: "Keep only" };
    const steps = ["Grow", "Shrink", "Invert"].includes(label) ? label : `${words[joined]} ${info.title ?? label}`;
    this.history.go(steps, { selected, info: joined === "new" ? info : this.looseInfo() });
    this.boxOf = null;
  }

  /** What a selection is called once it is no thing any more. */
  looseInfo() {
    return { title: "Selection", thing: null, boxes: null };
  }

  selectThing(id, { frame = false, how: joined = "new", names = null } = {}) {
    const thing = this.things.byId.get(id);
    const info = { title: thing.name, thing: id, boxes: [thing.box], names: names ?? thing.names, sure: thing.sure };
    this.select(this.things.bits(id), info, joined, thing.name);
    if (frame && joined === "new") this.frame(thing.box, this.things.bits(id));
  }

  instanceBits(instance) {
    if (instance.gaussians) return Bits.of(this.scene.count, instance.gaussians);
    return [instance.thing, ...(instance.also ?? [])].map((id) => this.things.bits(id)).reduce((a, b) => a.or(b));
  }

  selectInstance(layer, number) {
    const one = layer.answer.instances[number];
    this.select(this.instanceBits(one), { title: layer.text, thing: one.thing, boxes: [one.box] }, "new", layer.text);
    this.frame(one.box, this.instanceBits(one));
  }

  selectLayer(layer, joined) {
    const { instances } = layer.answer;
    if (!instances.length) {
      notify(`Nothing in the scene matches “${layer.text}”, so there is nothing to select.`);
      return;
    }
    const bits = instances.map((one) => this.instanceBits(one)).reduce((a, b) => a.or(b));
    const title = instances.length > 1 ? `${instances.length} × ${layer.text}` : layer.text;
    this.select(bits, { title, thing: null, boxes: instances.map((one) => one.box) }, joined, layer.text);
  }

  hover(id) {
    if (this.hovered === id) return;
    this.hovered = id;
    const { states } = this.renderer, bits = id === null ? null : this.things.bits(id);
    for (let g = 0; g < this.scene.count; g++) {
      if (bits && bits.has(g)) states[4 * g + 2] |= HOVERED;
      else states[4 * g + 2] &= ~HOVERED;
    }
    this.uploadStates();
  }

  toggleHidden(id) {
    const { hidden } = this.history.now, { name } = this.things.byId.get(id), above = this.things.chain(id).map((thing) => thing.id);
    if (this.isHidden(id)) this.history.go(`Show ${name}`, { hidden: hidden.filter((one) => !above.includes(one)) });
    else this.history.go(`Hide ${name}`, { hidden: [...hidden, id] });
  }

  hideSelected() {
    const thing = this.history.now.info?.thing;
    if (thing === null || thing === undefined) notify("Select a thing of the list to hide it.");
    else this.toggleHidden(thing);
  }

  _edit(label, edit) {
    const { selected, edits, info } = this.history.now;
    if (!selected) {
      notify("Nothing is selected: click on a thing, or use a tool.");
      return;
    }
    this.history.go(`${label} ${info?.title ?? "selection"}`, { edits: [...edits, { ...edit, bits: edit.bits ?? selected }], selected: null });
  }

  remove() {
    this._edit("Delete", { kind: "delete", color: null });
  }

  paint() {
    const { selected } = this.history.now, brightness = selected ? this.splats.brightness(selected.rows()) : 0;
    this._edit("Paint", { kind: "recolour", color: fromHex(this.selectedSheet.color.value), brightness });
  }

  isolate() {
    const { selected } = this.history.now;
    if (selected) this._edit("Delete all but", { kind: "delete", color: null, bits: selected.not() });
  }

  /** Changes and hidden things as the server wants them. */
  editsForPython() {
    const edits = this.history.now.edits.map(({ kind, bits, color }) => ({ kind, color, rows: bits.rows() }));
    const hidden = this.history.now.hidden.map((id) => ({ kind: "delete", color: null, rows: this.things.bits(id).rows() }));
    return [...edits, ...hidden];
  }

  undo(redo) {
    if (!(redo ? this.history.redo() : this.history.undo())) notify(redo ? "There is nothing to redo." : "There is nothing to undo.");
  }

  escape() {
    if (this.chooser.tool !== "point") this.setTool("point");
    else if (this.history.now.selected) this.history.go("Select nothing", { selected: null });
  }

  async rename(thing, name) {
    await trying(async () => {
      const message = await this.backend.rename(thing.id, name, this.things.bits(thing.id).rows());
      thing.name = name;
      thing.sure = true;
      if (this.history.now.info?.thing === thing.id) this.history.now.info.title = name;
      this.selectedSheet.show();
      notify(message || `From now on “${name}” finds it.`);
    });
  }

  // Where things are.

  /** The point of the scene's surface at a pixel; null if there is none. */
  surface(x, y) {
    const ray = rayThrough(this.view.camera(), x, y), hits = this.splats.along(ray.origin, ray.direction, this.hiddenFlags());
    if (hits.total < LEAST_STOPPED) return null;
    let passed = 0;
    const k = hits.weights.findIndex((weight) => (passed += weight) >= hits.total / 2);
    return add(ray.origin, times(ray.direction, hits.distances[k]));
  }

  _clicked(event) {
    const ratio = this.view.width / Math.max(1, this.canvas.clientWidth), at = [event.offsetX * ratio, event.offsetY * ratio];
    if (this.chooser.tool === "measure") this.measure.click(...at);
    else if (this.chooser.tool === "point") trying(() => this._pick(at, how(event)));
  }

  async _pick(at, joined) {
    const ray = rayThrough(this.view.camera(), ...at), hits = this.splats.along(ray.origin, ray.direction, this.hiddenFlags());
    const found = hits.total < LEAST_STOPPED ? [] : this.things.hit(hits), now = this.history.now;
    if (!found.length) {
      if (joined === "new" && now.selected) this.history.go("Select nothing", { selected: null });
      if (hits.total >= LEAST_STOPPED) await this._pickAlike(hits, joined);
      return;
    }
    const before = found.findIndex((thing) => thing.id === now.info?.thing);
    const thing = found[(before + 1) % found.length];
    this.selectThing(thing.id, { how: joined });
    if (!this.backend.can("name") || joined !== "new" || !thing.names?.length) return;
    const step = this.history.now, { sure, names } = await this.backend.name(this.things.bits(thing.id).rows());
    if (this.history.now !== step || !names.length) return;
    Object.assign(step.info, { names, sure, title: sure ? names[0][0] : thing.name });
    this.selectedSheet.show();
  }

  /** Where no thing is known, what is alike around the click; a page without a server says that it knows none. */
  async _pickAlike(hits, joined) {
    if (!this.backend.can("alike")) {
      notify("No thing is known here.");
      return;
    }
    const { gaussians, names, sure, box } = await this.backend.alike(hits);
    const info = { title: sure ? names[0][0] : "No known thing", thing: null, boxes: [box], names, sure };
    this.select(Bits.of(this.scene.count, gaussians), info, joined, info.title);
  }

  frameSelected() {
    const { selected, info } = this.history.now;
    if (!selected) this.controls.goTo(this.view.home);
    else this.frame(info?.boxes?.length === 1 ? info.boxes[0] : this._boxAround(selected), selected);
  }

  /** Go to where a box fills the picture: from the side that is seen now, or the nearest from which it is seen. */
  frame(box, bits) {
    const { view, scene } = this, many = scene.count > 300000, hidden = this.hiddenFlags();
    const way = (from) => unit(sub(from, box.center)), now = way(view.position);
    const photos = scene.cameras.map((camera) => positionOf(camera.viewmat)).sort((a, b) => dot(way(b), now) - dot(way(a), now));
    const most = many ? 4 : 12, step = Math.max(1, Math.floor(photos.length / most));
    const near = photos.filter((_, k) => k % step === 0).slice(0, most), marks = this._marks(box, bits, many ? 3 : 5);
    const away = (position) => length(sub(position, box.center)), farthest = 1.1 * Math.max(0, ...photos.map(away));
    let best = null;
    const tryPose = (pose) => { // they come nearest first, so that the first that is good is the one
      if (best?.good > 0.7) return;
      // From farther than any photo, walls may stand between, and what is seen was never photographed so.
      const good = this._shareSeen(pose.position, marks, bits, hidden) - (away(pose.position) > farthest ? 0.5 : 0);
      const score = good + 0.2 * dot(way(pose.position), now);
      if (!best || score > best.score) best = { score, pose, good };
    };
    for (const direction of [now, ...near.map(way)]) tryPose(view.framing(box, direction));
    // What is too large to be seen whole from within a room is seen from where the photos were taken.
    if (best.good < 0.3) for (const position of near) tryPose({ position, target: box.center });
    this.controls.goTo(best.pose);
  }

  /** Places of a few of the Gaussians, those that are far from the box left out. */
  _marks(box, bits, most) {
    const around = 0.5 * length(box.size), inside = (g) => length(sub(this.splats.mean(g), box.center)) <= around;
    const rows = bits.rows().filter((g) => this.splats.opacity(g) > 0.5 && inside(g));
    const marks = Array.from({ length: Math.min(most, rows.length) }, (_, k) => this.splats.mean(rows[Math.floor((k * rows.length) / most)]));
    return marks.length ? marks : [box.center];
  }

  /** Share of the light from some places that some Gaussians stop, mean of the places. */
  _shareSeen(from, marks, bits, hidden) {
    const seen = marks.map((mark) => {
      const hits = this.splats.along(from, unit(sub(mark, from)), hidden);
      return hits.rows.reduce((sum, g, k) => sum + (bits.has(g) ? hits.weights[k] : 0), 0);
    });
    return seen.reduce((a, b) => a + b, 0) / seen.length;
  }

  /** A box along the world's axes around some Gaussians, a few far ones left out. */
  _boxAround(bits) {
    const rows = bits.rows(), sides = [0, 1, 2].map((axis) => {
      const values = Float32Array.from(rows, (g) => this.splats.xyz[3 * g + axis]).sort();
      return [values[Math.floor(0.01 * (values.length - 1))], values[Math.ceil(0.99 * (values.length - 1))]];
    });
    return { center: sides.map(([a, b]) => (a + b) / 2), size: sides.map(([a, b]) => b - a), axes: [[1, 0, 0], [0, 1, 0], [0, 0, 1]] };
  }

  isInSight(box) {
    const camera = this.view.camera(), [x, y, z] = project(camera, box.center);
    return z > 0 && x > 0 && y > 0 && x < camera.width && y < camera.height;
  }

  poseOfPhoto(camera) {
    const position = positionOf(camera.viewmat), forward = camera.viewmat.slice(8, 11);
    const distance = Math.max(dot(sub(this.middle, position), forward), 0.1 * this.radius);
    return { position, target: add(position, times(forward, distance)), up: this.view.up, fov_y: 2 * Math.atan(camera.height / (2 * camera.K[4])) };
  }

  upright() {
    this.setUp(this.scene.up);
    this.controls.goTo({ ...this.view.home, position: this.view.position, target: this.view.target, fov_y: this.view.fov }, 0);
  }

  /** Somebody says what is up: a page with a server keeps it in the scene, or finds it again the next time. */
  keepUp(up, found = false) {
    this.scene.up = [...up];
    this.setUp(up);
    if (this.backend.can("up")) trying(() => this.backend.setUp(found ? null : [...up]));
  }

  setUp(up) {
    this.view.setUp(up);
    this.view.home = { ...this.view.home, up: this.view.up };
    this._measureScene();
    this.moved();
  }

  setTool(tool) {
    this.chooser.tool = tool;
    this.canvas.dataset.tool = tool;
    this.toolbar.show();
    this.renderer.look.measuring = tool === "measure";
    this.renderer.colorsStale = true;
    this.changed();
  }

  _paintBoxes() {
    const { selected, info } = this.history.now;
    if (selected && info?.boxes) {
      info.boxes.forEach((box) => this.overlay.box(box, "#ffd640", 2));
      const box = info.boxes[0], top = corners(box).sort((a, b) => dot(b, this.view.up) - dot(a, this.view.up))[0];
      this.overlay.label(top, info.sure === false ? `${info.title}?` : info.title, "#ffd640");
    }
    if (this.hovered !== null) this.overlay.box(this.things.byId.get(this.hovered).box, "#ffffff", 1);
  }

  get unitScale() {
    return this.scene.unit?.per_scene_unit ?? 1;
  }

  get unitName() {
    return this.scene.unit?.name ?? "units";
  }

  lengthText(value, withUnit = true) {
    const text = String(+(value * this.unitScale).toPrecision(3));
    return withUnit ? `${text} ${this.unitName}` : text;
  }

  unitChanged() {
    this.measure.show();
    this.selectedSheet.show();
    this.changed();
  }

  /**
   * Draw one picture of any camera and give the canvas to `use`, while the screen waits.
   * camera: as `pinhole` makes it, its size that of the picture.
   */
  async still(camera, transparent, use) {
    const { canvas, renderer } = this, before = [canvas.width, canvas.height];
    while (this.drawing) await new Promise((resume) => setTimeout(resume, 4));
    this.drawing = true;
    try {
      const order = await this.sorter.order(camera);
      canvas.width = camera.width;
      canvas.height = camera.height;
      renderer.setOrder(order);
      renderer.draw(camera, 1, { transparent });
      return await use(canvas);
    } finally {
      [canvas.width, canvas.height] = before;
      this.drawing = false;
      this.changed(true);
    }
  }

  /** A picture of any size as a PNG, by the page's own renderer. */
  ownPicture(camera, transparent) {
    return this.still(camera, transparent, (canvas) => new Promise((resolve, reject) => canvas.toBlob(
      (blob) => (blob ? resolve(blob) : reject(new Error("The picture is too large for this browser."))), "image/png")));
  }
}

/** A bright colour of a hue from 0 to 1. */
function hueColor(hue) {
  return [0, 1 / 3, 2 / 3].map((shift) => Math.round(255 * (0.62 + 0.38 * Math.cos(2 * Math.PI * (hue - shift)))));
}

/** Start the page; what keeps it from starting is said in its place. */
async function startPage(backend) {
  const app = new App(backend);
  window.gagsApp = app;
  try {
    await app.start();
  } catch (error) {
    document.body.dataset.ready = "failed";
    notify(`The scene cannot be shown: ${error.message}`, "error");
    throw error;
  }
  return app;
}
