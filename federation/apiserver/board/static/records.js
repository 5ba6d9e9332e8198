// What the page keeps of an object: few fields, whatever the object holds. Pure.

const PHASES = ["Ready", "Suspect", "Unreachable", "Pending", "Leaving"];
const USUAL = new Set(["Ready", "Offline", "Isolated"]); // which the health says already
const STATES = ["Applied", "Pending", "Conflict", "Failed", "Deleting", "Gone"];
const WORKLOADS = new Set(["Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "ReplicationController", "Job", "CronJob"]);

/** A text of ours for one that an object holds; `fallback` for what is none of them. */
export function known(value, words, fallback) {
  return words.includes(value) ? value : fallback;
}

export function clusterRecord(object) {
  const spec = object.spec ?? {};
  const status = object.status ?? {};
  const conditions = list(status.conditions);
  const ready = conditions.find((one) => one.type === "Ready") ?? {};
  const isolated = conditions.some((one) => one.type === "Isolated" && one.status === "True");
  const phase = object.metadata.deletionTimestamp ? "Leaving" : known(status.phase, PHASES, "Pending");
  return {
    key: object.metadata.name,
    name: object.metadata.name,
    phase,
    health: isolated ? "Isolated" : phase,
    isolated,
    why: text(ready.message),
    since: text(ready.lastTransitionTime),
    version: text(status.kubernetesVersion),
    region: text(spec.region || status.region),
    provider: text(spec.provider),
    zones: list(spec.zones ?? status.zones).map(text),
    mode: text(spec.syncMode || "Push"),
    cordoned: spec.unschedulable === true,
    taints: list(spec.taints).map((one) => `${text(one.key)}${one.value ? `=${text(one.value)}` : ""}:${text(one.effect)}`),
    nodes: { ready: number(status.nodes?.ready), total: number(status.nodes?.total) },
    cpu: usage(status.resources, "cpu"),
    memory: usage(status.resources, "memory"),
    pods: status.resources?.pods ?? null,
    probed: text(status.lastProbeTime),
    findings: conditions.filter((one) => one.status === "True" && !USUAL.has(one.type)).map(condition),
    conditions: conditions.map(condition),
  };
}

function usage(resources, name) {
  return { used: quantity(resources?.requested?.[name]), all: quantity(resources?.allocatable?.[name]) };
}

export function placementRecord(object) {
  const spec = object.spec ?? {};
  const template = spec.template ?? {};
  const said = new Map(list(object.status?.clusters).map((one) => [one.name, one]));
  const copies = list(spec.clusters).map((one) => copy(one, said.get(one.name)));
  const there = new Set(copies.map((one) => one.name));
  const evicting = list(spec.evicting).map((one) => ({
    cluster: text(one.name), replicas: one.replicas ?? null, reason: text(one.reason), since: text(one.since),
    ...found(said.get(one.name)),
  }));
  const tombstones = list(spec.tombstones).map((one) => ({
    cluster: text(one.cluster), why: text(one.why), propagation: text(one.propagation), since: text(one.since),
    ...found(said.get(one.cluster)),
  }));
  const record = {
    key: `${object.metadata.namespace ?? ""}/${object.metadata.name}`,
    kind: text(template.kind),
    apiVersion: text(template.apiVersion),
    namespace: text(template.namespace),
    name: text(template.name),
    policy: text(spec.policy),
    suspended: spec.suspended === true,
    fault: text(spec.fault),
    unplaced: number(spec.unplaced),
    copies,
    evicting,
    tombstones,
    passedOver: list(spec.passedOver).map((one) => ({ cluster: text(one.cluster), why: text(one.why) })),
    displaced: list(spec.displaced).map((one) => ({ cluster: text(one.cluster), replicas: one.replicas ?? null })),
    conditions: list(object.status?.conditions).map(condition),
    workload: WORKLOADS.has(template.kind) || copies.some((one) => one.wanted !== null),
    clusters: new Set([...there, ...evicting.map((one) => one.cluster), ...tombstones.map((one) => one.cluster)]),
  };
  record.wanted = sum(copies.map((one) => one.wanted));
  record.ready = sum(copies.map((one) => one.ready));
  record.state = stateOf(record);
  record.searched = [record.name, record.namespace, record.kind, ...record.clusters].join(" ").toLowerCase();
  return record;
}

function copy(wanted, said) {
  const status = said?.status ?? {};
  const replicas = wanted.replicas ?? wanted.completions ?? status.desiredNumberScheduled ?? null;
  const ready = status.readyReplicas ?? status.numberReady ?? status.succeeded ?? (said?.status && replicas !== null ? 0 : null);
  return { name: text(wanted.name), wanted: replicas, ready, why: text(wanted.why), ...found(said) };
}

function found(said) {
  return { state: known(said?.state, STATES, "Pending"), message: text(said?.message) };
}

/** The one word for an object: the worst of what its members say. */
function stateOf(record) {
  const states = new Set(record.copies.map((one) => one.state));
  if (states.has("Failed") || record.fault) return "Failed";
  if (states.has("Conflict")) return "Conflict";
  if (record.tombstones.length) return "Deleting";
  if (record.evicting.length) return "Evicting";
  if (record.unplaced > 0) return "Unplaced";
  if (states.has("Pending") || states.has("Gone") || states.has("Deleting")) return "Pending";
  if (record.suspended) return "Suspended";
  if (record.wanted !== null && record.ready !== null && record.ready < record.wanted) return "Starting";
  return record.copies.length ? "Applied" : "Nowhere";
}

export const TROUBLE = new Set(["Failed", "Conflict", "Unplaced", "Nowhere"]);
export const MOVING = new Set(["Pending", "Deleting", "Evicting", "Starting"]);

export function namesRecord(object) {
  const spec = object.spec ?? {};
  const records = list(spec.records).map((one) => ({
    name: text(one.name),
    type: text(one.type),
    ttl: number(one.ttl),
    stale: one.stale === true,
    targets: list(one.targets).map((target) => ({
      value: text(target.value), cluster: text(target.cluster), weight: target.weight ?? null,
      networks: list(target.networks).map(text),
    })),
  }));
  const conditions = list(object.status?.conditions).map(condition);
  return {
    key: `${object.metadata.namespace}/${object.metadata.name}`,
    namespace: object.metadata.namespace,
    name: object.metadata.name,
    version: text(object.metadata.resourceVersion),
    records,
    stale: records.some((one) => one.stale),
    faults: conditions.filter((one) => one.status === "False"),
    conditions,
    clusters: new Set(records.flatMap((one) => one.targets.map((target) => target.cluster)).filter(Boolean)),
    searched: [object.metadata.namespace, object.metadata.name, ...records.flatMap(
      (one) => [one.name, ...one.targets.flatMap((target) => [target.value, target.cluster])],
    )].join(" ").toLowerCase(),
  };
}

function condition(one) {
  return { type: text(one.type), status: text(one.status), reason: text(one.reason), message: text(one.message) };
}

const SUFFIXES = {
  n: 1e-9, u: 1e-6, m: 1e-3, "": 1, k: 1e3, M: 1e6, G: 1e9, T: 1e12, P: 1e15, E: 1e18,
  Ki: 2 ** 10, Mi: 2 ** 20, Gi: 2 ** 30, Ti: 2 ** 40, Pi: 2 ** 50, Ei: 2 ** 60,
};

/** A Kubernetes quantity as a number; null for what is none. */
export function quantity(value) {
  if (typeof value === "number") return value;
  const taken = /^([+-]?[0-9.]+(?:[eE][+-]?[0-9]+)?)([numkMGTPE]|[KMGTPE]i)?$/.exec(String(value ?? ""));
  return taken ? Number(taken[1]) * SUFFIXES[taken[2] ?? ""] : null;
}

export function bytes(count) {
  if (count === null) return "–";
  for (const unit of ["Ti", "Gi", "Mi", "Ki"]) {
    if (count >= SUFFIXES[unit]) return `${round(count / SUFFIXES[unit])} ${unit}B`;
  }
  return `${count} B`;
}

export function round(count) {
  return count === null ? "–" : String(Math.round(count * 10) / 10);
}

function sum(counts) {
  const there = counts.filter((one) => typeof one === "number");
  return there.length ? there.reduce((a, b) => a + b, 0) : null;
}

function list(value) {
  return Array.isArray(value) ? value : [];
}

function text(value) {
  return value === null || value === undefined ? "" : String(value);
}

function number(value) {
  return typeof value === "number" ? value : 0;
}
