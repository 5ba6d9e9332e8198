"""ServiceAccount: every pod has an account, its credentials mounted and its pull secrets."""

import asyncio
import copy

from cluster.api import resources
from cluster.apiserver.admission.plugin import CREATE, UPDATE, Plugin, metadata_of, refuse
from cluster.apiserver.pod_references import containers_of
from cluster.apiserver.requests import AdmissionRequest
from cluster.machinery import names
from cluster.machinery.objects import Object

TOKEN_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"  # noqa: S105
VOLUME_PREFIX = "kube-api-access-"
TOKEN_SECONDS = 3607
"""An hour and 7 s; the odd number tells such tokens from those asked for by hand. Source: upstream."""
DEFAULT_ACCOUNT_ATTEMPTS = 9
DEFAULT_ACCOUNT_INTERVAL = 0.1  # seconds; upstream waits 0.1 to 0.2 s, as often
MIRROR_ANNOTATION = "kubernetes.io/config.mirror"
ENFORCE_ANNOTATION = "kubernetes.io/enforce-mountable-secrets"


class ServiceAccount(Plugin):
    name = "ServiceAccount"
    operations = frozenset({CREATE, UPDATE})
    resources = frozenset({"pods"})

    async def mutate(self, request: AdmissionRequest) -> None:
        if request.operation != CREATE or request.subresource or request.obj is None:
            return
        pod = request.obj
        if MIRROR_ANNOTATION in (metadata_of(request).get("annotations") or {}):
            return  # a kubelet compares its mirror pods with their files: they stay as they are
        spec = pod.setdefault("spec", {})
        spec.setdefault("serviceAccountName", "")
        if not spec["serviceAccountName"]:
            spec["serviceAccountName"] = "default"
        spec["serviceAccount"] = spec["serviceAccountName"]
        account = await self._account(request, spec["serviceAccountName"])
        if _mounts_token(account, spec):
            _mount_token(spec)
        if not spec.get("imagePullSecrets") and account.get("imagePullSecrets"):
            spec["imagePullSecrets"] = copy.deepcopy(account["imagePullSecrets"])

    async def validate(self, request: AdmissionRequest) -> None:
        if request.obj is None:
            return
        spec = request.obj.get("spec") or {}
        if request.subresource == "ephemeralcontainers" and request.operation == UPDATE:
            await self._limit_ephemeral(request, spec)
            return
        if request.operation != CREATE or request.subresource:
            return
        if MIRROR_ANNOTATION in (metadata_of(request).get("annotations") or {}):
            _check_mirror(request, spec)
            return
        account = await self._account(request, spec.get("serviceAccountName") or "default")
        if _enforces(account):
            _limit_references(request, account, spec)

    async def _limit_ephemeral(self, request: AdmissionRequest, spec: Object) -> None:
        account = await self._account(request, spec.get("serviceAccountName") or "default")
        if not _enforces(account):
            return
        known = {secret.get("name") for secret in account.get("secrets") or ()}
        for container in spec.get("ephemeralContainers") or ():
            _limit_container(request, "ephemeral container", container, known, account["metadata"]["name"])

    async def _account(self, request: AdmissionRequest, name: str) -> Object:
        namespace = request.namespace
        found = self.reader.get(resources.SERVICE_ACCOUNTS, namespace, name)
        if found is None:
            found = await self.reader.get_current(resources.SERVICE_ACCOUNTS, namespace, name)
        attempts = DEFAULT_ACCOUNT_ATTEMPTS if name == "default" else 0
        while found is None and attempts:
            # A controller makes the default account a moment after the namespace: worth a short wait.
            attempts -= 1
            await asyncio.sleep(DEFAULT_ACCOUNT_INTERVAL)
            found = self.reader.get(resources.SERVICE_ACCOUNTS, namespace, name)
        if found is None:
            why = f'error looking up service account {namespace}/{name}: serviceaccount "{name}" not found'
            raise refuse(request, why)
        return found


