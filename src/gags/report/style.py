"""Style sheet and script of the report's page."""

CSS = """
:root { color-scheme: light dark; --paper: #fbfaf8; --card: #fff; --ink: #1d2025; --faint: #626873;
  --line: #e3e1dc; --accent: #b4470f; --good: #12704f; --good-bg: #dcf2e8; --bad: #a3282d; --bad-bg: #fbe3e2;
  --note-bg: #fdf1d8; --note: #6b4a06; --code: #f1efea; }
@media (prefers-color-scheme: dark) { :root { --paper: #14161a; --card: #1c1f25; --ink: #e9ebef;
  --faint: #9aa1ad; --line: #2d3139; --accent: #f7a05b; --good: #7fe0b8; --good-bg: #14382b; --bad: #ff9d9a;
  --bad-bg: #451d1f; --note-bg: #37290c; --note: #f4d58b; --code: #24282f; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1280px; padding: 0 clamp(14px, 3vw, 36px) 64px; background: var(--paper);
  color: var(--ink); font: 16px/1.5 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif;
  overflow-wrap: anywhere; }
h1 { font-size: clamp(30px, 5vw, 46px); line-height: 1.1; margin: 40px 0 6px; letter-spacing: -.02em; }
h2 { font-size: 26px; margin: 56px 0 6px; letter-spacing: -.01em; }
h3 { font-size: 19px; margin: 32px 0 10px; display: flex; flex-wrap: wrap; gap: 4px 12px;
  align-items: baseline; }
p { margin: 6px 0 14px; max-width: 74ch; }
.faint, figcaption { color: var(--faint); }
.small, figcaption { font-size: 14px; }
nav { position: sticky; top: 0; z-index: 3; display: flex; flex-wrap: wrap; gap: 4px 20px;
  padding: 10px 0; margin: 24px 0 0; background: var(--paper); border-bottom: 1px solid var(--line); }
a { color: var(--accent); text-underline-offset: 3px; }
nav a { text-decoration: none; font-weight: 600; }
section { scroll-margin-top: 56px; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(46%, 168px), 1fr)); gap: 12px;
  margin: 22px 0; }
.tile { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 12px 16px; }
.tile b { display: block; font-size: clamp(20px, 2.4vw, 25px); line-height: 1.25;
  font-variant-numeric: tabular-nums; white-space: nowrap; }
.tile span { color: var(--faint); font-size: 14px; }
.notice { background: var(--note-bg); color: var(--note); border-radius: 10px; padding: 12px 16px;
  margin: 14px 0; max-width: none; }
.times { display: flex; height: 14px; border-radius: 7px; overflow: hidden; gap: 2px; margin: 20px 0 8px; }
.times i { min-width: 3px; }
.keys { display: flex; flex-wrap: wrap; gap: 4px 18px; font-size: 14px; color: var(--faint); padding: 0;
  margin: 0 0 12px; list-style: none; }
.keys i { display: inline-block; width: 11px; height: 11px; border-radius: 3px; margin-right: 7px; }
.keys .ring { border-radius: 50%; border: 2px solid #fff; outline: 1px solid #111; background: #777; }
.keys .stroke { height: 4px; width: 20px; vertical-align: middle; outline: 1px solid #111; }
.keys .ramp { width: 120px; background: linear-gradient(90deg, #8883 0 35%, #781c6d 50%, #bb3754, #ed6925,
  #fbb61a, #fcffa4); }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 380px), 1fr)); gap: 16px; }
.panels { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 260px), 1fr)); gap: 16px;
  margin-top: 16px; }
.thumbs { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(46%, 175px), 1fr)); gap: 14px; }
figure { margin: 0; background: var(--card); border: 1px solid var(--line); border-radius: 10px;
  overflow: hidden; }
figure:target { outline: 3px solid var(--accent); }
figcaption { padding: 9px 14px 11px; line-height: 1.4; }
figcaption b { color: var(--ink); }
img { display: block; width: 100%; height: auto; background: #8883; }
.answer figcaption { display: flex; gap: 12px; align-items: center; justify-content: space-between; }
.answer .cut { width: 116px; height: 87px; object-fit: contain; border-radius: 6px; flex: none;
  background: #bcbcbc; }
.nothing { width: 104px; flex: none; text-align: center; font-size: 13px; }
.badge { display: inline-block; border-radius: 99px; padding: 1px 10px; font-size: 13px; font-weight: 600;
  background: var(--code); color: var(--faint); white-space: nowrap; }
h3 .badge, h3 .small { font-weight: 500; }
h3.title::first-letter { text-transform: uppercase; }
.good { background: var(--good-bg); color: var(--good); }
.bad { background: var(--bad-bg); color: var(--bad); }
.compare { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 380px), 1fr)); gap: 16px; }
.compare.on { display: block; position: relative; border-radius: 10px; overflow: hidden; --cut: 50%; }
.compare.on figure { border: 0; border-radius: 0; }
.compare.on figure + figure { position: absolute; inset: 0; background: none;
  clip-path: inset(0 0 0 var(--cut)); }
.compare.on img { height: 100%; }
.compare.on figcaption { position: absolute; bottom: 10px; left: 10px; padding: 2px 10px; border-radius: 99px;
  background: #000a; color: #fff; }
.compare.on figure + figure figcaption { left: auto; right: 10px; }
.compare .handle { position: absolute; top: 0; bottom: 0; left: var(--cut); width: 3px; margin-left: -1px;
  background: #fff; box-shadow: 0 0 5px #000a; pointer-events: none; }
.compare .handle::after { content: "\\2194"; position: absolute; top: 50%; left: 50%; width: 38px;
  height: 38px; margin: -19px; border-radius: 50%; background: #fff; color: #222; font: 22px/36px sans-serif;
  text-align: center; box-shadow: 0 1px 6px #0008; }
.compare input { position: absolute; inset: 0; width: 100%; height: 100%; margin: 0; opacity: 0;
  cursor: ew-resize; touch-action: pan-y; }
.compare.on:focus-within { outline: 3px solid var(--accent); outline-offset: 2px; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; max-width: 820px; font-variant-numeric: tabular-nums;
  margin: 10px 0 20px; overflow-wrap: normal; }
th, td { text-align: left; padding: 7px 18px 7px 0; border-bottom: 1px solid var(--line); }
th { font-size: 14px; color: var(--faint); font-weight: 600; }
td.n, th.n { text-align: right; width: 1%; white-space: nowrap; }
td.bar { width: 34%; padding-right: 0; }
td.bar i { display: block; height: 9px; border-radius: 5px; background: var(--accent); min-width: 2px; }
.command { display: flex; align-items: center; gap: 10px; background: var(--code); border-radius: 8px;
  padding: 8px 8px 8px 14px; margin: 4px 0 14px; }
code { font: 14px/1.5 ui-monospace, "SFMono-Regular", "DejaVu Sans Mono", monospace; }
.command code { flex: 1; white-space: pre-wrap; user-select: all; }
.command button { font: 600 13px system-ui, sans-serif; padding: 6px 14px; border: 1px solid var(--line);
  border-radius: 6px; background: var(--card); color: var(--ink); cursor: pointer; }
.zoomable { cursor: zoom-in; }
dialog { border: 0; padding: 0; max-width: 97vw; max-height: 96vh; background: none; }
dialog img { max-width: 97vw; max-height: 90vh; width: 97vw; object-fit: contain; background: none;
  cursor: zoom-out; }
dialog p { color: #fff; text-align: center; margin: 6px auto; }
dialog::backdrop { background: #000d; }
footer { margin-top: 56px; padding-top: 14px; border-top: 1px solid var(--line); color: var(--faint);
  font-size: 14px; }
@media print { nav, .command button { display: none; } figure, .tile { break-inside: avoid; } }
"""

