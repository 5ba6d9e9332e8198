"""
What a cluster needs for the agent to run in it, as objects for `kubectl apply`. Pure.

Leaving takes the Namespace away and with it, by owner references that the agent sets, the cluster-wide rest.
"""

import importlib.metadata
import json
from collections.abc import Sequence

from cluster.api import resources
from cluster.api.resources import Resource
from cluster.machinery.objects import Object
from federation.api.kinds import SYSTEM_NAMESPACE
from federation.membership.invite import Invitation
from federation.membership.tokens import MEMBER_LABEL

AGENT = "federation-agent"
IMAGE = "hanse.local/federation-agent"
"""On every node of a cluster that Hanse provisioned; its tag is the version of that release."""
BOOTSTRAP = "federation-agent-bootstrap"
"""The Secret with the token; the agent's own certificate is in another one."""


def own_image() -> str:
    """Of the version that runs here."""
    return f"{IMAGE}:{importlib.metadata.version('hanse')}"


_RBAC = "rbac.authorization.k8s.io"
_MOUNTED = "/etc/federation-agent"


def agent_objects(invitation: Invitation, image: str = "") -> list[tuple[Resource, Object]]:
    """In the order in which they are made. Without an image there is no Deployment: the agent runs elsewhere."""
    labels = {MEMBER_LABEL: "federation"}
    inside = {"namespace": SYSTEM_NAMESPACE, "labels": labels}
    subject = {"kind": "ServiceAccount", "name": AGENT, "namespace": SYSTEM_NAMESPACE}
    everything = [
        {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]},
        {"nonResourceURLs": ["*"], "verbs": ["*"]},
    ]
    namespace: Object = {"metadata": {"name": SYSTEM_NAMESPACE, "labels": labels}}
    role: Object = {"metadata": {"name": AGENT, "labels": labels}, "rules": everything}
    binding: Object = {
        "metadata": {"name": AGENT, "labels": labels},
        "roleRef": {"apiGroup": _RBAC, "kind": "ClusterRole", "name": AGENT},
        "subjects": [subject],
    }
    secret: Object = {
        "metadata": {"name": BOOTSTRAP, **inside},
        "type": "Opaque",
        "stringData": {"token": invitation.token.text, "ca-cert-hash": "\n".join(invitation.pins)},
    }
    found = [
        _of("v1", resources.NAMESPACES, namespace),
        _of("v1", resources.SERVICE_ACCOUNTS, {"metadata": {"name": AGENT, **inside}}),
        _of(f"{_RBAC}/v1", resources.named(f"clusterroles.{_RBAC}"), role),
        _of(f"{_RBAC}/v1", resources.named(f"clusterrolebindings.{_RBAC}"), binding),
        _of("v1", resources.SECRETS, secret),
    ]
    if image:
        deployment: Object = {"metadata": {"name": AGENT, **inside}, "spec": _deployment(invitation, image)}
        found.append(_of("apps/v1", resources.named("deployments.apps"), deployment))
    return found


def _of(api_version: str, resource: Resource, obj: Object) -> tuple[Resource, Object]:
    return resource, {"apiVersion": api_version, "kind": resource.kind, **obj}


def _deployment(invitation: Invitation, image: str) -> Object:
    labels = {"app.kubernetes.io/name": AGENT}
    container: Object = {
        "name": "agent",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python3", "-m", "federation.agent"],
        "args": arguments(invitation, f"{_MOUNTED}/token"),
        "volumeMounts": [{"name": "bootstrap", "mountPath": _MOUNTED, "readOnly": True}],
        "resources": {"requests": {"cpu": "20m", "memory": "80Mi"}, "limits": {"memory": "256Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "runAsUser": 65532,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }
    # Owner and group can read it, nobody else; the token is nothing once the certificate is there.
    bootstrap = {"name": "bootstrap", "secret": {"secretName": BOOTSTRAP, "optional": True, "defaultMode": 0o440}}
    return {
        "replicas": 1,
        "strategy": {"type": "Recreate"},  # two agents would be one member twice
        "selector": {"matchLabels": labels},
        "template": {
            "metadata": {"labels": labels},
            "spec": {
                "serviceAccountName": AGENT,
                "securityContext": {"fsGroup": 65532},
                "priorityClassName": "system-cluster-critical",
                "containers": [container],
                "volumes": [bootstrap],
            },
        },
    }


def arguments(invitation: Invitation, token_file: str) -> list[str]:
    """The agent's flags; no secret is among them."""
    return [
        f"--cluster={invitation.cluster}",
        f"--federation-server={invitation.server}",
        f"--token-file={token_file}",
        *(f"--discovery-token-ca-cert-hash={pin}" for pin in invitation.pins),
    ]


def manifest(objects: Sequence[tuple[Resource, Object]]) -> str:
    """One file. Every document is JSON, which YAML is."""
    return "".join(_document(obj) for _resource, obj in objects)


def _document(obj: Object) -> str:
    return f"---\n{json.dumps(obj, indent=2)}\n"
