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
for (const tile of document.querySelectorAll("[data-tile]")) for (const event of ["pointerenter", "focus", "click"])
  tile.addEventListener(event, () => { document.getElementById("pointed").textContent = tile.dataset.tile; });
for (const handle of document.querySelectorAll(".compare input")) handle.addEventListener("input", () =>
  handle.parentNode.style.setProperty("--cut", handle.value + "%"));
function unfold() {
  const tile = document.getElementById(location.hash.slice(1));
  if (tile && tile.matches("details")) { tile.open = true; tile.scrollIntoView(); }
}
addEventListener("hashchange", unfold);
unfold();
