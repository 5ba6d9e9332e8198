"""
With which keys the Secrets in etcd are sealed: every stored value's head, read from a member beside the apiserver.

Values do not leave the host; names of objects and keys do.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from cluster import settings
from provisioner.errors import ProvisionError
from provisioner.transports.base import Transport

PREFIX = "/registry/secrets/"
PLAIN = "(not sealed)"
_SCRIPT = r"""
import base64, json, subprocess, sys
question = json.loads(sys.argv[1])
end = question["prefix"][:-1] + chr(ord(question["prefix"][-1]) + 1)
start, revision, counts, others = question["prefix"], 0, {}, []
while True:
    argv = [*question["etcdctl"], "get", start, end, "--limit=500", "-w", "json"]
    if revision:
        argv.append("--rev=%d" % revision)
    done = subprocess.run(argv, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr[-300:] or "etcdctl ended with %d" % done.returncode)
    page = json.loads(done.stdout)
    revision = revision or page["header"]["revision"]
    keys = page.get("kvs") or []
    for one in keys:
        key, value = base64.b64decode(one["key"]).decode(), base64.b64decode(one["value"][:400])
        parts = value.split(b":")
        sealed = value.startswith(b"k8s:enc:") and len(parts) > 5
        by = parts[4].decode(errors="replace") if sealed else question["plain"]
        counts[by] = counts.get(by, 0) + 1
        if by != question["wanted"] and len(others) < question["most"]:
            others.append(key[len(question["prefix"]):])
    if not page.get("more"):
        break
    start = base64.b64decode(keys[-1]["key"]).decode() + "\0"
print(json.dumps({"counts": counts, "others": others}))
"""
_MOST = 1000
"""Names that one look brings; the next look brings more."""


@dataclass(frozen=True, slots=True)
class SealedValues:
    counts: Mapping[str, int]
    """Name of a key, or PLAIN -> how many Secrets it sealed."""
    others: tuple[tuple[str, str], ...]
    """(namespace, name) of Secrets that the wanted key did not seal, a thousand at most."""

    def under_others(self, wanted: str) -> int:
        return sum(count for name, count in self.counts.items() if name != wanted)


async def read_sealed_values(transport: Transport, wanted: str) -> SealedValues:
    """
    Look at every Secret, 500 at a time, all at one revision of the store.

    Args:
        transport: To a host with a member of etcd.
        wanted: Name of the key that should have sealed them.

    Raises:
        ProvisionError: The member does not answer.
    """
    pki = settings.ETCD_PKI_DIR
    question = {
        "etcdctl": [
            str(settings.CURRENT_RELEASE / "bin" / "etcdctl"),
            f"--endpoints=https://127.0.0.1:{settings.ETCD_CLIENT_PORT}", f"--cacert={pki}/ca.crt",
            f"--cert={pki}/healthcheck-client.crt", f"--key={pki}/healthcheck-client.key",
        ],
        "prefix": PREFIX, "plain": PLAIN, "wanted": wanted, "most": _MOST,
    }  # fmt: skip
    result = await transport.run(["python3", "-I", "-", json.dumps(question)], stdin=_SCRIPT.encode())
    if result.exit_code != 0:
        raise ProvisionError(
            "cannot look at what etcd holds of Secrets", why=result.stderr.strip()[-300:] or "no answer",
            next_step="Look at `provision etcd status`, then run again.", host=transport.host,
        )  # fmt: skip
    told = json.loads(result.stdout)
    names = (other.partition("/") for other in told["others"])
    return SealedValues(told["counts"], tuple((namespace, name) for namespace, _, name in names))
