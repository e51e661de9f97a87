"use strict";
// The page with a server: Gaussians over HTTP, everything else over one websocket that is opened again whenever
// it is lost.

const RETRY_SECONDS = [1, 1, 2, 3, 5, 8]; // between attempts to reach a server that is gone
const BUSY_AFTER = 1000; // ms after which the page says that something takes a while
const OTHER_SCENE = "The server shows another scene now: reload the page.";

/** What the server answers with an error; asking again would not help. */
class Refused extends Error {}

class LiveBackend extends Backend {
  constructor() {
    super();
    this.waiting = new Map();
    this.number = 0;
    this.tries = 0;
    this.writable = true;
    this.base = new URL(".", location.href);
  }

  can(what) {
    if (["rename", "unit", "up"].includes(what)) return this.writable;
    return ["ask anything", "thumbnails", "picture", "video", "save", "name", "suggest", "alike"].includes(what);
  }

  async open() {
    this.scene = await (await this._fetch("scene.json")).json();
    await this._connected();
    return this.scene;
  }

  async _fetch(path) {
    let response;
    try {
      response = await fetch(new URL(path, this.base));
    } catch {
      throw new Error("The server cannot be reached. Does `gags view` still run?");
    }
    if (!response.ok) {
      const said = response.headers.get("content-type")?.startsWith("text/plain") ? await response.text() : "";
      throw new Refused(said || `The server does not have ${path} (${response.status}).`);
    }
    return response;
  }

  /** Bytes of an address; waits for the server where it is gone. */
  async _bytes(path) {
    for (;;) {
      try {
        return new Uint8Array(await (await this._fetch(path)).arrayBuffer());
      } catch (error) {
        if (error instanceof Refused) throw error;
        do await new Promise((resume) => setTimeout(resume, 500));
        while (this.lost && !this.closed);
        if (this.closed) throw error;
        if (this.isOther) throw new Refused(OTHER_SCENE);
      }
    }
  }

  async splats(onChunk) {
    await this._chunks("splats", onChunk);
  }

  async harmonics(onChunk) {
    await this._chunks("harmonics", onChunk);
  }

  /** Chunks in order, the next one on its way while one is unpacked. */
  async _chunks(name, onChunk) {
    const chunks = Math.ceil(this.scene.count / this.scene.chunk);
    const get = (number) => this._bytes(`${name}/${number}?mark=${encodeURIComponent(this.scene.mark)}`);
    let next = get(0);
    for (let number = 0; number < chunks; number++) {
      const bytes = await next;
      if (number + 1 < chunks) {
        next = get(number + 1);
        next.catch(() => {}); // told when its turn comes
      }
      onChunk(bytes, number);
      await new Promise((resume) => setTimeout(resume));
    }
  }

  async things() {
    const [{ things, lacks, mark }, { owner }] = await this._ask("things", {}, {}, "Finding things");
    this.thingsMark = mark;
    const { count } = this.scene, found = new Int32Array(count);
    for (let g = 0; g < count; g++) found[g] = owner[g] | (owner[count + g] << 8) | (owner[2 * count + g] << 16) | (owner[3 * count + g] << 24);
    return { things, owner: found, lacks };
  }

  async thumbnails() {
    const { thumbnails, lacks } = (await this._ask("thumbnails"))[0];
    if (lacks) notify(lacks);
    return thumbnails;
  }

  async ask(text) {
    const [answer, { strengths, gaussians }] = await this._ask("ask", { text }, {}, `Looking for “${text}”`);
    const rows = new Uint32Array(gaussians.buffer);
    let at = 0;
    for (const one of answer.instances) one.gaussians = rows.slice(at, (at += one.count));
    return { ...answer, strengths };
  }

  async name(rows) {
    return (await this._ask("name", {}, { selected: bitsOfRows(rows, this.scene.count) }))[0];
  }

  /** What is alike around a click that hits no thing: {gaussians, names, sure, box}. */
  async alike(hits) {
    const parts = { rows: Uint32Array.from(hits.rows), weights: Float32Array.from(hits.weights) };
    const [found, { gaussians }] = await this._ask("alike", {}, parts, "Finding out what this is");
    return { ...found, gaussians: new Uint32Array(gaussians.buffer) };
  }

  async rename(thing, name) {
    return (await this._ask("rename", { thing, name, of: this.thingsMark }, {}, "Keeping the name"))[0].message;
  }

  async setUnit(length, known, unit) {
    return (await this._ask("unit", { length, known, unit }))[0].unit;
  }

  async setUp(up) {
    await this._ask("up", { up });
  }

  async colors(mode) {
    const [{ legend }, { rgb }] = await this._ask("colors", { mode }, {}, "Making the colours");
    return { rgb, legend };
  }

  async picture(camera, options) {
    const { colors, parts } = packEdits(options.edits, this.scene.count), plain = { ...camera, viewmat: [...camera.viewmat] };
    const values = { camera: plain, transparent: options.transparent === true, colors };
    const [, { png }] = await this._ask("picture", values, parts, "Rendering the picture");
    return new Blob([png], { type: "image/png" });
  }

