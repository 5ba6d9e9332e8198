// The two lists beside the map: objects with where they are, and DNS names with what they answer.

import { byId, el, fill, foreign } from "./dom.js";
import { Rows } from "./rows.js";
import { MOVING, TROUBLE } from "./records.js";
import { STATE, many } from "./words.js";
import { tag } from "./details.js";

const OBJECT_STATES = [["", "Any state"], ["attention", "Needs attention"], ...Object.keys(STATE).filter((one) => one !== "Gone").map((one) => [one, one])];

class Filtered {
  #sorted = null;

  constructor(app) {
    this.app = app;
  }

  changed(before, after) {
    if (!before || !after) this.#sorted = null;
    if (before) this.count_(before, -1);
    if (after) this.count_(after, 1);
  }

  /** Sorted anew only when one comes or goes; else each is looked up again. */
  sorted() {
    this.#sorted ??= this.keys().sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
    return this.#sorted.map(([, get]) => get()).filter(Boolean);
  }

  filtered() {
    this.rows.top();
    this.show(this.app.selected.key);
  }

  show(selected) {
    const words = byId("filter").value.trim().toLowerCase().split(/\s+/).filter(Boolean);
    const kind = byId("kinds").value;
    const state = byId("states").value;
    const all = this.sorted();
    const found = all.filter((one) => this.fits(one, kind, state) && words.every((word) => one.searched.includes(word)));
    this.rows.show(found, selected, this.label);
    const shown = found.length === all.length ? many(all.length, this.noun) : `${found.length.toLocaleString("en")} of ${many(all.length, this.noun)}`;
    if (byId("count").textContent !== shown) byId("count").textContent = shown;
  }

  options(kinds, states) {
    const option = ([value, words]) => el("option", { value }, words);
    fill(byId("kinds"), kinds.map(option));
    fill(byId("states"), states.map(option));
  }
}

export class ObjectList extends Filtered {
  label = "Objects";
  noun = "object";
  trouble = 0;
  moving = 0;

  open() {
    this.options([["workloads", "Applications"], ["", "All objects"]], OBJECT_STATES);
    this.rows = new Rows(byId("lists"), (one) => this.row(one), (one) => this.app.select("object", one.key));
  }

  count_(placement, sign) {
    if (TROUBLE.has(placement.state)) this.trouble += sign;
    if (MOVING.has(placement.state)) this.moving += sign;
  }

  keys() {
    const of = (store) => [...store.all.values()].map((one) => [`${one.namespace}/${one.name}/${one.kind}`, () => store.all.get(one.key)]);
    return [...of(this.app.placements), ...of(this.app.clusterPlacements)];
  }

  fits(one, kind, state) {
    if (kind === "workloads" && !one.workload) return false;
    if (state === "attention") return TROUBLE.has(one.state) || MOVING.has(one.state);
    return !state || one.state === state;
  }

  row(one) {
    const { sign, tone } = STATE[one.state];
    const replicas = one.wanted === null ? "" : `${one.ready ?? "–"}/${one.wanted} ready`;
    return [
      el("span", { class: "row-sign", "data-tone": tone, "aria-hidden": "true" }, sign),
      el("span", { class: "row-main" }, el("span", { class: "row-name" }, foreign(one.name, 253)),
        el("span", { class: "hint" }, foreign(one.kind, 63), one.namespace ? [" in ", foreign(one.namespace, 63)] : "")),
      el("span", { class: "row-side" }, el("span", { "data-tone": tone }, one.state),
        el("span", { class: "hint" }, [many(one.copies.length, "cluster"), replicas].filter(Boolean).join(" · "))),
    ];
  }

  paint(placement) {
    const marks = new Map();
    for (const one of placement.tombstones) marks.set(one.cluster, { label: "⌫", spoken: "is being deleted here", tone: "warn" });
    for (const one of placement.evicting) marks.set(one.cluster, { label: `⇢ ${one.replicas ?? ""}`, spoken: "is being evicted from here", tone: "warn" });
    for (const one of placement.copies) {
      const { sign, tone } = STATE[one.state];
      const starting = one.state === "Applied" && one.wanted !== null && (one.ready ?? 0) < one.wanted;
      const label = one.wanted === null ? sign : `${one.ready ?? "–"}/${one.wanted}`;
      const spoken = `${placement.name}: ${one.state}${one.wanted === null ? "" : `, ${one.ready ?? 0} of ${one.wanted} ready`}`;
      marks.set(one.name, { label, spoken, tone: starting ? "warn" : tone });
    }
    return (cluster) => marks.get(cluster) ?? null;
  }
}

export class NameList extends Filtered {
  label = "DNS names of Services";
  noun = "Service";
  count = 0;
  stale = 0;

  open() {
    this.options([["", "All names"]], [["", "Any state"], ["stale", "Stale"], ["trouble", "In trouble"]]);
    this.rows = new Rows(byId("lists"), (one) => this.row(one), (one) => this.app.select("name", one.key));
  }

  count_(names, sign) {
    this.count += sign * new Set(names.records.map((one) => one.name)).size;
    if (names.stale) this.stale += sign;
  }

  keys() {
    return [...this.app.names.all.values()].map((one) => [one.key, () => this.app.names.all.get(one.key)]);
  }

  fits(one, _kind, state) {
    if (state === "stale") return one.stale;
    return state !== "trouble" || one.faults.length > 0;
  }

  row(one) {
    const tone = one.faults.length ? "bad" : one.stale ? "warn" : "good";
    const answers = one.records.reduce((sum, record) => sum + record.targets.length, 0);
    return [
      el("span", { class: "row-sign", "data-tone": tone, "aria-hidden": "true" }, { bad: "✕", warn: "◷", good: "✓" }[tone]),
      el("span", { class: "row-main" }, el("span", { class: "row-name" }, foreign(one.records[0]?.name ?? one.name, 253)),
        el("span", { class: "hint" }, foreign(`${one.namespace}/${one.name}`))),
      el("span", { class: "row-side" }, one.stale ? tag("stale", "warn") : el("span", {}, many(one.clusters.size, "cluster")),
        el("span", { class: "hint" }, many(answers, "answer"))),
    ];
  }

  paint(names) {
    const answers = new Map();
    for (const record of names.records) {
      for (const target of record.targets) answers.set(target.cluster, (answers.get(target.cluster) ?? 0) + 1);
    }
    return (cluster) => {
      const count = answers.get(cluster);
      return count ? { label: many(count, "answer"), spoken: `is in ${many(count, "answer")}`, tone: names.stale ? "warn" : "good" } : null;
    };
  }
}
