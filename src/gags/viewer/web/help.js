"use strict";
// The sheet of keys and gestures.

const HELP = [
  ["Move", [
    ["drag", "turn around the middle"], ["right-drag, or Shift + drag", "shift the picture"], ["Alt + drag", "look around"],
    ["scroll, pinch", "come nearer, go away"], ["W A S D, Q E", "fly; down and up"],
    ["H", "back to the first view"], ["U", "upright: the scene's up is up again"], ["F", "frame what is selected"]]],
  ["Find", [
    ["/", "go to the search field"], ["Enter", "keep the text, frame what fits best; again: the next one"],
    ["N", "the next one"], ["Esc", "clear the text; then select nothing"]]],
  ["Choose", [
    ["click", "select a thing; again: a part of it"], ["V", "point"], ["B", "box"], ["O", "sphere"], ["L", "lasso"],
    ["Shift", "add to the selection"], ["Alt", "take away from it"], ["Shift + Alt", "keep what is in both"],
    ["+ −", "grow, shrink"], ["I", "invert"]]],
  ["Change", [
    ["Delete", "delete what is selected"], ["P", "paint it in the chosen colour"], ["X", "hide or show the selected thing"],
    ["Ctrl + Z", "undo"], ["Ctrl + Shift + Z, Ctrl + Y", "redo"]]],
  ["More", [
    ["M", "measure a distance"], ["G", "grid and axes"], ["C", "cameras of the photos"], ["K", "add this view to the path"],
    ["?", "this sheet"]]],
];

function fillHelp(dialog, app) {
  const tables = HELP.map(([title, rows]) => el("section", {}, el("h3", {}, title),
    el("dl", {}, ...rows.flatMap(([keys, does]) => [el("dt", {}, keys), el("dd", {}, does)]))));
  // The button comes first: the dialog shows what has the focus, which is to be its beginning.
  dialog.replaceChildren(el("form", { method: "dialog" }, el("h2", {}, "Keys and gestures"), el("button", { autofocus: true }, "Close")),
    el("div", { class: "columns" }, ...tables), el("p", { class: "quiet" }, `Drawn by ${app.renderer.device}.`));
}

/** Keys that work wherever no text is being typed. */
function listenToKeys(app) {
  const keys = {
    v: () => app.setTool("point"), b: () => app.setTool("box"), o: () => app.setTool("sphere"), l: () => app.setTool("lasso"),
    m: () => app.setTool("measure"), h: () => app.controls.goTo(app.view.home), u: () => app.upright(), f: () => app.frameSelected(),
    g: () => byId("grid").click(), c: () => byId("cameras").click(), k: () => app.output.addKey(), i: () => app.chooser.invert(),
    n: () => trying(() => app.texts.enter()), p: () => app.paint(), x: () => app.hideSelected(),
    "+": () => app.chooser.grow(), "-": () => app.chooser.shrink(), Delete: () => app.remove(), Backspace: () => app.remove(),
    Escape: () => app.escape(), "/": () => byId("text").focus(), "?": () => byId("help").showModal(),
  };
  document.addEventListener("keydown", (event) => {
    const typing = /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName) && !/^(checkbox|range|color|radio)$/.test(event.target.type);
    if (typing || byId("help").open) return;
    const name = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (event.ctrlKey || event.metaKey) {
      if (name === "z" && !event.altKey) app.undo(event.shiftKey);
      else if (name === "y") app.undo(true);
      else return;
    } else if (event.altKey || !keys[name]) return;
    else keys[name]();
    event.preventDefault();
  });
}
