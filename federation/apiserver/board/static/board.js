// The map: parts of the world, regions in them, and a tile for each cluster.

import { el, fill, foreign } from "./dom.js";
import { bytes, round } from "./records.js";
import { mapOf } from "./regions.js";
import { HEALTH, many } from "./words.js";

const DENSE = 36; // from so many clusters on, tiles are small

export class Board {
  #tiles = new Map();
  #shape = "";

  constructor(root, choose) {
    this.root = root;
    this.choose = choose;
    root.addEventListener("keydown", (event) => this.#move(event));
  }

  /** `paint(name)` is what the selected object has there: {label, spoken, tone}, or null; no function: nothing is selected. */
  show(clusters, tally, selected, paint, scoped) {
    if (!clusters.length) {
      this.#shape = "";
      this.#tiles.clear();
      return fill(this.root, el("p", { class: "empty" }, "No clusters yet. ", el("code", {}, "federate join"), " makes one a member."));
    }
    const map = mapOf(clusters);
    const shape = JSON.stringify(map.map(([part, regions]) => [part, regions.map(([region, all]) => [region, all.map((one) => one.name)])]));
    if (shape !== this.#shape) this.#build(map, shape);
    const dense = clusters.length >= DENSE;
    this.root.classList.toggle("dense", dense);
    for (const [, regions] of map) {
      for (const [, all] of regions) {
        for (const cluster of all) this.#tile(cluster).show(cluster, tally.of(cluster.name), selected === cluster.name, paint, { scoped, dense });
      }
    }
    this.#summaries(map);
  }

  #tile(cluster) {
    if (!this.#tiles.has(cluster.name)) this.#tiles.set(cluster.name, new Tile(cluster.name, () => this.choose(cluster.name)));
    return this.#tiles.get(cluster.name);
  }

  #build(map, shape) {
    this.#shape = shape;
    const focused = document.activeElement;
    this.regions = [];
    const parts = map.map(([part, regions]) =>
      el("section", { class: "part", "aria-label": part }, el("h2", {}, part), regions.map(([region, clusters]) => {
        const summary = el("span", { class: "summary" });
        this.regions.push([summary, clusters.map((one) => one.name)]);
        return el("section", { class: "region" },
          el("h3", {}, region ? foreign(region, 63) : "No region", summary),
          el("ul", { class: "tiles" }, clusters.map((one) => el("li", {}, this.#tile(one).button))));
      })));
    fill(this.root, parts);
    const names = new Set(map.flatMap(([, regions]) => regions.flatMap(([, all]) => all.map((one) => one.name))));
    for (const name of this.#tiles.keys()) if (!names.has(name)) this.#tiles.delete(name);
    const buttons = this.#buttons();
    if (!buttons.some((one) => one.tabIndex === 0)) buttons[0].tabIndex = 0;
    if (buttons.includes(focused)) focused.focus();
  }

  #summaries(map) {
    const health = new Map(map.flatMap(([, regions]) => regions.flatMap(([, all]) => all.map((one) => [one.name, one.health]))));
    for (const [summary, names] of this.regions) {
      const ready = names.filter((name) => health.get(name) === "Ready").length;
      summary.textContent = `${ready} of ${names.length} ready`;
      summary.dataset.tone = ready === names.length ? "good" : ready ? "warn" : "bad";
    }
  }

  #buttons() {
    return [...this.root.querySelectorAll("button.tile")];
  }

  #move(event) {
    const buttons = this.#buttons();
    const at = buttons.indexOf(document.activeElement);
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1, Home: -at, End: buttons.length - 1 - at }[event.key];
    if (at < 0 || step === undefined) return;
    event.preventDefault();
    const next = buttons[Math.max(0, Math.min(buttons.length - 1, at + step))];
    for (const one of buttons) one.tabIndex = one === next ? 0 : -1;
    next.focus();
  }
}

class Tile {
  constructor(name, choose) {
    this.sign = el("span", { class: "sign", "aria-hidden": "true" });
    this.word = el("span", { class: "word" });
    this.badge = el("span", { class: "badge" });
    this.facts = el("span", { class: "facts" });
    this.cpu = new Bar("CPU");
    this.memory = new Bar("Mem");
    this.objects = el("span", { class: "objects" });
    this.button = el("button", { class: "tile", type: "button", tabindex: "-1", onclick: choose },
      el("span", { class: "head" }, this.sign, el("span", { class: "name" }, foreign(name, 253)), this.badge),
      el("span", { class: "body" }, this.word, this.facts, this.cpu.element, this.memory.element, this.objects));
  }

  show(cluster, tally, selected, paint, { scoped, dense }) {
    const health = HEALTH[cluster.health];
    const painted = paint?.(cluster.name);
    this.button.dataset.tone = health.tone;
    this.button.dataset.health = cluster.health;
    this.button.setAttribute("aria-pressed", String(selected));
    this.button.classList.toggle("dim", Boolean(paint) && !painted);
    this.button.classList.toggle("lit", Boolean(painted));
    this.sign.textContent = health.sign;
    const findings = cluster.findings.map((one) => (one.type === "DeletionsWait" ? "deletions wait" : one.type));
    this.word.textContent = [health.says, cluster.cordoned ? "cordoned" : "", ...findings].filter(Boolean).join(", ");
    this.badge.textContent = painted?.label ?? "";
    this.badge.dataset.tone = painted?.tone ?? "";
    const zones = cluster.zones.length ? many(cluster.zones.length, "zone") : "";
    const nodes = `${cluster.nodes.ready}/${cluster.nodes.total} nodes`;
    this.facts.textContent = [cluster.version, nodes, zones].filter(Boolean).join(" · ");
    this.cpu.show(cluster.cpu, round);
    this.memory.show(cluster.memory, bytes);
    const objects = [many(tally.objects, "object")];
    if (tally.failing) objects.push(`${tally.failing} failing`);
    if (tally.pending) objects.push(`${tally.pending} pending`);
    if (tally.leaving) objects.push(`${tally.leaving} leaving`);
    const spokenObjects = `${objects.join(", ")}${scoped ? " here" : ""}`;
    const short = [tally.objects.toLocaleString("en"), tally.failing && `✕ ${tally.failing}`, tally.pending && `… ${tally.pending}`, tally.leaving && `⌫ ${tally.leaving}`];
    this.objects.textContent = dense ? short.filter((one) => one || one === "0").join("  ") : spokenObjects;
    this.objects.title = spokenObjects;
    this.objects.dataset.tone = tally.failing ? "bad" : tally.pending || tally.leaving ? "warn" : "";
    const spoken = [cluster.name, this.word.textContent, cluster.region && `region ${cluster.region}`, this.facts.textContent,
      `CPU ${this.cpu.spoken}`, `memory ${this.memory.spoken}`, spokenObjects, painted?.spoken];
    this.button.setAttribute("aria-label", spoken.filter(Boolean).join(", "));
    this.button.title = cluster.why && cluster.health !== "Ready" ? cluster.why.slice(0, 500) : "";
  }
}

/** Asked of allocatable. */
class Bar {
  constructor(label) {
    this.value = el("span", { class: "value" });
    this.element = el("span", { class: "bar-row" }, el("span", { class: "label" }, label), el("span", { class: "track" }, el("span", { class: "used" })), this.value);
    this.used = this.element.querySelector(".used");
    this.spoken = "unknown";
  }

  show({ used, all }, format) {
    const share = used === null || !all ? null : Math.min(1, used / all);
    this.used.style.inlineSize = `${Math.round((share ?? 0) * 100)}%`;
    this.used.dataset.tone = share !== null && share > 0.9 ? "bad" : share !== null && share > 0.75 ? "warn" : "good";
    this.value.textContent = share === null ? "–" : `${Math.round(share * 100)} %`;
    this.spoken = share === null ? "unknown" : `${Math.round(share * 100)} percent asked of ${format(all)}`;
    this.element.title = share === null ? "" : `${format(used)} asked of ${format(all)}`;
  }
}
