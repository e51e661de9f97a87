"use strict";
// The camera and how pointer and keys move it. It has no roll: it is a point to turn around, a distance, two
// angles about what is up.

const FLY_KEYS = { KeyW: [0, 0, 1], KeyS: [0, 0, -1], KeyA: [-1, 0, 0], KeyD: [1, 0, 0], KeyE: [0, 1, 0], KeyQ: [0, -1, 0] };
const STEEPEST = Math.PI / 2 - 0.01;

class View {
  constructor(start, up) {
    this.fov = clamp(start.fov_y || 0.9, 0.1, 2.5);
    this.width = 2;
    this.height = 2;
    this.setUp(up);
    this.look(start.position, start.target);
    this.home = this.pose();
  }

  /** What is up from now on; position and target stay. */
  setUp(up) {
    const before = this.up ? this.pose() : null;
    this.up = unit(up);
    this.east = perpendicular(this.up);
    this.north = cross(this.up, this.east);
    if (before) this.look(before.position, before.target);
  }

  look(position, target) {
    const offset = sub(position, target);
    this.target = target.slice();
    this.distance = Math.max(length(offset), 1e-6);
    const d = unit(offset);
    this.pitch = clamp(Math.asin(clamp(dot(d, this.up), -1, 1)), -STEEPEST, STEEPEST);
    this.yaw = Math.atan2(dot(d, this.north), dot(d, this.east));
  }

  get position() {
    const flat = add(times(this.east, Math.cos(this.yaw)), times(this.north, Math.sin(this.yaw)));
    const d = add(times(flat, Math.cos(this.pitch)), times(this.up, Math.sin(this.pitch)));
    return add(this.target, times(d, this.distance));
  }

  pose() {
    return { position: this.position, target: this.target.slice(), up: this.up.slice(), fov_y: this.fov };
  }

  /** As the renderer wants it. A tall window loses at the sides and gains above and below, half and half. */
  camera(width = this.width, height = this.height) {
    const fov = width < height ? 2 * Math.atan(Math.tan(this.fov / 2) * Math.sqrt(height / width)) : this.fov;
    return pinhole(lookAt(this.position, this.target, this.up), Math.min(fov, 2.4), width, height);
  }

  orbit(dx, dy) {
    this.yaw -= dx;
    this.pitch = clamp(this.pitch + dy, -STEEPEST, STEEPEST);
  }

  /** Turn the head: the position stays. */
  turn(dx, dy) {
    const at = this.position;
    this.orbit(-dx, -dy);
    this.target = add(this.target, sub(at, this.position));
  }

  /** Move by shares of the distance along right, up and forward of the picture. */
  move(right, upward, forward) {
    const m = lookAt(this.position, this.target, this.up);
    const by = add(add(times(m.slice(0, 3), right), times(m.slice(4, 7), -upward)), times(m.slice(8, 11), forward));
    this.target = add(this.target, times(by, this.distance));
  }

  zoom(factor) {
    this.distance = clamp(this.distance * factor, 1e-6, 1e9);
  }

  /** Where to be to see all of a box, from a direction of length 1. */
  framing(box, direction) {
    const radius = Math.max(0.5 * length(box.size), 1e-6);
    const { fx, width, height } = this.camera();
    const half = Math.atan((0.5 * Math.min(width, height)) / fx);
    return { position: add(box.center, times(direction, (1.5 * radius) / Math.sin(half))), target: box.center };
  }
}

/** Pointer, wheel and keys → the view. `free()` says whether a drag moves the camera or belongs to a tool. */
class Controls {
  constructor(element, view, { changed, clicked, free }) {
    Object.assign(this, { element, view, changed, clicked, free });
    this.pointers = new Map();
    this.keys = new Set();
    this.flight = null;
    element.addEventListener("pointerdown", (event) => this._down(event));
    element.addEventListener("pointermove", (event) => this._move(event));
    for (const name of ["pointerup", "pointercancel"]) element.addEventListener(name, (event) => this._up(event));
    element.addEventListener("wheel", (event) => this._wheel(event), { passive: false });
    element.addEventListener("contextmenu", (event) => event.preventDefault());
    element.addEventListener("keydown", (event) => this._key(event, true));
    element.addEventListener("keyup", (event) => this._key(event, false));
    element.addEventListener("blur", () => this.keys.clear());
  }

