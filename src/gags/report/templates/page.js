// Everything here is a comfort: without it photo and render stand side by side, and nothing is missing.
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
