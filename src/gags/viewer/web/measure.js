"use strict";
// Lengths: between two points, of the box of what is selected; and the unit they are told in.

class Measure {
  constructor(app) {
    this.app = app;
    this.points = []; // ends of measured distances, two each
    app.overlay.painters.push((overlay) => this._paint(overlay));
    this.list = el("ul", { "aria-label": "Measured distances" });
    this.known = el("input", { type: "number", min: 0, step: "any", "aria-label": "Known length", placeholder: "1.20" });
    this.unit = el("input", { type: "text", maxlength: 12, value: "m", size: 4, "aria-label": "Unit of the known length" });
    this.set = button("Set the scale", () => trying(() => this._setUnit()));
    this.status = el("p", { class: "quiet" });
    this.element = el("div", {},
      el("div", { class: "buttons" }, button("Measure (M)", () => app.setTool("measure")), button("Clear", () => this.clear())),
      this.list,
      el("p", { class: "quiet" }, "Measure something whose length you know, then say how long it is:"),
      el("div", { class: "buttons" }, this.known, this.unit, this.set),
      this.status,
      checkField("Grid and axes (G)", false, (on) => { app.showGrid = on; app.changed(); }, { id: "grid" }));
  }

  /** A click of the tool. */
  click(x, y) {
    const hit = this.app.surface(x, y);
    if (!hit) {
      notify("There is nothing to measure from at this place.");
      return;
    }
    this.points.push(hit);
    this.show();
    this.app.changed();
  }

  clear() {
    this.points = [];
    this.show();
    this.app.changed();
  }

  get distances() {
    const pairs = [];
    for (let k = 0; k + 1 < this.points.length; k += 2) pairs.push([this.points[k], this.points[k + 1]]);
    return pairs;
  }

  show() {
    this.list.replaceChildren(...this.distances.map(([a, b], k) => el("li", { class: "distance" }, `${k + 1}: ${this.app.lengthText(length(sub(a, b)))}`)));
    const { unit } = this.app.scene;
    this.status.textContent = unit ? `1 unit of the capture is ${+unit.per_scene_unit.toPrecision(4)} ${unit.name}.`
      : "Lengths are in units of the capture until the scale is set.";
  }

  async _setUnit() {
    const last = this.distances.at(-1), known = Number(this.known.value), name = this.unit.value.trim();
    if (!last) throw new Error("Measure a distance first: choose Measure, then click on two points.");
    if (!(known > 0) || !Number.isFinite(known)) throw new Error("The known length must be a number above 0.");
    if (!name) throw new Error("Say which unit it is, as in: m");
    const measured = length(sub(...last));
    if (!(measured > 0)) throw new Error("Both points are at one place.");
    await this.app.backend.setUnit(measured, known, name);
    this.app.scene.unit = { name, per_scene_unit: known / measured };
    this.app.unitChanged();
    notify(`The scale is set: this distance is ${known} ${name}.`);
  }

  _paint(overlay) {
    const color = "#7ee2ff";
    for (const [a, b] of this.distances) {
      overlay.line(a, b, color, 2);
      overlay.label(times(add(a, b), 0.5), this.app.lengthText(length(sub(a, b))), color);
    }
    for (const point of this.points) overlay.dot(point, color);
  }
}
