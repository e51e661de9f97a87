"use strict";
// What is known of the things: their tree, whose Gaussians are whose, and the list in the panel.

class Things {
  constructor(count) {
    this.count = count;
    this.owner = new Int32Array(count).fill(-1);
    this.byId = new Map();
    this.rows = new Map();
  }

  set(things, owner) {
    this.byId = new Map(things.map((thing) => [thing.id, { ...thing, within: [] }]));
    this.roots = [];
    for (const thing of this.byId.values()) {
      const parent = this.byId.get(thing.parent);
      if (parent) parent.within.push(thing);
      else this.roots.push(thing);
    }
    if (owner) this._count(owner);
    // What is sure of its name first, then large before small.
    const rank = (thing) => (thing.sure === false ? 1 : 0);
    const sort = (some) => some.sort((a, b) => rank(a) - rank(b) || b.count - a.count);
    sort(this.roots);
    for (const thing of this.byId.values()) sort(thing.within);
    this.rows.clear();
  }

  /** Counts are those of what a click selects, with what lies close around a thing. */
  _count(owner) {
    const own = new Map();
    for (const id of owner) own.set(id, (own.get(id) ?? 0) + 1);
    for (const thing of this.byId.values()) {
      thing.count = [...this.within(thing.id)].reduce((sum, id) => sum + (own.get(id) ?? 0), 0);
    }
    this.owner = owner;
  }

  get listed() {
    return [...this.byId.values()].filter((thing) => thing.listed);
  }

  /** A thing and all that lies in it. */
  within(id) {
    const found = new Set([id]);
    for (const thing of this.byId.get(id)?.within ?? []) for (const one of this.within(thing.id)) found.add(one);
    return found;
  }

  /** A thing and all that it lies in, from itself upwards. */
  chain(id) {
    const chain = [];
    for (let thing = this.byId.get(id); thing; thing = this.byId.get(thing.parent)) chain.push(thing);
    return chain;
  }

  /** Gaussians of a thing, as bits. */
  bits(id) {
    if (!this.rows.has(id)) {
      const inside = this.within(id), { owner } = this;
      this.rows.set(id, Bits.where(this.count, (g) => owner[g] >= 0 && inside.has(owner[g])));
      if (this.rows.size > 50) this.rows.delete(this.rows.keys().next().value);
    }
    return this.rows.get(id);
  }

  /** Things that a ray hits: what holds half of the weight along it, the thing first, then parts, then groups. */
  hit(hits) {
    const weights = new Map();
    hits.rows.forEach((g, k) => {
      for (const thing of this.chain(this.owner[g])) weights.set(thing, (weights.get(thing) ?? 0) + hits.weights[k]);
    });
    const found = [...weights].filter(([thing, weight]) => thing.listed && weight >= 0.5 * hits.total);
    const depth = (thing) => this.chain(thing.id).length;
    const rank = (thing) => (thing.kind === "group" ? 1000 - depth(thing) : depth(thing));
    return found.map(([thing]) => thing).sort((a, b) => rank(a) - rank(b));
  }
}

/** The tree of things in the panel. */
class ThingList {
  constructor(app) {
    this.app = app;
    this.filter = this.lacks = this.problem = "";
    this.tree = el("ul", { id: "things", role: "tree", "aria-label": "Things in the scene" });
    this.status = el("p", { class: "quiet" }, "The things of the scene are being found …");
    const search = el("input", { type: "search", placeholder: "Filter the list …", "aria-label": "Filter the list",
      oninput: () => { this.filter = search.value.trim().toLowerCase(); this.show(); } });
    this.element = el("div", {}, search, this.status, this.tree);
    this.open = new Set();
    this.tree.addEventListener("keydown", (event) => this._key(event));
  }

