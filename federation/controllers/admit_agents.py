"""
Gives agents of pull-mode members their certificates, and takes away what is left of invitations and members that went.

One request at a time, with everything read when it is decided: two agents that claim one identity cannot both get it.
Not here    which requests are good (federation.membership.agent_requests); signing (cluster.pki.issue).
"""

import asyncio
import base64
import dataclasses
import datetime as dt
import logging
from collections.abc import Callable
from pathlib import Path

from cluster.api import resources
from cluster.api.resources import Resource
from cluster.client.controller import Controller
from cluster.client.informer import Informer
from cluster.client.rest import ApiClient
from cluster.machinery.objects import Key, Object, copy_object
from cluster.machinery.status_errors import ApiError, NotFound
from cluster.machinery.timestamps import format_time, parse_time
from cluster.pki.authority import PkiError, load_authority
from cluster.pki.issue import Usage, issue_certificate
from cluster.pki.signing_request import SigningRequest, decode_request_field, read_signing_request
from federation.api.kinds import SYSTEM_NAMESPACE
from federation.api.resources import CLUSTERS
from federation.membership import agents, bootstrap_tokens
from federation.membership.agent_requests import Verdict, judge

log = logging.getLogger(__name__)

REQUESTS = resources.named("certificatesigningrequests.certificates.k8s.io")
SHORTEST = dt.timedelta(minutes=10)
KEPT = dt.timedelta(minutes=10)
"""How long an answered request stays to be looked at."""
SWEEP_SECONDS = 60.0


@dataclasses.dataclass(frozen=True, slots=True)
class Signer:
    """The CA that the federation's apiserver knows clients by."""

    certificate: Path
    key: Path
    lifetime: dt.timedelta
    """Of certificates whose requests do not ask for less."""


