"use strict";
// The bar at the picture's edge, and the sheets of the panel.

const ICONS = { // outlines in a square of 24
  point: "M5 3l6 17 2.4-6.6L20 11z", box: "M4 8l8-4 8 4v8l-8 4-8-4zM4 8l8 4 8-4M12 12v8",
  sphere: "M12 3a9 9 0 100 18 9 9 0 000-18zM3 12c3 3 15 3 18 0", lasso: "M12 4c5 0 9 2.500 9 6s-4 6-9 6-9-2.500-9-6 4-6 9-6zM7 15c-3 2 0 5 2 6",
  measure: "M3 17L17 3l4 4L7 21zM7 13l2 2M10 10l2 2M13 7l2 2", undo: "M9 5L4 10l5 5M4 10h10a6 6 0 010 12h-3",
  redo: "M15 5l5 5-5 5M20 10H10a6 6 0 000 12h3", home: "M3 11l9-8 9 8M6 9v11h12V9", upright: "M12 21V4M6 9l6-6 6 6M4 21h16",
  frame: "M4 9V4h5M15 4h5v5M20 15v5h-5M9 20H4v-5M9 9h6v6H9z", help: "M9 9a3 3 0 115 2c-1.500 1-2 1.500-2 3M12 18v.5",
};
const TOOLS = [["point", "Point at things", "V"], ["box", "Box", "B"], ["sphere", "Sphere", "O"], ["lasso", "Lasso", "L"], ["measure", "Measure", "M"]];
const HINTS = {
  point: "", box: "Drag outwards from the middle of the box.", sphere: "Drag outwards from the middle of the sphere.",
  lasso: "Draw around what to select. The right button turns the scene.", measure: "Click on two points.",
};

