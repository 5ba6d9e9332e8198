// The page as a whole: sign in, follow the API, and show what is selected.

import { Api, ApiError } from "./api.js";
import { Board } from "./board.js";
import { byId, el, fill, foreign, gathered } from "./dom.js";
import { clusterDetails, namesDetails, objectDetails } from "./details.js";
import { described, policyFor } from "./policies.js";
import { clusterRecord, namesRecord, placementRecord } from "./records.js";
import { Store, Tally } from "./store.js";
import { ObjectList, NameList } from "./lists.js";
import { showTheme, nextTheme } from "./theme.js";
import { HEALTH } from "./words.js";

const TOKEN = "federation-board-token";
const CLUSTERS = "/apis/federation/v1beta1/clusters";
const GROUP = "/apis/federation.hanse.io/v1beta1";
const NAMESPACE = /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/;

class App {
  constructor(api, user) {
    this.api = api;
    this.user = user;
    this.tally = new Tally();
    this.selected = { type: "", key: "" };
    this.scope = "";
    this.dirty = gathered(() => this.draw());
    this.board = new Board(byId("board"), (name) => this.select("cluster", name));
    this.lists = { objects: new ObjectList(this), names: new NameList(this) };
    this.tab = "objects";
    this.following = [];
    const placed = (before, after) => {
      this.tally.changed(before, after);
      this.lists.objects.changed(before, after);
      this.dirty();
    };
    const named = (before, after) => {
      this.lists.names.changed(before, after);
      this.dirty();
    };
    this.clusters = new Store(clusterRecord, (before, after) => this.clusterChanged(before, after));
    this.placements = new Store(placementRecord, placed);
    this.clusterPlacements = new Store(placementRecord, placed);
    this.names = new Store(namesRecord, named);
  }

  start() {
    this.follow(this.api, CLUSTERS, this.clusters, "clusters");
    this.restart();
    this.openTab("objects");
  }

  /** Follow what is in namespaces: all of them, or the one that is asked for. */
  restart() {
    this.scoped?.close();
    for (const store of [this.placements, this.clusterPlacements, this.names]) store.clear();
    this.scoped = this.api.again();
    const within = this.scope ? `/namespaces/${this.scope}` : "";
    this.follow(this.scoped, `${GROUP}${within}/placements`, this.placements, "placements");
    if (!this.scope) this.follow(this.scoped, `${GROUP}/clusterplacements`, this.clusterPlacements, "cluster-wide placements");
    this.follow(this.scoped, `${GROUP}${within}/dnsrecordsets`, this.names, "DNS names");
    this.dirty();
  }

  follow(api, path, store, what) {
    store.what = what;
    api.follow(path, {
      begin: () => store.begin(),
      items: (objects) => store.items(objects),
      end: () => { store.end(); this.dirty(); },
      change: (type, object) => store.change(type, object),
      state: (word, detail = "") => {
        store.state = word;
        store.detail = detail;
        this.dirty();
      },
      signedOut: () => signOut("The token is no longer accepted. Sign in again."),
    });
  }

  clusterChanged(before, after) {
    if (before && after && before.health !== after.health) say(`Cluster ${after.name} is ${after.health}.`);
    if (before && !after) say(`Cluster ${before.name} has left.`);
    if (!before && this.clusters.whole) say(`Cluster ${after.name} has joined.`);
    this.dirty();
  }

  select(type, key) {
    const same = this.selected.type === type && this.selected.key === key;
    this.selected = same ? { type: "", key: "" } : { type, key };
    this.draw();
    byId("details").scrollTop = 0;
  }

  openTab(name) {
    this.tab = name;
    for (const each of ["objects", "names"]) {
      byId(`tab-${each}`).setAttribute("aria-selected", String(each === name));
      byId(`tab-${each}`).tabIndex = each === name ? 0 : -1;
    }
    byId("lists").setAttribute("aria-labelledby", `tab-${name}`);
    this.lists[name].open();
    this.draw();
  }

  object(key) {
    return this.placements.all.get(key) ?? this.clusterPlacements.all.get(key);
  }

  draw() {
    const { type, key } = this.selected;
    const clusters = [...this.clusters.all.values()];
    this.board.show(clusters, this.tally, type === "cluster" ? key : "", this.paint(), Boolean(this.scope));
    this.lists[this.tab].show(key);
    this.drawTotals(clusters);
    this.drawLive();
    this.drawDetails();
  }