  async video(keys, options, onProgress) {
    const { colors, parts } = packEdits(options.edits, this.scene.count), { width, height, seconds, fps } = options;
    const path = keys.map(({ position, target, up, fov_y }) => ({ position: [...position], target: [...target], up: [...up], fov_y }));
    const values = { keys: path, width, height, seconds, fps, texts: options.texts ?? [], colors };
    const [{ url }] = await this._ask("video", values, parts, "Rendering the film", onProgress);
    return (await this._fetch(url)).blob();
  }

  async save(edits, only) {
    const { colors, parts } = packEdits(edits, this.scene.count);
    if (only) parts.only = bitsOfRows(only, this.scene.count);
    const [{ url }] = await this._ask("save", { colors }, parts, "Writing the file");
    return (await this._fetch(url)).blob();
  }

  async suggest(prefix) {
    return (await this._ask("suggest", { prefix: prefix.slice(0, 200) }))[0].names;
  }

  // The websocket.

  /** Ask the server: [values, parts]. `title` is shown when it takes a while. */
  async _ask(what, values = {}, parts = {}, title = "", onProgress = null) {
    await this._connected();
    const id = ++this.number, note = title ? new Busy(title) : null;
    try {
      return await new Promise((resolve, reject) => {
        this.waiting.set(id, { resolve, reject, note, onProgress });
        this.socket.send(packMessage({ id, do: what, ...values }, parts));
      });
    } finally {
      this.waiting.delete(id);
      note?.close();
    }
  }

  /** The websocket, opened if need be. */
  _connected() {
    if (this.socket?.readyState === WebSocket.OPEN) return Promise.resolve();
    this.connecting ??= new Promise((resolve, reject) => {
      const url = new URL("socket", this.base);
      url.protocol = url.protocol.replace("http", "ws");
      const socket = new WebSocket(url);
      socket.binaryType = "arraybuffer";
      socket.onmessage = (event) => {
        const [message, parts] = unpackMessage(event.data);
        if (message.hello) {
          this._greeted(socket, message.hello);
          resolve();
        }
        if (message.changed !== undefined) this._changed(message.changed);
        else this._received(message, parts);
      };
      socket.onclose = () => {
        this.connecting = null;
        reject(new Error("The server is gone; the page asks again as soon as it is back."));
        this._lost(socket);
      };
    }).finally(() => { this.connecting = null; });
    return this.connecting;
  }

  _greeted(socket, { mark, writable, count }) {
    this.socket = socket;
    this.writable = writable;
    this.tries = 0;
    if (this.scene.mark !== mark || this.scene.count !== count) {
      this.isOther = true;
      notify(OTHER_SCENE, "error", true);
    } else if (this.lost) this._tell("back");
    this.lost = false;
  }

  /** Another process made the scene anew, as `text` says; "" once it is what the server shows again. */
  _changed(text) {
    document.body.dataset.scene = text ? "changed" : "same";
    this.former?.remove();
    if (!text) return;
    this.former = notify(text, "error", true);
    const reload = async () => {
      await this._ask("reload", {}, {}, "Loading the new scene");
      location.reload();
    };
    this.former.children[0].append(" ", button("Show the new one", () => trying(reload), { class: "small" }));
  }

  _received({ id, result, error, progress, share }, parts) {
    const one = this.waiting.get(id);
    if (!one) {
      if (error) notify(error, "error");
      return;
    }
    if (progress !== undefined) {
      one.note?.say(progress);
      if (share !== null && share !== undefined) one.onProgress?.(share);
    } else if (error !== undefined) one.reject(new Error(error));
    else one.resolve([result, parts]);
  }

  /** The server is gone: what waits fails, and the page tries again until it is back. */
  _lost(socket) {
    if (this.closed || (this.socket && this.socket !== socket)) return;
    this.socket = null;
    for (const { reject } of this.waiting.values()) reject(new Error("The server is gone; this was not answered."));
    if (!this.lost) this._tell("gone");
    this.lost = true;
    const seconds = RETRY_SECONDS[Math.min(this.tries++, RETRY_SECONDS.length - 1)];
    setTimeout(() => { if (!this.closed && !this.socket) this._connected().catch(() => {}); }, 1000 * seconds);
  }

  _tell(status) {
    document.body.dataset.server = status;
    this.gone?.remove();
    if (status === "gone") this.gone = notify("The server is gone. What is loaded can still be looked at; the page asks again until it is back.", "error", true);
    else notify("The server is back.");
    this.listener?.(status);
  }

  close() {
    this.closed = true;
    this.socket?.close();
  }
}

/** A note that something takes a while, shown once it does. */
class Busy {
  constructor(title) {
    this.title = title;
    this.timer = setTimeout(() => { this.note = notify(`${this.title} …`, "busy"); }, BUSY_AFTER);
  }

  say(text) {
    this.title = text;
    if (this.note) this.note.firstChild.textContent = text;
  }

  close() {
    clearTimeout(this.timer);
    this.note?.remove();
  }
}