  _down(event) {
    this.element.focus({ preventScroll: true });
    if (!this.free(event)) return;
    this.element.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, [event.offsetX, event.offsetY]);
    this.pressed = { at: [event.offsetX, event.offsetY], moved: this.pointers.size > 1, button: event.button };
    this.flight = null;
  }

  _move(event) {
    const before = this.pointers.get(event.pointerId);
    if (!before) return;
    const now = [event.offsetX, event.offsetY], dx = now[0] - before[0], dy = now[1] - before[1];
    if (Math.hypot(now[0] - this.pressed.at[0], now[1] - this.pressed.at[1]) > 4) this.pressed.moved = true;
    if (!this.pressed.moved) return;
    if (this.pointers.size === 2) {
      const other = [...this.pointers.entries()].find(([id]) => id !== event.pointerId)[1];
      const apart = (p) => Math.max(8, Math.hypot(p[0] - other[0], p[1] - other[1]));
      this.view.zoom(apart(before) / apart(now));
      this._pan(dx / 2, dy / 2);
    } else if (event.buttons & 2 || event.buttons & 4 || (event.shiftKey && event.buttons & 1)) this._pan(dx, dy);
    else {
      const speed = 2.8 / Math.max(300, Math.min(this.view.width, this.view.height) / (window.devicePixelRatio || 1));
      if (event.altKey) this.view.turn(dx * speed, dy * speed);
      else this.view.orbit(dx * speed, dy * speed);
    }
    this.pointers.set(event.pointerId, now);
    this.changed();
  }

  _pan(dx, dy) {
    const { fy, height } = this.view.camera(), px = height / this.element.clientHeight / fy;
    this.view.move(-dx * px, dy * px, 0);
  }

  _up(event) {
    if (!this.pointers.delete(event.pointerId)) return;
    if (!this.pressed.moved && event.type === "pointerup" && this.pressed.button === 0) this.clicked(event);
  }

  _wheel(event) {
    event.preventDefault();
    const lines = event.deltaMode === 1 ? 30 : 1;
    this.view.zoom(Math.exp(clamp(event.deltaY * lines, -300, 300) * 0.0012));
    this.flight = null;
    this.changed();
  }

  _key(event, down) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (FLY_KEYS[event.code]) {
      if (down) this.keys.add(event.code);
      else this.keys.delete(event.code);
      this.changed();
      event.preventDefault();
    }
  }

  /** Fly to a pose in a moment; at once for people who want less motion. */
  goTo(pose, seconds = 0.5) {
    const from = this.view.pose(), still = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
    if (pose.fov_y) this.view.fov = pose.fov_y;
    if (still || seconds <= 0) {
      this.view.look(pose.position, pose.target);
      this.flight = null;
    } else this.flight = { from, to: pose, began: performance.now(), seconds };
    this.changed();
  }

  /** Move on by the time that passed; whether anything moves. */
  step(now) {
    const passed = Math.min(0.1, (now - (this.last ?? now)) / 1000);
    this.last = now;
    if (this.flight) {
      const { from, to, began, seconds } = this.flight;
      const t = clamp((now - began) / 1000 / seconds, 0, 1), s = t * t * (3 - 2 * t);
      const mix = (a, b) => add(times(a, 1 - s), times(b, s));
      this.view.look(mix(from.position, to.position), mix(from.target, to.target));
      if (t >= 1) this.flight = null;
      return true;
    }
    if (!this.keys.size) return false;
    let by = [0, 0, 0];
    for (const code of this.keys) by = add(by, FLY_KEYS[code]);
    this.view.move(...times(by, 0.9 * passed));
    return true;
  }
}