def _mounts_token(account: Object, spec: Object) -> bool:
    """The pod's word goes before the account's; without any, yes."""
    for holder in (spec, account):
        if holder.get("automountServiceAccountToken") is not None:
            return bool(holder["automountServiceAccountToken"])
    return True


def _mount_token(spec: Object) -> None:
    volumes = spec.get("volumes") or []
    taken = {volume.get("name") for volume in volumes}
    name = next(
        (v["name"] for v in volumes if str(v.get("name", "")).startswith(VOLUME_PREFIX) and "projected" in v), ""
    )
    is_new = not name
    while not name or (is_new and name in taken):
        name = names.generate(VOLUME_PREFIX)
    needed = False
    for kind in ("initContainers", "containers"):
        for container in spec.get(kind) or ():
            mounts = container.get("volumeMounts") or []
            if any(mount.get("mountPath") == TOKEN_PATH for mount in mounts):
                continue
            container["volumeMounts"] = [*mounts, {"name": name, "readOnly": True, "mountPath": TOKEN_PATH}]
            needed = True
    if needed and is_new:
        spec["volumes"] = [*volumes, {"name": name, "projected": _token_projection()}]


def _token_projection() -> Object:
    namespace_field = {"apiVersion": "v1", "fieldPath": "metadata.namespace"}
    return {
        "sources": [
            {"serviceAccountToken": {"expirationSeconds": TOKEN_SECONDS, "path": "token"}},
            {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
            {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": namespace_field}]}},
        ],
        "defaultMode": 0o644,
    }


def _check_mirror(request: AdmissionRequest, spec: Object) -> None:
    if spec.get("serviceAccountName"):
        raise refuse(request, "a mirror pod may not reference service accounts")
    for volume in spec.get("volumes") or ():
        if "secret" in volume:
            raise refuse(request, "a mirror pod may not reference secrets")
        for source in (volume.get("projected") or {}).get("sources") or ():
            if "serviceAccountToken" in source:
                raise refuse(request, "a mirror pod may not use ServiceAccountToken volume projections")


def _enforces(account: Object) -> bool:
    value = (account["metadata"].get("annotations") or {}).get(ENFORCE_ANNOTATION, "")
    return value in ("1", "t", "T", "true", "TRUE", "True")


def _limit_references(request: AdmissionRequest, account: Object, spec: Object) -> None:
    known = {secret.get("name") for secret in account.get("secrets") or ()}
    account_name = account["metadata"]["name"]
    for volume in spec.get("volumes") or ():
        secret = (volume.get("secret") or {}).get("secretName")
        if secret is not None and secret not in known:
            raise refuse(
                request,
                f'volume with secret.secretName="{secret}" is not allowed because service account {account_name}'
                " does not reference that secret",
            )
    init = {id(container) for container in spec.get("initContainers") or ()}
    for container in containers_of(spec):
        kind = "init container" if id(container) in init else "container"
        _limit_container(request, kind, container, known, account_name)
    pull_secrets = {secret.get("name") for secret in account.get("imagePullSecrets") or ()}
    for index, reference in enumerate(spec.get("imagePullSecrets") or ()):
        if reference.get("name") not in pull_secrets:
            raise refuse(
                request,
                f'imagePullSecrets[{index}].name="{reference.get("name")}" is not allowed because service account'
                f" {account_name} does not reference that imagePullSecret",
            )


def _limit_container(
    request: AdmissionRequest, kind: str, container: Object, known: set[str | None], account_name: str
) -> None:
    for variable in container.get("env") or ():
        reference = (variable.get("valueFrom") or {}).get("secretKeyRef")
        if reference is not None and reference.get("name") not in known:
            raise refuse(
                request,
                f"{kind} {container.get('name')} with envVar {variable.get('name')} referencing"
                f' secret.secretName="{reference.get("name")}" is not allowed because service account {account_name}'
                " does not reference that secret",
            )
