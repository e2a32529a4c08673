// SPDX-License-Identifier: GPL-3.0-or-later
// A mosaic to zoom and pan: OpenSeadragon draws its tiles, a filter of the browser turns their levels into shades,
// and what lies over it is drawn as SVG. What is shown, and how, the page's Python decides.

const SVG = "http://www.w3.org/2000/svg";
const MANY = 300; // outlines, of which more are drawn as one

const NEAR_PX = 8; // of the screen, from an outline to the pointer that is at it

function distance([x, y], [x1, y1], [x2, y2]) { // of a point from a line between two others
  const [dx, dy] = [x2 - x1, y2 - y1];
  const along = Math.max(0, Math.min(1, ((x - x1) * dx + (y - y1) * dy) / (dx * dx + dy * dy || 1)));
  return Math.hypot(x - x1 - along * dx, y - y1 - along * dy);
}

function script(url) {
  const known = document.querySelector(`script[src="${url}"]`);
  const element = known ?? document.createElement("script");
  if (window.OpenSeadragon) return Promise.resolve();
  return new Promise((resolve, reject) => {
    element.addEventListener("load", resolve);
    element.addEventListener("error", reject);
    if (!known) {
      element.src = url;
      document.head.appendChild(element);
    }
  });
}

function svg(name, attributes, parent) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  parent?.appendChild(element);
  return element;
}

export default {
  template: "<div class='mosaic-canvas'></div>",
  props: { source: Object, shades: Array, outlines: Array, names: Array, label: String, resourcePath: String },

  async mounted() {
    await this.$nextTick(); // nicegui tells where its files are by then
    await script(`${window.path_prefix ?? ""}${this.resourcePath}/openseadragon.min.js`);
    const still = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
    const { url, width, height, tile, coarsest, finest } = this.source;
    this.viewer = window.OpenSeadragon({
      element: this.$el,
      drawer: "canvas",
      showNavigationControl: false,
      animationTime: still ? 0 : 0.4,
      immediateRender: true,
      minZoomImageRatio: 0.7,
      maxZoomPixelRatio: 8,
      visibilityRatio: 0.4,
      gestureSettingsMouse: { clickToZoom: false, dblClickToZoom: true },
      tileSources: {
        width, height, tileSize: tile, minLevel: coarsest, maxLevel: finest,
        getTileUrl: (level, column, row) => `${url}/${level}/${column}_${row}.png`,
      },
    });
    this.viewer.canvas.setAttribute("role", "application");
    this.viewer.canvas.setAttribute("aria-label", this.label);
    this.addFilter();
    this.addLayers(width, height);
    this.viewer.addHandler("tile-load-failed", () => this.$emit("failed"));
  },

  beforeUnmount() {
    this.viewer?.destroy();
  },

  methods: {
    addFilter() {
      const id = `look-${this.$el.id}`;
      const hidden = svg("svg", { width: 0, height: 0, "aria-hidden": "true", style: "position:absolute" }, this.$el);
      const filter = svg("filter", { id, x: 0, y: 0, width: 1, height: 1, "color-interpolation-filters": "sRGB" }, hidden);
      const transfer = svg("feComponentTransfer", {}, filter);
      this.functions = ["R", "G", "B"].map((channel) => svg(`feFunc${channel}`, { type: "table" }, transfer));
      this.look(this.shades);
      this.viewer.drawer.canvas.style.filter = `url(#${id})`;
    },

    addLayers(width, height) {
      this.layers = svg("svg", { class: "mosaic-layers", preserveAspectRatio: "none", "aria-hidden": "true" });
      this.viewer.canvas.appendChild(this.layers);
      this.covered = svg("g", { visibility: "hidden" }, this.layers);
      this.outlined = svg("g", { visibility: "hidden", class: "mosaic-outlines" }, this.layers);
      const paths = this.outlines.map((corners) => `M${corners.join(" ")}Z`);
      for (const d of paths.length > MANY ? [paths.join("")] : paths) svg("path", { d }, this.outlined);
      this.named = svg("path", { visibility: "hidden", class: "mosaic-named" }, this.layers);
      this.told = document.createElement("div");
      this.told.className = "mosaic-name";
      this.told.hidden = true;
      this.viewer.canvas.appendChild(this.told);
      this.viewer.canvas.addEventListener("pointermove", (event) => this.nameAt(event));
      this.viewer.canvas.addEventListener("pointerleave", () => this.name(this.marked ?? -1));
      const follow = () => {
        const { x, y, width: w, height: h } = this.viewer.viewport.getBounds(true);
        this.layers.setAttribute("viewBox", [x, y, w, h].map((side) => side * width).join(" "));
      };
      for (const event of ["open", "update-viewport", "resize"]) this.viewer.addHandler(event, follow);
    },

    look(shades) {
      this.functions?.forEach((one, channel) => {
        one.setAttribute("tableValues", shades[Math.min(channel, shades.length - 1)].join(" "));
      });
    },

    showCoverage(shown, { url, width, height }) {
      if (!this.covered.firstChild) {
        svg("image", { href: url, x: 0, y: 0, width, height, preserveAspectRatio: "none" }, this.covered);
      }
      this.covered.setAttribute("visibility", shown ? "visible" : "hidden");
    },

    showOutlines(shown) {
      this.outlined.setAttribute("visibility", shown ? "visible" : "hidden");
      this.areOutlined = shown;
      this.mark(-1);
    },

    mark(number) { // the outline that was chosen from the list
      this.marked = number;
      this.name(number);
    },

    nameAt(event) { // the outline at the pointer, if there is one
      if (!this.areOutlined) return;
      const { left, top } = this.viewer.canvas.getBoundingClientRect();
      const at = new window.OpenSeadragon.Point(event.clientX - left, event.clientY - top);
      const { x, y } = this.viewer.viewport.viewerElementToImageCoordinates(at);
      const near = NEAR_PX / this.viewer.viewport.viewportToImageZoom(this.viewer.viewport.getZoom(true));
      let nearest = { far: near, number: this.marked ?? -1 };
      this.outlines.forEach((corners, number) => {
        const far = Math.min(...corners.map((one, n) => distance([x, y], one, corners[(n + 1) % corners.length])));
        if (far < nearest.far) nearest = { far, number };
      });
      this.name(nearest.number, at);
    },

    name(number, at = { x: 8, y: 8 }) {
      this.told.hidden = number < 0;
      this.named.setAttribute("visibility", number < 0 ? "hidden" : "visible");
      if (number < 0) return;
      this.told.textContent = this.names[number];
      this.named.setAttribute("d", `M${this.outlines[number].join(" ")}Z`);
      const { clientWidth: width, clientHeight: height } = this.viewer.canvas;
      this.told.style.left = `${Math.max(0, Math.min(at.x + 12, width - this.told.offsetWidth))}px`;
      this.told.style.top = `${Math.max(0, Math.min(at.y + 12, height - this.told.offsetHeight))}px`;
    },

    zoomBy(times) {
      this.viewer.viewport.zoomBy(times).applyConstraints();
    },

    whole() {
      this.viewer.viewport.goHome();
    },

    fullSize() {
      this.viewer.viewport.zoomTo(this.viewer.viewport.imageToViewportZoom(1 / window.devicePixelRatio));
      this.viewer.viewport.applyConstraints();
    },

    fullScreen() {
      const all = this.$el.closest(".mosaic");
      if (document.fullscreenElement) document.exitFullscreen();
      else all.requestFullscreen?.();
    },
  },
};
