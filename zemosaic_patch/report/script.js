"use strict";
for (const button of document.querySelectorAll("thead button")) button.addEventListener("click", () => {
  const head = button.closest("th"), body = head.closest("table").tBodies[0];
  const up = head.getAttribute("aria-sort") !== "ascending";
  for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", up ? "ascending" : "descending");
  const key = row => row.cells[head.cellIndex].dataset.sort;
  const order = (a, b) => key(a) === "" || key(b) === "" ? (key(a) === "") - (key(b) === "")
    : (up ? 1 : -1) * (key(a) - key(b));
  body.append(...[...body.rows].sort(order));
});
function name(part) { document.getElementById("pointed").textContent = part.dataset.part; }
for (const part of document.querySelectorAll("[data-part]")) for (const event of ["pointerenter", "focus", "click"])
  part.addEventListener(event, () => name(part));
for (const handle of document.querySelectorAll(".compare input")) handle.addEventListener("input", () =>
  handle.parentNode.style.setProperty("--cut", handle.value + "%"));
function target() {
  const part = document.querySelector("[data-part]:target");
  if (part) name(part);
}
addEventListener("hashchange", target);
target();