  /** What the board marks while an object or a name is selected. */
  paint() {
    const { type, key } = this.selected;
    if (type === "object" && this.object(key)) return this.lists.objects.paint(this.object(key));
    if (type === "name" && this.names.all.has(key)) return this.lists.names.paint(this.names.all.get(key));
    return null;
  }

  drawTotals(clusters) {
    const health = new Map();
    for (const one of clusters) health.set(one.health, (health.get(one.health) ?? 0) + 1);
    const { trouble, moving } = this.lists.objects;
    const objects = this.placements.all.size + this.clusterPlacements.all.size;
    const stale = this.lists.names.stale;
    fill(byId("totals"),
      el("li", {}, el("strong", {}, clusters.length.toLocaleString("en")), clusters.length === 1 ? " cluster" : " clusters",
        Object.keys(HEALTH).filter((one) => health.has(one)).map((one) =>
          el("span", { class: "pill", "data-tone": HEALTH[one].tone }, `${HEALTH[one].sign} ${health.get(one)} ${HEALTH[one].says}`))),
      el("li", {}, el("strong", {}, objects.toLocaleString("en")), objects === 1 ? " object" : " objects",
        trouble ? el("span", { class: "pill", "data-tone": "bad" }, `${trouble} in trouble`) : null,
        moving ? el("span", { class: "pill", "data-tone": "warn" }, `${moving} on the way`) : null),
      el("li", {}, el("strong", {}, this.lists.names.count.toLocaleString("en")), this.lists.names.count === 1 ? " DNS name" : " DNS names",
        stale ? el("span", { class: "pill", "data-tone": "warn" }, `${stale} stale`) : null));
  }

  drawLive() {
    const stores = [this.clusters, this.placements, this.names, ...(this.scope ? [] : [this.clusterPlacements])];
    const live = byId("live");
    const waiting = stores.find((one) => one.state === "waiting");
    const word = waiting ? "waiting" : stores.some((one) => one.state === "loading") ? "loading" : "live";
    const shown = { waiting: "Reconnecting", loading: "Loading", live: "Live" }[word];
    if (live.textContent !== shown) live.textContent = shown;
    live.dataset.tone = { waiting: "warn", loading: "quiet", live: "good" }[word];
    live.title = waiting ? waiting.detail : `signed in as ${this.user}`;
    const isolated = [...this.clusters.all.values()].some((one) => one.isolated);
    const deletions = [...this.clusters.all.values()].flatMap((one) => one.findings.filter((found) => found.type === "DeletionsWait"));
    const forbidden = stores.filter((one) => one.state === "forbidden");
    const notices = [
      isolated ? ["cut", "The federation takes itself to be cut off from its members. Nothing is evicted and no address leaves DNS until they answer again."] : null,
      ...deletions.slice(0, 3).map((one) => ["warn", one.message]),
      ...forbidden.map((one) => ["quiet", `You may not read ${one.what}${this.scope ? ` in ${this.scope}` : ""}. ${one === this.clusters || this.scope ? "" : "Name a namespace that you may read."}`]),
    ].filter(Boolean);
    const text = JSON.stringify(notices);
    if (this.noticed === text) return;
    this.noticed = text;
    fill(byId("notices"), notices.map(([tone, words]) => el("p", { "data-tone": tone }, foreign(words))));
  }

  drawDetails() {
    const { type, key } = this.selected;
    const root = byId("details");
    const healthOf = (name) => this.clusters.all.get(name)?.health;
    const actions = {
      showCluster: (name) => this.select("cluster", name),
      showObjects: (name) => { byId("filter").value = name; this.openTab("objects"); },
    };
    const found = type === "cluster" ? this.clusters.all.get(key) : type === "object" ? this.object(key) : this.names.all.get(key);
    root.hidden = !type;
    if (found && found === this.detailed && type !== "cluster" && this.healthSeen === this.healths()) return;
    this.detailed = found;
    this.healthSeen = this.healths();
    if (!type) return;
    const focused = root.contains(document.activeElement) ? document.activeElement.textContent : null;
    const close = el("button", { type: "button", class: "close", "aria-label": "Close details", onclick: () => this.select("", "") }, "×");
    const content = !found
      ? el("p", { class: "hint" }, foreign(key), " is gone.")
      : type === "cluster" ? clusterDetails(found, this.tally.of(key), actions)
        : type === "object" ? objectDetails(found, healthOf, actions)
          : namesDetails(found, this.inForce(found), healthOf, actions);
    const scrolled = root.scrollTop;
    fill(root, close, content);
    root.scrollTop = scrolled;
    if (focused !== null) ([...root.querySelectorAll("button")].find((one) => one.textContent === focused) ?? root).focus();
  }

