"use strict";
// Draws Gaussians as gags' rasteriser does: projected ellipses with its low-pass filter and cut-offs, sorted
// from far to near, colours from spherical harmonics at the Gaussian's centre.
//
// Own code, although there are renderers of splats for browsers: a text's strengths, what is selected, hidden,
// hovered or painted are 4 bytes a Gaussian in one texture that is looked at while colours are made, so that
// typing sends one byte a Gaussian and moving a slider none; and the page is one file that works from file://.

class Renderer {
  /**
   * @param canvas Where to draw.
   * @param splats The Gaussians; may still be arriving.
   */
  constructor(canvas, splats) {
    this.canvas = canvas;
    this.splats = splats;
    const gl = canvas.getContext("webgl2", { antialias: false, depth: false, premultipliedAlpha: true,
      preserveDrawingBuffer: true, powerPreference: "high-performance" });
    if (!gl) throw new Error("This browser has no WebGL 2, which drawing the scene needs.");
    this.gl = gl;
    // Halves keep what 8 bits lose: hundreds of faint layers, each rounded, add up to a wrong colour.
    this.halves = Boolean(gl.getExtension("EXT_color_buffer_float") || gl.getExtension("EXT_color_buffer_half_float"));
    const info = gl.getExtension("WEBGL_debug_renderer_info");
    this.device = String(gl.getParameter(info ? info.UNMASKED_RENDERER_WEBGL : gl.RENDERER));
    this.software = /swiftshader|llvmpipe|software|basic render/i.test(this.device);
    this.colorProgram = this._program(WHOLE_TARGET, COLOUR_PASS);
    this.splatProgram = this._program(SPLAT_VERTEX, SPLAT_FRAGMENT);
    this.presentProgram = this._program(WHOLE_TARGET, PRESENT_PASS);
    this._textures();
    this.states = new Uint8Array(4 * TEXTURE_WIDTH * splats.rows); // layer, strength, flags, paint
    this.look = { mode: "colour", threshold: 0.5, anyLayer: false, highlight: false, measuring: false, depthRange: [1, 10] };
    this.background = [0.1, 0.1, 0.12];
    this.drawn = 0;
    this.colorsStale = true;
    this.eye = null;
    // Many quads an instance: software renderers start every instance anew, which is most of their time.
    const corners = new Uint16Array(6 * QUADS);
    for (let k = 0; k < QUADS; k++) [0, 1, 2, 2, 1, 3].forEach((corner, j) => { corners[6 * k + j] = 4 * k + corner; });
    this.array = gl.createVertexArray();
    gl.bindVertexArray(this.array);
    gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, gl.createBuffer());
    gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, corners, gl.STATIC_DRAW);
    gl.bindVertexArray(null);
    this.empty = gl.createVertexArray();
  }

  _program(vertex, fragment) {
    const gl = this.gl, program = gl.createProgram();
    for (const [kind, source] of [[gl.VERTEX_SHADER, vertex], [gl.FRAGMENT_SHADER, fragment]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, source);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
      if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS) && !gl.isContextLost()) {
        throw new Error(`The graphics driver refuses a program: ${gl.getShaderInfoLog(shader)}`);
      }
    }
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS) && !gl.isContextLost()) {
      throw new Error(`The graphics driver refuses a program: ${gl.getProgramInfoLog(program)}`);
    }
    const uniforms = {}, n = gl.getProgramParameter(program, gl.ACTIVE_UNIFORMS);
    for (let i = 0; i < n; i++) {
      const { name } = gl.getActiveUniform(program, i);
      uniforms[name] = gl.getUniformLocation(program, name);
    }
    return { program, uniforms };
  }

  _texture(format, width, height, target = this.gl.TEXTURE_2D, layers = 1) {
    const gl = this.gl, texture = gl.createTexture();
    gl.bindTexture(target, texture);
    if (target === gl.TEXTURE_2D) gl.texStorage2D(target, 1, format, width, height);
    else gl.texStorage3D(target, 1, format, width, height, layers);
    for (const side of [gl.TEXTURE_WRAP_S, gl.TEXTURE_WRAP_T]) gl.texParameteri(target, side, gl.CLAMP_TO_EDGE);
    for (const filter of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER]) gl.texParameteri(target, filter, gl.NEAREST);
    return texture;
  }

  _textures() {
    const gl = this.gl, { rows, layers } = this.splats;
    const most = gl.getParameter(gl.MAX_TEXTURE_SIZE);
    if (rows > most) throw new Error(`This graphics card draws at most ${(most * TEXTURE_WIDTH) / 1e6} million Gaussians.`);
    this.geometry = this._texture(gl.RGBA32UI, TEXTURE_WIDTH, rows);
    this.shape = this._texture(gl.R32UI, TEXTURE_WIDTH, rows);
    this.base = this._texture(gl.RGBA8, TEXTURE_WIDTH, rows);
    // 128 is 0 for a coefficient, and what has not arrived counts for nothing through `degree`.
    this.harmonics = layers ? this._texture(gl.RGBA8, TEXTURE_WIDTH, rows, gl.TEXTURE_2D_ARRAY, layers)
      : this._texture(gl.RGBA8, 1, 1, gl.TEXTURE_2D_ARRAY, 1);
    this.stateTexture = this._texture(gl.RGBA8UI, TEXTURE_WIDTH, rows);
    this.order = this._texture(gl.R32UI, TEXTURE_WIDTH, rows);
    this.palette = this._texture(gl.RGBA8, 256, 2);
    this.paletteBytes = new Uint8Array(4 * 512);
    this.modeColors = this._texture(gl.RGBA8, 1, 1);
    this.modeRows = 1;
    const color = this.halves ? gl.RGBA16F : gl.RGBA8;
    this.colors = this._texture(color, TEXTURE_WIDTH, rows);
    this.colorTarget = this._target(this.colors);
    this.picture = null;
  }

  _target(texture) {
    const gl = this.gl, target = gl.createFramebuffer();
    gl.bindFramebuffer(gl.FRAMEBUFFER, target);
    gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, gl.TEXTURE_2D, texture, 0);
    return target;
  }

  /** Upload Gaussians that arrived; chunks begin at whole rows of the textures. */
  upload(start, n) {
    const gl = this.gl, { splats } = this, y = start / TEXTURE_WIDTH, h = Math.ceil(n / TEXTURE_WIDTH);
    const some = (array, parts) => array.subarray(parts * start, parts * (start + h * TEXTURE_WIDTH));
    const put = (texture, format, type, data) => {
      gl.bindTexture(gl.TEXTURE_2D, texture);
      gl.texSubImage2D(gl.TEXTURE_2D, 0, 0, y, TEXTURE_WIDTH, h, format, type, data);
    };
    put(this.geometry, gl.RGBA_INTEGER, gl.UNSIGNED_INT, some(splats.geometry, 4));
    put(this.shape, gl.RED_INTEGER, gl.UNSIGNED_INT, some(splats.shape, 1));
    put(this.base, gl.RGBA, gl.UNSIGNED_BYTE, some(splats.base, 4));
    put(this.stateTexture, gl.RGBA_INTEGER, gl.UNSIGNED_BYTE, some(this.states, 4));
    this.colorsStale = true;
  }

  /** Upload the coefficients of some Gaussians. */
  uploadHarmonics(bytes, start, n) {
    const gl = this.gl, h = Math.ceil(n / TEXTURE_WIDTH);
    gl.bindTexture(gl.TEXTURE_2D_ARRAY, this.harmonics);
    gl.texSubImage3D(gl.TEXTURE_2D_ARRAY, 0, 0, start / TEXTURE_WIDTH, 0, TEXTURE_WIDTH, h, this.splats.layers,
      gl.RGBA, gl.UNSIGNED_BYTE, this.splats.harmonics(bytes, n));
    this.colorsStale = true;
  }

  /** Upload `states` after a change. */
  uploadStates() {
    const gl = this.gl;
    gl.bindTexture(gl.TEXTURE_2D, this.stateTexture);
    gl.texSubImage2D(gl.TEXTURE_2D, 0, 0, 0, TEXTURE_WIDTH, this.splats.rows, gl.RGBA_INTEGER, gl.UNSIGNED_BYTE, this.states);
    this.colorsStale = true;
  }

  /**
   * Colours that numbers stand for, from 1 on.
   * @param paints Of [r, g, b, how bright what was painted is], 0 to 255 each.
   * @param layers Of [r, g, b].
   */
  setPalette(paints, layers) {
    const gl = this.gl;
    [paints, layers].forEach((row, y) => row.slice(0, 255).forEach((color, k) => {
      this.paletteBytes.set([...color, 255].slice(0, 4), 4 * (256 * y + k + 1));
    }));
    gl.bindTexture(gl.TEXTURE_2D, this.palette);
    gl.texSubImage2D(gl.TEXTURE_2D, 0, 0, 0, 256, 2, gl.RGBA, gl.UNSIGNED_BYTE, this.paletteBytes);
    this.colorsStale = true;
  }

  /** Colours of a mode, three bytes a Gaussian. */
  setModeColors(rgb) {
    const gl = this.gl, { rows, count } = this.splats;
    if (this.modeRows !== rows || rows === 1) {
      gl.deleteTexture(this.modeColors);
      this.modeColors = this._texture(gl.RGBA8, TEXTURE_WIDTH, rows);
      this.modeRows = rows;
    }
    const padded = new Uint8Array(4 * TEXTURE_WIDTH * rows);
    for (let g = 0; g < count; g++) {
      padded[4 * g] = rgb[3 * g]; padded[4 * g + 1] = rgb[3 * g + 1]; padded[4 * g + 2] = rgb[3 * g + 2];
    }
    gl.bindTexture(gl.TEXTURE_2D, this.modeColors);
    gl.texSubImage2D(gl.TEXTURE_2D, 0, 0, 0, TEXTURE_WIDTH, rows, gl.RGBA, gl.UNSIGNED_BYTE, padded);
    this.colorsStale = true;
  }

  /** What to draw, from far to near; see `Sorter`. */
  setOrder({ order, count }) {
    const gl = this.gl;
    gl.bindTexture(gl.TEXTURE_2D, this.order);
    if (count) gl.texSubImage2D(gl.TEXTURE_2D, 0, 0, 0, TEXTURE_WIDTH, order.length / TEXTURE_WIDTH, gl.RED_INTEGER, gl.UNSIGNED_INT, order);
    this.drawn = count;
  }

  _bind(program, textures) {
    const gl = this.gl;
    gl.useProgram(program.program);
    Object.entries(textures).forEach(([name, [target, texture]], unitNumber) => {
      gl.activeTexture(gl.TEXTURE0 + unitNumber);
      gl.bindTexture(target, texture);
      gl.uniform1i(program.uniforms[name], unitNumber);
    });
    gl.activeTexture(gl.TEXTURE0);
    return program.uniforms;
  }

  _makeColors(eye) {
    const gl = this.gl, { look, splats } = this, { packing } = splats;
    const flat = gl.TEXTURE_2D;
    const u = this._bind(this.colorProgram, {
      geometry: [flat, this.geometry], base: [flat, this.base],
      harmonics: [gl.TEXTURE_2D_ARRAY, this.harmonics], states: [flat, this.stateTexture],
      palette: [flat, this.palette], modeColors: [flat, this.modeColors],
    });
    gl.uniform2fv(u.colorRange, packing.colors);
    gl.uniform3fv(u.bands, [...packing.harmonics, 0, 0, 0].slice(0, 3));
    gl.uniform3fv(u.eye, eye);
    gl.uniform1i(u.degree, splats.harmonicsArrived >= splats.count ? splats.degree : 0);
    gl.uniform1i(u.mode, MODES[look.mode]);
    gl.uniform1f(u.threshold, look.threshold);
    gl.uniform1f(u.highlight, look.highlight ? 1 : 0);
    gl.uniform1f(u.beside, this.beside);
    gl.uniform1i(u.anyLayer, look.anyLayer ? 1 : 0);
    gl.uniform2fv(u.depthRange, look.depthRange);
    gl.uniform1i(u.count, splats.arrived);
    gl.bindFramebuffer(gl.FRAMEBUFFER, this.colorTarget);
    gl.viewport(0, 0, TEXTURE_WIDTH, splats.rows);
    gl.disable(gl.BLEND);
    gl.bindVertexArray(this.empty);
    gl.drawArrays(gl.TRIANGLES, 0, 3);
    this.eye = eye;
    this.colorsStale = false;
  }

  /** How bright what is not selected is drawn while something is: as it is where colours are read or lengths measured. */
  get beside() {
    const { mode, anyLayer, highlight, measuring } = this.look;
    if (!highlight || measuring || (mode !== "colour" && mode !== "relevancy")) return 1;
    // What a text has dimmed already is dimmed less, or all around what was found would be black.
    return mode === "relevancy" && anyLayer ? 0.75 : 0.42;
  }

  /** Whether colours depend on where the camera is. */
  get followsEye() {
    return this.splats.degree > 0 || this.look.mode === "depth";
  }

  /**
   * Draw into the canvas.
   * @param camera Of the canvas's size in px, see `pinhole`.
   * @param scale Share of the canvas's sides that is drawn, and then enlarged.
   * @param options transparent: without a background; rough: with 8 bits, three times as fast in software.
   */
  draw(camera, scale = 1, { transparent = false, rough = false } = {}) {
    const gl = this.gl, { packing } = this.splats;
    const width = Math.max(1, Math.round(camera.width * scale)), height = Math.max(1, Math.round(camera.height * scale));
    const eye = positionOf(camera.viewmat);
    if (this.colorsStale || (this.followsEye && (!this.eye || length(sub(eye, this.eye)) > 0))) this._makeColors(eye);
    this._resize(width, height, this.halves && !rough);
    gl.bindFramebuffer(gl.FRAMEBUFFER, this.pictureTarget);
    gl.viewport(0, 0, width, height);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT);
    const flat = gl.TEXTURE_2D;
    const u = this._bind(this.splatProgram, {
      geometry: [flat, this.geometry], shape: [flat, this.shape], colors: [flat, this.colors], order: [flat, this.order],
    });
    gl.uniform1i(u.drawn, this.drawn);
    gl.uniformMatrix4fv(u.viewmat, true, camera.viewmat);
    const sx = width / camera.width, sy = height / camera.height;
    gl.uniform4f(u.K, camera.fx * sx, camera.fy * sy, camera.cx * sx, camera.cy * sy);
    gl.uniform2f(u.size, width, height);
    gl.uniform2fv(u.scaleRange, packing.log_scales);
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    gl.bindVertexArray(this.array);
    if (this.drawn) gl.drawElementsInstanced(gl.TRIANGLES, 6 * QUADS, gl.UNSIGNED_SHORT, 0, Math.ceil(this.drawn / QUADS));
    gl.disable(gl.BLEND);
    this._present(camera, width, height, transparent);
  }

  _resize(width, height, halves) {
    const gl = this.gl, size = `${width} ${height} ${halves}`;
    if (this.picture && this.pictureSize === size) return;
    if (this.picture) {
      gl.deleteTexture(this.picture);
      gl.deleteFramebuffer(this.pictureTarget);
    }
    this.picture = this._texture(halves ? gl.RGBA16F : gl.RGBA8, width, height);
    for (const filter of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER]) gl.texParameteri(gl.TEXTURE_2D, filter, gl.LINEAR);
    this.pictureTarget = this._target(this.picture);
    this.pictureSize = size;
  }

  _present(camera, width, height, transparent) {
    const gl = this.gl, u = this._bind(this.presentProgram, { picture: [gl.TEXTURE_2D, this.picture] });
    gl.bindFramebuffer(gl.FRAMEBUFFER, null);
    gl.viewport(0, 0, camera.width, camera.height);
    gl.uniform3fv(u.background, this.background);
    gl.uniform2f(u.scale, 1 / camera.width, 1 / camera.height);
    gl.uniform1i(u.transparent, transparent ? 1 : 0);
    gl.bindVertexArray(this.empty);
    gl.drawArrays(gl.TRIANGLES, 0, 3);
  }

  /** Pixels of the last picture, RGBA, top row first. */
  pixels() {
    const gl = this.gl, { width, height } = this.canvas, rows = new Uint8Array(4 * width * height);
    gl.bindFramebuffer(gl.FRAMEBUFFER, null);
    gl.readPixels(0, 0, width, height, gl.RGBA, gl.UNSIGNED_BYTE, rows);
    const out = new Uint8ClampedArray(rows.length);
    for (let y = 0; y < height; y++) out.set(rows.subarray(4 * width * (height - 1 - y), 4 * width * (height - y)), 4 * width * y);
    return out;
  }
}