function icon(name) {
  const space = "http://www.w3.org/2000/svg", svg = document.createElementNS(space, "svg"), path = document.createElementNS(space, "path");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

class Toolbar {
  constructor(app, element) {
    this.app = app;
    const make = (name, label, key, act) => {
      const made = button("", act, { "aria-label": `${label} (${key})`, title: `${label} (${key})` });
      made.append(icon(name));
      return made;
    };
    this.tools = Object.fromEntries(TOOLS.map(([name, label, key]) => [name, make(name, label, key, () => app.setTool(name))]));
    this.undo = make("undo", "Undo", "Ctrl+Z", () => app.undo(false));
    this.redo = make("redo", "Redo", "Ctrl+Shift+Z", () => app.undo(true));
    element.replaceChildren(...Object.values(this.tools), el("hr"), this.undo, this.redo, el("hr"),
      make("home", "First view", "H", () => app.controls.goTo(app.view.home)),
      make("frame", "Frame what is selected", "F", () => app.frameSelected()),
      make("upright", "Upright", "U", () => app.upright()),
      make("help", "Keys and gestures", "?", () => byId("help").showModal()));
  }

  show() {
    const { app } = this;
    for (const [name, made] of Object.entries(this.tools)) made.setAttribute("aria-pressed", String(app.chooser.tool === name));
    this.undo.disabled = app.history.at === 0;
    this.redo.disabled = app.history.at === app.history.steps.length - 1;
    byId("hint").textContent = HINTS[app.chooser.tool];
  }
}

const MODE_NAMES = { colour: "Colours", relevancy: "What texts match", granularity: "Granularity", features: "Features", depth: "Depth", things: "Things" };

/** What is selected: its names, size, and what can be done with it. */
class Selected {
  constructor(app) {
    this.app = app;
    this.color = el("input", { type: "color", value: "#ff4040", "aria-label": "Colour to paint with" });
    this.text = el("div", { id: "selected", role: "status", "aria-live": "polite" });
    this.actions = el("div", { class: "buttons" },
      button("Frame", () => app.frameSelected(), { title: "F" }), button("Delete", () => app.remove(), { title: "Delete" }),
      button("Paint", () => app.paint(), { title: "P" }), this.color,
      button("Hide others", () => app.isolate()));
    this.element = el("div", {}, this.text, this.actions);
  }

  show() {
    const { selected, info } = this.app.history.now;
    this.actions.hidden = !selected;
    if (!selected) {
      this.text.replaceChildren(el("p", { class: "quiet" }, "Click on a thing; click again for a part of it."));
      return;
    }
    const title = info?.sure === false ? `Unsure: ${info.title}?` : info?.title ?? "Selection";
    const names = (info?.names ?? []).slice(info?.sure === false ? 0 : 1, 5).map(([word, score]) => `${word} ${score.toFixed(2)}`);
    const size = info?.boxes?.length === 1 ? info.boxes[0].size.map((v) => this.app.lengthText(v, false)).join(" × ") : "";
    const lines = [`${grouped(selected.size)} Gaussians`];
    if (size) lines.push(`${size} ${this.app.unitName}`);
    if (names.length) lines.push(`also: ${names.join(", ")}`);
    this.text.replaceChildren(el("strong", {}, title), ...lines.map((line, k) => el("p", k ? { class: "quiet" } : {}, line)));
  }
}

/** Every step of the session; a click goes back or forward to it. */
class Steps {
  constructor(app) {
    this.app = app;
    this.element = el("ol", { id: "steps", "aria-label": "Steps; choose one to go back to it" });
  }

  show() {
    const { history } = this.app;
    this.element.replaceChildren(...history.steps.map(({ label }, k) => el("li", { class: k > history.at ? "undone" : "" },
      button(label, () => history.jump(k), { class: "plain name", "aria-current": k === history.at ? "step" : null }))));
    this.element.scrollTop = this.element.scrollHeight;
  }
}

/** What is shown, from where, and how bright the page is. */
function lookSheet(app) {
  const modes = ["colour", "relevancy", "things", "granularity", "features", "depth"].filter((mode) => app.modes.includes(mode));
  const mode = el("select", { id: "mode", "aria-label": "What colours show" }, ...modes.map((name) => el("option", { value: name }, MODE_NAMES[name])));
  mode.addEventListener("change", () => trying(() => app.setMode(mode.value)));
  const photo = el("select", { id: "photo", "aria-label": "Look from where a photo was taken" }, el("option", { value: "" }, "a photo …"),
    ...app.scene.cameras.map(({ name }) => el("option", { value: name }, name)));
  photo.addEventListener("change", () => {
    const camera = app.scene.cameras.find(({ name }) => name === photo.value);
    if (camera) app.controls.goTo(app.poseOfPhoto(camera));
    photo.value = "";
  });
  const axes = { "of the photos": app.scene.up, x: [1, 0, 0], "−x": [-1, 0, 0], y: [0, 1, 0], "−y": [0, -1, 0], z: [0, 0, 1], "−z": [0, 0, -1] };
  const up = el("select", { "aria-label": "What is up" }, ...Object.keys(axes).map((name) => el("option", { value: name }, name)), el("option", { value: "view" }, "of the picture"));
  up.addEventListener("change", () => app.keepUp(axes[up.value] ?? app.view.camera().viewmat.slice(4, 7).map((v) => -v), up.value === "of the photos"));
  const theme = el("select", { "aria-label": "Light or dark" }, ...[["", "as the system"], ["light", "light"], ["dark", "dark"]].map(([value, name]) => el("option", { value }, name)));
  theme.value = memory.get("theme") ?? "";
  theme.addEventListener("change", () => app.setTheme(theme.value));
  return el("div", {}, el("label", { class: "field" }, "Show", mode), el("div", { id: "legend" }),
    el("label", { class: "field" }, "Go to", photo), el("label", { class: "field" }, "Up", up), el("label", { class: "field" }, "Page", theme),
    checkField("Cameras of the photos (C)", false, (on) => { app.showCameras = on; app.changed(); }, { id: "cameras" }));
}
