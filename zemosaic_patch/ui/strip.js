// The frames as a strip of small pictures, one of them large above it: arrow keys go from one to the next.
const USES_KEYS = "input, textarea, select, [contenteditable], [role=listbox], [role=menu], [role=dialog], .q-dialog, .q-menu";

export default {
  template: `
    <div class="strip">
      <figure v-if="at" class="strip-large">
        <div class="strip-sky">
          <p v-if="lost['large' + at.n]" class="strip-lost">{{ words.lost }}<template v-if="at.why">: {{ at.why }}</template></p>
          <img v-else :key="at.n" :src="picture(at.n, 'large')" :alt="at.name" @error="lost['large' + at.n] = true"
               :class="{gone: !used(at)}"></div>
        <figcaption>
          <span class="strip-name">{{ at.name }}</span>
          <span class="soft">{{ at.detail }}</span>
          <span :class="'verdict ' + at.state">{{ words[at.state] }}<template v-if="at.why">: {{ at.why }}</template></span>
          <button type="button" class="strip-toggle" v-if="!at.fixed" @click="toggle(at)">
            {{ used(at) ? words.take_out : at.state === 'out' ? words.put_back : words.take_in }}</button>
        </figcaption>
      </figure>
      <p class="soft strip-keys" :id="uid + 'keys'">{{ words.keys }}</p>
      <div class="strip-row" role="listbox" tabindex="0" :aria-label="words.frames" :aria-describedby="uid + 'keys'"
           :aria-activedescendant="at ? uid + at.n : null" @keydown="key" ref="row">
        <div v-for="one in list" :key="one.n" :id="uid + one.n" role="option" :aria-selected="one.n === chosen"
             :aria-label="one.name + ', ' + words[one.state] + (one.why ? ', ' + one.why : '')"
             :class="['strip-one', one.state, {chosen: one.n === chosen}]" @click="choose(one.n, true)">
          <i v-if="lost['small' + one.n]" class="strip-lost" aria-hidden="true">?</i>
          <img v-else :src="picture(one.n, 'small')" alt="" loading="lazy" draggable="false"
               @error="lost['small' + one.n] = true">
          <span aria-hidden="true">{{ marks[one.state] }}</span>
        </div>
      </div>
    </div>`,
  props: { look: String, items: Array, words: Object },
  data() {
    return {
      list: this.items.slice(),
      chosen: 0,
      lost: {}, // pictures that cannot be made, by size and number
      marks: { wait: "…", in: "✓", by_hand: "+", out: "✕", no: "–" },
      uid: "strip" + Math.random().toString(36).slice(2, 8) + "-",
    };
  },
  computed: {
    at() { return this.list[this.chosen]; },
  },
  mounted() {
    this.$emit("ready");
    document.addEventListener("keydown", this.anywhere);
  },
  beforeUnmount() { document.removeEventListener("keydown", this.anywhere); },
  methods: {
    picture(n, size) { return `/frame/${this.look}/${n}/${size}`; },
    merge(items) {
      for (const one of items) {
        this.list[one.n] = one;
        for (const size of ["large", "small"]) delete this.lost[size + one.n]; // its file may be whole by now
      }
    },
    choose(n, focus) {
      this.chosen = Math.max(0, Math.min(this.list.length - 1, n));
      for (const near of [1, 2, -1]) {
        if (this.list[this.chosen + near]) new Image().src = this.picture(this.chosen + near, "large");
      }
      if (focus) this.$refs.row.focus({ preventScroll: true });
      const shown = this.$refs.row.children[this.chosen];
      const row = this.$refs.row;
      if (shown.offsetLeft < row.scrollLeft || shown.offsetLeft + shown.offsetWidth > row.scrollLeft + row.clientWidth)
        row.scrollLeft = shown.offsetLeft - row.clientWidth / 2;
    },
    used(one) { return ["wait", "in", "by_hand"].includes(one.state); },
    toggle(one) {
      if (one && !one.fixed) this.$emit("toggle", { number: one.n, out: this.used(one) });
    },
    anywhere(event) { // as long as the strip is in sight, and nothing else wants the key
      const { top, bottom } = this.$el.getBoundingClientRect();
      const at = document.activeElement;
      const wanted = at !== document.body && at.closest(USES_KEYS);
      const presses = event.key === " " && at !== document.body && at.matches("a, button, [tabindex]");
      if (!event.defaultPrevented && !wanted && !presses && top < innerHeight && bottom > 0) this.key(event);
    },
    key(event) {
      if (event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
      const to = { ArrowLeft: this.chosen - 1, ArrowRight: this.chosen + 1, Home: 0, End: this.list.length - 1 }[event.key];
      if (to !== undefined) this.choose(to);
      else if (event.key === " " || event.key === "Delete") this.toggle(this.at);
      else return;
      event.preventDefault();
    },
  },
};
