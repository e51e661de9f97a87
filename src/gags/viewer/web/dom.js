"use strict";
// Small helpers for the page. Text only ever goes in as text, so that no name of a thing can be markup.

const byId = (id) => document.getElementById(id);

/** An element with attributes, listeners (on…) and children; strings become text. */
function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "class") element.className = value;
    else if (name in element && typeof value === "boolean") element[name] = value;
    else if (name === "value") element.value = value;
    else if (value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

function button(text, onclick, attributes = {}) {
  return el("button", { type: "button", onclick, ...attributes }, text);
}

/** A part of the panel that can be folded. */
function sheet(title, open, ...children) {
  return el("details", open ? { open: true } : {}, el("summary", {}, title), ...children);
}

function numberField(label, value, onchange, attributes = {}) {
  const input = el("input", { type: "number", value: String(value), step: "any", ...attributes });
  input.addEventListener("change", () => onchange(Number(input.value), input));
  input.addEventListener("keydown", (event) => event.key === "Enter" && input.blur()); // keys are shortcuts again
  return el("label", { class: "field" }, label, input);
}

function checkField(label, checked, onchange, attributes = {}) {
  const input = el("input", { type: "checkbox", ...attributes });
  input.checked = checked;
  input.addEventListener("change", () => onchange(input.checked));
  return el("label", { class: "check" }, input, label);
}

/** Say something for a while; errors stay until they are closed. `lasts`: as long as it is true, others give way. */
function notify(text, kind = "note", lasts = false) {
  const box = byId("notices");
  for (const old of [...box.children]) if (old.dataset.text === text) old.remove();
  const note = el("div", { class: `notice ${kind}`, "data-text": text, "data-lasts": lasts }, el("span", {}, text));
  note.append(button("×", () => note.remove(), { "aria-label": "Close this note" }));
  box.append(note);
  const passing = [...box.querySelectorAll("[data-lasts=false]")];
  while (box.children.length > 4 && passing.length > 1) passing.shift().remove();
  if (kind !== "error") setTimeout(() => note.remove(), 6000);
  return note;
}

/** Run what may fail and say so. */
async function trying(work) {
  try {
    return await work();
  } catch (error) {
    notify(error && error.message ? error.message : String(error), "error");
    return null;
  }
}

/** Let the browser save a file. */
function download(blob, name) {
  const link = el("a", { href: URL.createObjectURL(blob), download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

const grouped = (number) => number.toLocaleString("en");

/** A name that every file system takes. */
const fileName = (text) => text.normalize("NFKD").replace(/[^\w]+/g, "-").replace(/^-+|-+$/g, "").slice(0, 60) || "scene";

/** What this browser remembers for the page; pages from files may not be let remember anything. */
const memory = {
  get(key) {
    try {
      return JSON.parse(localStorage.getItem(`gags.${key}`));
    } catch {
      return null;
    }
  },
  set(key, value) {
    try {
      localStorage.setItem(`gags.${key}`, JSON.stringify(value));
    } catch {
      // Not remembered; nothing depends on it.
    }
  },
};

/** A colour as CSS has it, from [r, g, b] of 0 to 255, and back. */
const toHex = (rgb) => `#${rgb.map((v) => Math.round(v).toString(16).padStart(2, "0")).join("")}`;
const fromHex = (hex) => [1, 3, 5].map((k) => parseInt(hex.slice(k, k + 2), 16));

/** `work` once nobody has called for some milliseconds. */
function afterRest(milliseconds, work) {
  let timer = 0;
  return (...values) => {
    clearTimeout(timer);
    timer = setTimeout(() => work(...values), milliseconds);
  };
}
