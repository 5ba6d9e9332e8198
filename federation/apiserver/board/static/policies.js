// Which DNS policy is in force for a Service, as federation/dns/policies.py decides it. Pure.

import { compare } from "./regions.js";

/** The first by name that selects the Service: of its namespace, else of the whole federation; null for none. */
export function policyFor(service, namespaced, clusterWide) {
  for (const candidates of [namespaced, clusterWide]) {
    const sorted = [...candidates].sort((a, b) => (a.metadata.name < b.metadata.name ? -1 : 1));
    const found = sorted.find((one) => selects(one.spec ?? {}, service));
    if (found) return found;
  }
  return null;
}

function selects(spec, service) {
  const names = spec.serviceNames ?? [];
  if (names.length) return names.includes(service.metadata.name);
  const labels = new Map(Object.entries(service.metadata.labels ?? {}));
  const { matchLabels = {}, matchExpressions = [] } = spec.services ?? {};
  return Object.entries(matchLabels).every(([key, value]) => labels.get(key) === value)
    && matchExpressions.every((one) => matches(one, labels.get(one.key)));
}

function matches({ operator, values = [] }, value) {
  switch (operator) {
    case "In": return values.includes(value);
    case "NotIn": return !values.includes(value);
    case "Exists": return value !== undefined;
    default: return value === undefined;
  }
}

/** What a policy says, in words; of none what holds then. */
export function described(policy) {
  const spec = policy?.spec ?? {};
  const strategy = String(spec.strategy ?? "Locality");
  const said = {
    Weighted: () => (spec.weights ?? []).map((one) => `${one.cluster} ${one.weight}`).sort(compare).join(", "),
    Failover: () => (spec.order ?? []).join(", then "),
    Geo: () => (spec.geo ?? []).map((one) => `${one.cluster} for ${[...(one.regions ?? []), ...(one.networks ?? [])].join(", ")}`).join("; "),
  }[strategy]?.();
  return {
    strategy: said ? `${strategy}: ${said}` : strategy,
    policy: policy ? [policy.metadata.namespace, policy.metadata.name].filter(Boolean).join("/") : "none: near clusters first",
  };
}
