// All records of one kind by key, kept by a list and its watch.

export class Store {
  #fresh = null; // keys seen in the list that runs

  /** `record` makes a record of an object; `changed(before, after)` hears of each, null where there is none. */
  constructor(record, changed) {
    this.record = record;
    this.changed = changed;
    this.all = new Map();
    this.whole = false;
    this.state = "loading";
    this.detail = "";
  }

  begin() {
    this.#fresh = new Set();
  }

  items(objects) {
    for (const object of objects) this.#put(object);
  }

  end() {
    for (const key of [...this.all.keys()]) if (!this.#fresh.has(key)) this.#drop(key);
    this.#fresh = null;
    this.whole = true;
  }

  change(type, object) {
    if (type === "DELETED") this.#drop(this.record(object).key);
    else this.#put(object);
  }

  clear() {
    for (const key of [...this.all.keys()]) this.#drop(key);
    this.whole = false;
  }

  #put(object) {
    const after = this.record(object);
    const before = this.all.get(after.key) ?? null;
    this.all.set(after.key, after);
    this.#fresh?.add(after.key);
    this.changed(before, after);
  }

  #drop(key) {
    const before = this.all.get(key);
    if (!before) return;
    this.all.delete(key);
    this.changed(before, null);
  }
}

/** What is on each cluster, in numbers that are kept and not counted again. */
export class Tally {
  #of = new Map();

  of(cluster) {
    return this.#of.get(cluster) ?? { objects: 0, failing: 0, pending: 0, wanted: 0, ready: 0, leaving: 0 };
  }

  changed(before, after) {
    if (before) this.#add(before, -1);
    if (after) this.#add(after, 1);
  }

  #add(placement, sign) {
    for (const copy of placement.copies) {
      const tally = this.#at(copy.name);
      tally.objects += sign;
      if (copy.state === "Failed" || copy.state === "Conflict") tally.failing += sign;
      else if (copy.state !== "Applied") tally.pending += sign;
      if (copy.wanted !== null) {
        tally.wanted += sign * copy.wanted;
        tally.ready += sign * (copy.ready ?? 0);
      }
    }
    for (const one of [...placement.tombstones, ...placement.evicting]) this.#at(one.cluster).leaving += sign;
  }

  #at(cluster) {
    if (!this.#of.has(cluster)) this.#of.set(cluster, this.of(cluster));
    return this.#of.get(cluster);
  }
}