  show() {
    const { things } = this.app, { scrollTop } = this.tree, listed = things.listed;
    this.tree.replaceChildren(...this._ordered(things.roots ?? []).flatMap((thing) => this._rows(thing, 1)));
    const lines = this.tree.querySelectorAll(".thing"), shown = lines.length;
    if (shown) (this.tree.querySelector("[aria-selected=true] > .thing") ?? lines[0]).tabIndex = 0;
    this.tree.scrollTop = scrollTop;
    // A row that is gone from under the pointer never says that the pointer left it.
    if (!this.tree.querySelector(`[data-thing="${this.app.hovered}"]`)) this.app.hover(null);
    this.status.textContent = this._said(things, listed.length, shown);
  }

  _said(things, count, shown) {
    if (!things.roots) return this.problem || "The things of the scene are being found …";
    if (!things.byId.size) return `No thing was found in this scene. ${this.app.backend.can("ask anything") ? "Texts are answered all the same." : "So this page answers no text; `gags view` does."}`;
    if (!count) return "No thing stands out in this scene.";
    if (this.filter && !shown) return `None of ${count} things has “${this.filter}” in its name.`;
    return `${count} ${count === 1 ? "thing or part" : "things and parts"}${this.lacks ? `. ${this.lacks}` : ""}`;
  }

  /** The things could not be found. */
  failed(error) {
    this.problem = `The things of the scene could not be listed: ${error.message}`;
    this.show();
  }

  /** Put pictures, by id, into the rows, which stay: one may be about to be renamed. */
  picture(pictures) {
    for (const [id, picture] of Object.entries(pictures)) {
      const thing = this.app.things.byId.get(Number(id));
      if (thing) thing.thumbnail = picture;
      this.tree.querySelector(`[data-thing="${Number(id)}"] > .thing > .blank`)?.replaceWith(thumbnailOf(thing));
    }
  }

  /** The name by which the filter finds a thing: the shown one first, then others that fit it. */
  _match(thing) {
    const names = [thing.name, ...(thing.names ?? []).map(([word]) => word)];
    return names.find((name) => name.toLowerCase().includes(this.filter));
  }

  /** With a filter, things whose own name matches come first, and what holds such things. */
  _ordered(some) {
    if (!this.filter) return some;
    const named = (thing) => (thing.listed && this._match(thing) === thing.name) || thing.within.some(named);
    return [true, false].flatMap((yes) => some.filter((thing) => named(thing) === yes));
  }

  _rows(thing, level) {
    const below = this._ordered(thing.within).flatMap((one) => this._rows(one, thing.listed ? level + 1 : level));
    if (!thing.listed) return below;
    if (this._match(thing) === undefined && !below.length) return [];
    return [this._row(thing, level, below)];
  }

  _row(thing, level, below) {
    const { app } = this, hidden = app.isHidden(thing.id), open = this.filter !== "" || this.open.has(thing.id);
    const selected = app.history.now.info?.thing === thing.id;
    const line = el("div", { class: "thing", tabindex: -1,
      onmouseenter: () => app.hover(thing.id), onmouseleave: () => app.hover(null),
      onclick: (event) => app.selectThing(thing.id, { frame: true, how: how(event) }),
      ondblclick: () => this._rename(thing, line) });
    const toggle = button(below.length ? (open ? "▾" : "▸") : "", (event) => {
      event.stopPropagation();
      if (!this.open.delete(thing.id)) this.open.add(thing.id);
      this.show();
    }, { class: "twist", tabindex: -1, "aria-hidden": "true", disabled: !below.length });
    const picture = thumbnailOf(thing);
    const match = this._match(thing), other = match !== undefined && match !== thing.name;
    const name = el("span", { class: thing.sure === false ? "name unsure" : "name", title: other ? `or “${match}”` : null }, thing.name + (thing.sure === false ? "?" : ""),
      other ? el("span", { class: "quiet" }, ` or “${match}”`) : null);
    const eye = button(hidden ? "show" : "hide", (event) => { event.stopPropagation(); app.toggleHidden(thing.id); },
      { class: "small", "aria-label": `${hidden ? "Show" : "Hide"} ${thing.name}` });
    const rename = button("✎", (event) => { event.stopPropagation(); this._rename(thing, line); },
      { class: "small", "aria-label": `Rename ${thing.name}`, title: "Rename" });
    line.append(toggle, picture, name, rename, eye, el("span", { class: "count" }, grouped(thing.count)));
    const item = el("li", { role: "treeitem", "aria-level": level, "aria-selected": selected ? "true" : "false",
      "aria-label": `${thing.name}${other ? `, or ${match}` : ""}, ${grouped(thing.count)} Gaussians`, "data-thing": thing.id,
      class: hidden ? "hidden" : "" }, line);
    if (below.length) {
      item.setAttribute("aria-expanded", String(open));
      if (open) item.append(el("ul", { role: "group" }, ...below));
    }
    return item;
  }

