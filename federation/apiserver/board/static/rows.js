// A list of any length, of which only the rows in sight are elements.

import { el, fill } from "./dom.js";

const ROW = 46; // px, as in style.css
const MARGIN = 6; // rows above and below

export class Rows {
  #items = [];
  #active = -1;

  /** `row(item)` gives a row's children; `choose(item)` hears what is picked. */
  constructor(root, row, choose) {
    this.row = row;
    this.choose = choose;
    this.inner = el("div", { class: "rows" });
    this.root = el("div", { class: "scroll", role: "listbox", tabindex: "0", onscroll: () => this.#draw(), onkeydown: (event) => this.#move(event) }, this.inner);
    fill(root, this.root);
    new ResizeObserver(() => this.#draw()).observe(this.root);
  }

  show(items, selected, label) {
    const active = this.#items[this.#active]?.key;
    this.#items = items;
    this.selected = selected;
    this.#active = items.findIndex((one) => one.key === (active ?? selected));
    this.root.setAttribute("aria-label", label);
    this.inner.style.blockSize = `${items.length * ROW}px`;
    this.#draw();
  }

  top() {
    this.root.scrollTop = 0;
  }

  #draw() {
    const first = Math.max(0, Math.floor(this.root.scrollTop / ROW) - MARGIN);
    const last = Math.min(this.#items.length, Math.ceil((this.root.scrollTop + this.root.clientHeight) / ROW) + MARGIN);
    const rows = [];
    for (let at = first; at < last; at += 1) {
      const item = this.#items[at];
      const element = el("div", {
        id: `row-${at}`, class: at === this.#active ? "row active" : "row", role: "option",
        "aria-selected": String(item.key === this.selected), "aria-setsize": this.#items.length, "aria-posinset": at + 1,
        onclick: () => this.#pick(at),
      }, this.row(item));
      element.style.transform = `translateY(${at * ROW}px)`;
      rows.push(element);
    }
    fill(this.inner, rows);
    if (this.#active >= first && this.#active < last) this.root.setAttribute("aria-activedescendant", `row-${this.#active}`);
    else this.root.removeAttribute("aria-activedescendant");
  }

  #pick(at) {
    this.#active = at;
    this.choose(this.#items[at]);
  }

  #move(event) {
    const page = Math.max(1, Math.floor(this.root.clientHeight / ROW) - 1);
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -this.#items.length, End: this.#items.length };
    if (event.key === "Enter" || event.key === " ") {
      if (this.#active >= 0) this.#pick(this.#active);
    } else if (event.key in steps && this.#items.length) {
      this.#active = Math.max(0, Math.min(this.#items.length - 1, this.#active + steps[event.key]));
      this.#reveal();
      this.#draw();
    } else {
      return;
    }
    event.preventDefault();
  }

  #reveal() {
    const top = this.#active * ROW;
    if (top < this.root.scrollTop) this.root.scrollTop = top;
    else if (top + ROW > this.root.scrollTop + this.root.clientHeight) this.root.scrollTop = top + ROW - this.root.clientHeight;
  }
}