  /** The DNS policy of a Service, in words; asked for when its names are looked at, and again when they change. */
  inForce(names) {
    const asked = `${names.key} ${names.version}`;
    if (this.asked !== asked) {
      this.asked = asked;
      this.answer = null;
      this.askPolicy(names).then((answer) => {
        if (this.asked !== asked) return;
        this.answer = answer;
        this.detailed = null;
        this.dirty();
      });
    }
    return this.answer;
  }

  async askPolicy({ namespace, name }) {
    const within = `namespaces/${encodeURIComponent(namespace)}`;
    try {
      const [service, own, all] = await Promise.all([
        this.api.request(`/api/v1/${within}/services/${encodeURIComponent(name)}`),
        this.api.request(`${GROUP}/${within}/dnspolicies`),
        this.api.request(`${GROUP}/clusterdnspolicies`),
      ]);
      return described(policyFor(service, own.items ?? [], all.items ?? []));
    } catch (fault) {
      if (!(fault instanceof ApiError)) throw fault;
      return { strategy: "", policy: fault.code === 403 ? "not known: you may not read it" : `not known: ${fault.message}` };
    }
  }

  healths() {
    return [...this.clusters.all.values()].map((one) => `${one.name} ${one.health}`).join();
  }
}

function say(words) {
  byId("spoken").textContent = words;
}

let app = null;

async function signIn(token, keep) {
  const api = new Api(token);
  const review = { apiVersion: "authentication.k8s.io/v1", kind: "SelfSubjectReview" };
  const answer = await api.request("/apis/authentication.k8s.io/v1/selfsubjectreviews", { method: "POST", body: review });
  if (keep) sessionStorage.setItem(TOKEN, token);
  byId("sign-in").hidden = true;
  byId("app").hidden = false;
  app = new App(api, String(answer.status?.userInfo?.username ?? "?"));
  app.start();
}

function signOut(why = "") {
  app?.scoped?.close();
  app?.api.close();
  app = null;
  sessionStorage.removeItem(TOKEN);
  byId("token").value = "";
  byId("app").hidden = true;
  byId("sign-in").hidden = false;
  byId("sign-in-error").textContent = why;
  byId("token").focus();
}

function listen() {
  byId("sign-in-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    const error = byId("sign-in-error");
    error.textContent = "";
    try {
      await signIn(byId("token").value.trim(), byId("keep").checked);
      byId("token").value = "";
      byId("board").focus();
    } catch (fault) {
      if (!(fault instanceof ApiError)) throw fault;
      error.textContent = fault.code === 401 ? "This token is not accepted." : `Cannot sign in: ${fault.message}`;
    }
  });
  byId("sign-out").addEventListener("click", () => signOut());
  byId("theme").addEventListener("click", nextTheme);
  byId("scope").addEventListener("change", (event) => {
    const wanted = event.target.value.trim();
    event.target.setCustomValidity(wanted && !NAMESPACE.test(wanted) ? "No name of a namespace" : "");
    if (!event.target.reportValidity() || !app || wanted === app.scope) return;
    app.scope = wanted;
    app.restart();
  });
  for (const name of ["objects", "names"]) byId(`tab-${name}`).addEventListener("click", () => app?.openTab(name));
  document.querySelector(".tabs").addEventListener("keydown", (event) => {
    if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
    const other = app?.tab === "objects" ? "names" : "objects";
    app?.openTab(other);
    byId(`tab-${other}`).focus();
  });
  const filtered = gathered(() => app?.lists[app.tab].filtered(), 80);
  for (const id of ["filter", "kinds", "states"]) byId(id).addEventListener("input", filtered);
  addEventListener("keydown", (event) => {
    if (event.key === "Escape" && app?.selected.type) app.select(app.selected.type, app.selected.key);
    if (event.key === "/" && !/^(INPUT|SELECT)$/.test(document.activeElement?.tagName ?? "")) {
      event.preventDefault();
      byId("filter").focus();
    }
  });
}

async function begin() {
  showTheme();
  listen();
  const token = sessionStorage.getItem(TOKEN);
  if (!token) return signOut();
  try {
    await signIn(token, true);
  } catch (fault) {
    if (!(fault instanceof ApiError)) throw fault;
    signOut(fault.code === 401 ? "The token is no longer accepted. Sign in again." : fault.message);
  }
}

await begin();
