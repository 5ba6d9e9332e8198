// What is known of the one thing that is selected: a cluster, an object, or the names of a Service.

import { el, foreign } from "./dom.js";
import { bytes, round } from "./records.js";
import { HEALTH, STATE, many } from "./words.js";

export function stateMark(state) {
  const { sign, tone } = STATE[state];
  return el("span", { class: "mark", "data-tone": tone }, el("span", { "aria-hidden": "true" }, sign), ` ${state}`);
}

export function healthMark(health) {
  const { sign, tone, says } = HEALTH[health];
  return el("span", { class: "mark", "data-tone": tone }, el("span", { "aria-hidden": "true" }, sign), ` ${says}`);
}

export function clusterDetails(cluster, tally, { showObjects }) {
  return [
    heading("Cluster", cluster.name, healthMark(cluster.health)),
    cluster.isolated ? el("p", { class: "note" }, "The federation takes itself to be cut off: nothing is moved away from here, and its addresses stay in DNS.") : null,
    facts([
      ["Why", cluster.why],
      ["Version", cluster.version],
      ["Region", cluster.region],
      ["Zones", cluster.zones.join(", ")],
      ["Provider", cluster.provider],
      ["Mode", cluster.mode],
      ["Nodes", `${cluster.nodes.ready} of ${cluster.nodes.total} ready`],
      ["CPU", `${round(cluster.cpu.used)} asked of ${round(cluster.cpu.all)}`],
      ["Memory", `${bytes(cluster.memory.used)} asked of ${bytes(cluster.memory.all)}`],
      ["Room", cluster.pods === null ? "" : many(cluster.pods, "more Pod")],
      ["Scheduling", cluster.cordoned ? "cordoned, nothing new is placed here" : ""],
      ["Taints", cluster.taints.join(", ")],
      ["Objects", `${tally.objects.toLocaleString("en")}, ${tally.failing} failing, ${tally.pending} pending, ${tally.leaving} leaving`],
      ["Replicas", tally.wanted ? `${tally.ready} of ${tally.wanted} ready` : ""],
      ["Since", cluster.since],
      ["Last probe", cluster.probed],
    ]),
    el("button", { type: "button", onclick: () => showObjects(cluster.name) }, "Show what is on it"),
    conditions(cluster.conditions.filter((one) => one.type !== "Ready")),
  ];
}

export function objectDetails(placement, healthOf, { showCluster }) {
  const cluster = (name) => el("button", { type: "button", class: "link", onclick: () => showCluster(name) }, foreign(name, 253));
  const health = (name) => (healthOf(name) ? healthMark(healthOf(name)) : "");
  const sentenced = (name, said) => [cluster(name), health(name), ...said];
  return [
    heading(placement.kind, placement.namespace ? `${placement.namespace}/${placement.name}` : placement.name, stateMark(placement.state)),
    facts([
      ["API", placement.apiVersion],
      ["Policy", placement.policy || "none: every ready cluster gets it"],
      ["Replicas", placement.wanted === null ? "" : `${placement.ready ?? 0} ready of ${placement.wanted} wanted`],
      ["Unplaced", placement.unplaced ? `${many(placement.unplaced, "replica")} that no cluster may have or can hold` : ""],
      ["Fault", placement.fault],
      ["Suspended", placement.suspended ? "yes: members are left as they are" : ""],
    ]),
    table("On clusters", ["Cluster", "Health", "Ready", "State", "Why"], placement.copies.map((one) =>
      sentenced(one.name, [replicas(one), stateMark(one.state), reasons(one.message, one.why)])), "On no cluster."),
    table("Being evicted", ["Cluster", "Health", "Replicas", "State", "Why"], placement.evicting.map((one) =>
      sentenced(one.cluster, [one.replicas ?? "", stateMark(one.state), reasons(one.message, [one.reason, one.since && `since ${one.since}`].filter(Boolean).join(" "))]))),
    table("Tombstones", ["Cluster", "Health", "Propagation", "State", "Why"], placement.tombstones.map((one) =>
      sentenced(one.cluster, [foreign(one.propagation), stateMark(one.state), reasons(one.message, [one.why, one.since && `since ${one.since}`].filter(Boolean).join(" "))]))),
    table("Will return to", ["Cluster", "Health", "Replicas"], placement.displaced.map((one) => sentenced(one.cluster, [one.replicas ?? ""]))),
    table("Passed over", ["Cluster", "Health", "Why"], placement.passedOver.map((one) => sentenced(one.cluster, [foreign(one.why)]))),
    conditions(placement.conditions),
  ];
}

/** `inForce`: {strategy, policy} in words, null while they are being asked for. */
export function namesDetails(names, inForce, healthOf, { showCluster }) {
  return [
    heading("Service", `${names.namespace}/${names.name}`, names.stale ? tag("serves its last answer", "warn") : null),
    facts([
      ["Strategy", inForce?.strategy],
      ["Policy", inForce?.policy],
      ["Trouble", names.faults.map((one) => one.message || one.type).join("; ")],
    ]),
    names.records.map((record) => table(null, ["Answer", "Cluster", "Health", "Weight", "Clients"], record.targets.map((one) => [
      foreign(one.value, 512),
      one.cluster ? el("button", { type: "button", class: "link", onclick: () => showCluster(one.cluster) }, foreign(one.cluster, 253)) : "",
      healthOf(one.cluster) ? healthMark(healthOf(one.cluster)) : "",
      one.weight ?? "all",
      one.networks.length ? foreign(one.networks.join(", ")) : "any",
    ]), "No answer.", [foreign(record.name, 253), el("span", { class: "hint" }, ` ${record.type}, ${record.ttl} s`), record.stale ? tag("stale", "warn") : null])),
    conditions(names.conditions),
  ];
}

function replicas(copy) {
  return copy.wanted === null ? "" : `${copy.ready ?? "–"}/${copy.wanted}`;
}

function reasons(message, why) {
  return [message ? el("span", { class: "message" }, foreign(message)) : null, why ? el("span", { class: "hint" }, foreign(why)) : null];
}

function heading(kind, name, mark) {
  return el("header", {}, el("h2", {}, el("span", { class: "hint" }, foreign(kind, 63)), " ", foreign(name, 512)), mark);
}

export function tag(text, tone) {
  return el("span", { class: "tag", "data-tone": tone }, text);
}

function facts(rows) {
  return el("dl", {}, rows.filter(([, value]) => value).map(([name, value]) => [el("dt", {}, name), el("dd", {}, foreign(value))]));
}

function conditions(all) {
  return table("Conditions", ["Type", "Status", "Why"], all.map((one) => [foreign(one.type), foreign(one.status), reasons(one.message, one.reason)]));
}

function table(title, columns, rows, empty, caption = title) {
  if (!rows.length && !empty) return null;
  if (!rows.length) return [title ? el("h3", {}, title) : null, el("p", { class: "hint" }, empty)];
  return el("table", {},
    el("caption", {}, caption),
    el("thead", {}, el("tr", {}, columns.map((one) => el("th", { scope: "col" }, one)))),
    el("tbody", {}, rows.map((cells) => el("tr", {}, cells.map((cell) => el("td", {}, cell))))));
}
