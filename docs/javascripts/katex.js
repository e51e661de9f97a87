// Formulas are set by KaTeX where the page can load it; without a network they stay readable TeX.
window.addEventListener("load", () => {
  if (typeof renderMathInElement === "undefined") return;
  renderMathInElement(document.body, {
    delimiters: [
      { left: "\\[", right: "\\]", display: true },
      { left: "\\(", right: "\\)", display: false },
    ],
  });
});