class AdmitAgents:
    """`run` in a task. `clusters` is somebody else's informer of Clusters, which runs."""

    def __init__(
        self,
        client: ApiClient,
        clusters: Informer,
        signer: Signer,
        now: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC),
    ) -> None:
        self._client = client
        self._clusters = clusters
        self._signer = signer
        self._now = now
        self._requests = Informer(client, REQUESTS, field_selector=f"spec.signerName={agents.SIGNER}")
        self._controller = Controller("agents' certificates", self._reconcile, workers=1)
        add = self._controller.enqueue
        self._requests.add_handler(add, lambda _old, new: add(new))

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._requests.run(), name="agents' requests")
            tasks.create_task(self._controller.run(), name="agents' certificates")
            await self._clusters.wait_synced()
            await self._requests.wait_synced()
            while True:
                try:
                    await self._sweep()
                except ApiError as fault:
                    log.warning("what is left of members that went stays for now: %s", fault)
                await asyncio.sleep(SWEEP_SECONDS)

    async def _reconcile(self, key: Key) -> None:
        csr = self._requests.get(key)
        if csr is None or _is_answered(csr):
            return
        try:
            request = read_signing_request(decode_request_field(csr["spec"].get("request")))
        except PkiError as error:
            await self._answer(csr, Verdict(False, str(error)))
            return
        name = request.content.common_name.removeprefix(agents.USER_PREFIX)
        known = (await self._client.list(CLUSTERS)).get("items") or []
        cluster = next((one for one in known if one["metadata"]["name"] == name), None)
        token = await self._token(csr)
        verdict = judge(csr, request, cluster, token, known)
        if not verdict.approved or cluster is None:
            await self._answer(csr, verdict)
            return
        await self._settle(cluster, verdict)
        if not _condition(csr, "Approved"):
            csr = await self._answer(csr, verdict)
        await self._sign(csr, request, cluster)
        if token is not None:
            await self._note_use(token)

    async def _token(self, csr: Object) -> Object | None:
        """The Secret that the requester's token is in; None for other requesters, and once it is gone or over."""
        wanted = bootstrap_tokens.secret_of_user(csr["spec"].get("username") or "")
        if not wanted or agents.BOOTSTRAPPERS not in (csr["spec"].get("groups") or ()):
            return None
        try:
            secret = await self._client.get(resources.SECRETS, wanted, namespace=bootstrap_tokens.NAMESPACE)
        except NotFound:
            return None
        return None if bootstrap_tokens.is_over(secret, self._now()) else secret

    async def _note_use(self, token: Object) -> None:
        """For whoever looks at tokens; nothing hangs on it."""
        change = {"metadata": {"annotations": {bootstrap_tokens.USED: format_time(self._now())}}}
        try:
            name = token["metadata"]["name"]
            await self._client.patch(resources.SECRETS, name, change, namespace=bootstrap_tokens.NAMESPACE)
        except NotFound:
            log.debug("token %s ended meanwhile", name)

    async def _settle(self, cluster: Object, verdict: Verdict) -> None:
        """What the agent says about its cluster, once, into the Cluster: from then on no other can be it."""
        spec: Object = {}
        if verdict.identity:
            spec["uid"] = verdict.identity
        if verdict.server and not cluster["spec"].get("serverAddressByClientCIDRs"):
            spec["serverAddressByClientCIDRs"] = [{"clientCIDR": "0.0.0.0/0", "serverAddress": verdict.server[:512]}]
            if verdict.authority and not cluster["spec"].get("caBundle"):
                spec["caBundle"] = verdict.authority
        if spec:
            metadata = {"resourceVersion": cluster["metadata"]["resourceVersion"]}
            await self._client.patch(CLUSTERS, cluster["metadata"]["name"], {"metadata": metadata, "spec": spec})

    async def _answer(self, csr: Object, verdict: Verdict) -> Object:
        kind, reason = ("Approved", "MemberAgent") if verdict.approved else ("Denied", "NotThisMember")
        log.info("request %s: %s: %s", csr["metadata"]["name"], kind.lower(), verdict.why)
        stamp = format_time(self._now())
        condition = {
            "type": kind,
            "status": "True",
            "reason": reason,
            "message": verdict.why,
            "lastUpdateTime": stamp,
            "lastTransitionTime": stamp,
        }
        changed = copy_object(csr)
        changed.setdefault("status", {}).setdefault("conditions", []).append(condition)
        return await self._client.update(REQUESTS, changed, subresource="approval")

    async def _sign(self, csr: Object, request: SigningRequest, cluster: Object) -> None:
        # Read each time: the CA may be replaced under us, and requests are rare.
        authority = load_authority(self._signer.certificate.read_bytes(), self._signer.key.read_bytes())
        groups = (agents.GROUP, agents.uid_group(cluster["metadata"]["uid"]))
        content = dataclasses.replace(request.content, organizations=groups, usages=(Usage.CLIENT,))
        asked = csr["spec"].get("expirationSeconds")
        longest = self._signer.lifetime
        lifetime = min(longest, max(SHORTEST, dt.timedelta(seconds=float(asked)))) if asked else longest
        pem = issue_certificate(authority, content, request.public_key, now=self._now(), lifetime=lifetime)
        changed = copy_object(csr)
        changed["status"]["certificate"] = base64.b64encode(pem).decode()
        await self._client.update(REQUESTS, changed, subresource="status")

    # What is left over.

    async def _sweep(self) -> None:
        now = self._now()
        for csr in self._requests.list():
            if _is_answered(csr) and parse_time(csr["metadata"]["creationTimestamp"]) + KEPT < now:
                await self._delete(REQUESTS, csr)
        clusters = (await self._client.list(CLUSTERS)).get("items") or []
        present = {(one["metadata"]["name"], one["metadata"]["uid"]) for one in clusters}
        selector, namespace = bootstrap_tokens.LABEL, bootstrap_tokens.NAMESPACE
        tokens = await self._client.list(resources.SECRETS, namespace=namespace, label_selector=selector)
        for secret in tokens.get("items") or ():
            if bootstrap_tokens.is_over(secret, now) or bootstrap_tokens.granted(secret) not in present:
                await self._delete(resources.SECRETS, secret)
        names = {agents.lease_name(name) for name, _uid in present}
        for lease in (await self._client.list(resources.LEASES, namespace=SYSTEM_NAMESPACE)).get("items") or ():
            if agents.is_heartbeat(lease) and lease["metadata"]["name"] not in names:
                await self._delete(resources.LEASES, lease)

    async def _delete(self, resource: Resource, obj: Object) -> None:
        metadata = obj["metadata"]
        options = {"preconditions": {"uid": metadata["uid"]}}
        try:
            await self._client.delete(
                resource, metadata["name"], namespace=metadata.get("namespace", ""), options=options
            )
        except NotFound:
            log.debug("%s %s is gone already", resource.kind, metadata["name"])


def _condition(csr: Object, kind: str) -> bool:
    return any(one.get("type") == kind for one in (csr.get("status") or {}).get("conditions") or ())


def _is_answered(csr: Object) -> bool:
    return bool((csr.get("status") or {}).get("certificate")) or _condition(csr, "Denied")