# Everything the script adds is a comfort: without it photo and render stand side by side.
JS = """
for (const box of document.querySelectorAll(".compare")) {
  if (box.children.length < 2) continue;
  const handle = document.createElement("div"), range = document.createElement("input");
  handle.className = "handle";
  Object.assign(range, {type: "range", min: 0, max: 100, step: 0.5, value: 50});
  range.setAttribute("aria-label", "Photo to the left, render to the right");
  range.addEventListener("input", () => box.style.setProperty("--cut", range.value + "%"));
  box.classList.add("on");
  box.append(handle, range);
}
const dialog = document.createElement("dialog"), large = document.createElement("img"),
  words = document.createElement("p");
dialog.append(large, words);
document.body.append(dialog);
dialog.addEventListener("click", () => dialog.close());
for (const img of document.querySelectorAll("figure img")) {
  if (img.closest(".compare") || img.closest("a")) continue;
  const open = () => {
    large.src = img.src;
    large.alt = words.textContent = img.alt;
    dialog.showModal();
  };
  img.classList.add("zoomable");
  img.tabIndex = 0;
  img.addEventListener("click", open);
  img.addEventListener("keydown", (event) => { if (event.key === "Enter") open(); });
}
for (const line of document.querySelectorAll(".command")) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "Copy";
  button.addEventListener("click", async () => {
    const code = line.querySelector("code");
    try {
      await navigator.clipboard.writeText(code.textContent);
    } catch {  // pages opened from disk may not be allowed to
      getSelection().selectAllChildren(code);
      document.execCommand("copy");
    }
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
  line.append(button);
}
"""
