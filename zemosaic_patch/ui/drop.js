// SPDX-License-Identifier: GPL-3.0-or-later
// A folder dropped anywhere on the page. Of a file dragged from elsewhere many browsers tell a page no place.
const KINDS = ["text/uri-list", "text/x-moz-url", "text/plain"]; // the page asks for them in this order

export default {
  template: "<span hidden></span>",
  mounted() {
    document.addEventListener("dragover", this.over);
    document.addEventListener("drop", this.dropped);
  },
  beforeUnmount() {
    document.removeEventListener("dragover", this.over);
    document.removeEventListener("drop", this.dropped);
  },
  methods: {
    typed(event) { // text that is dropped into a field goes there
      return event.target.closest?.("input, textarea") && !event.dataTransfer.types.includes("Files");
    },
    over(event) {
      if (!this.typed(event)) event.preventDefault();
    },
    dropped(event) {
      if (this.typed(event)) return;
      event.preventDefault(); // else the browser would open it instead of this page
      const told = KINDS.map((kind) => event.dataTransfer.getData(kind)).find(Boolean) ?? "";
      this.$emit("place", told);
    },
  },
};