  /** Arrows go through the list, Enter selects. */
  _key(event) {
    const lines = [...this.tree.querySelectorAll(".thing")], at = lines.indexOf(document.activeElement);
    if (at < 0 || event.target.tagName === "INPUT") return;
    const id = Number(lines[at].parentElement.dataset.thing);
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      lines[clamp(at + (event.key === "ArrowDown" ? 1 : -1), 0, lines.length - 1)].focus();
    } else if (event.key === "Enter") this.app.selectThing(id, { frame: true, how: how(event) });
    else if (event.key === "F2") this._rename(this.app.things.byId.get(id), lines[at]);
    else if (event.key === "ArrowRight" || event.key === "ArrowLeft") {
      if (event.key === "ArrowRight") this.open.add(id);
      else this.open.delete(id);
      this.show();
      this.tree.querySelector(`[data-thing="${id}"] .thing`)?.focus();
    } else return;
    event.preventDefault();
    event.stopPropagation();
  }

  _rename(thing, line) {
    const input = el("input", { type: "text", value: thing.name, maxlength: 100, "aria-label": `New name of ${thing.name}` });
    let done = false;
    const end = async (keep) => {
      if (done) return;
      done = true;
      const name = input.value.trim().replace(/\s+/g, " ");
      if (keep && name && name !== thing.name) await this.app.rename(thing, name);
      this.show();
    };
    for (const kind of ["click", "dblclick"]) input.addEventListener(kind, (event) => event.stopPropagation());
    input.addEventListener("keydown", (event) => {
      event.stopPropagation();
      if (event.key === "Enter") end(true);
      if (event.key === "Escape") end(false);
    });
    input.addEventListener("blur", () => end(true));
    line.querySelector(".name").replaceWith(input);
    input.focus();
    input.select();
  }

  /** Mark the row of what is selected, and bring it into sight; rows stay the same, for a second click. */
  mark() {
    const { history, things } = this.app, id = history.now.info?.thing ?? null, hidden = history.now.hidden.join();
    const folded = id === null ? [] : things.chain(id).slice(1).filter((above) => !this.open.has(above.id));
    for (const above of folded) this.open.add(above.id);
    if (folded.length || hidden !== this.hidden) this.show();
    this.hidden = hidden;
    for (const item of this.tree.querySelectorAll("[role=treeitem]")) {
      const selected = Number(item.dataset.thing) === id;
      item.setAttribute("aria-selected", String(selected));
      item.firstChild.tabIndex = selected ? 0 : -1;
    }
    const line = this.tree.querySelector("[aria-selected=true] > .thing");
    if (!line) {
      const first = this.tree.querySelector(".thing");
      if (first) first.tabIndex = 0;
      return;
    }
    const top = line.offsetTop, { clientHeight, scrollTop } = this.tree; // the tree alone scrolls
    if (top < scrollTop || top > scrollTop + clientHeight - 40) this.tree.scrollTop = top - clientHeight / 2;
  }
}

function thumbnailOf(thing) {
  return thing.thumbnail ? el("img", { src: thing.thumbnail, alt: "", loading: "lazy" }) : el("span", { class: "blank" });
}

/** What a click does to the selection: shift adds, alt takes away, both together keep what is in both. */
function how(event) {
  return event.shiftKey && event.altKey ? "and" : event.shiftKey ? "add" : event.altKey ? "subtract" : "new";
}
