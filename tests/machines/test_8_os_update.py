"""Newer packages of the operating system that ask for a reboot; a run that is cut off in the middle is gone on with."""

import json
from collections.abc import Iterator

import pytest

from tests.machines.conftest import BIN, NAME, Done, Operator, carry_out, on_host, run

LAST = f"{NAME}-5"
# A package that asks for a reboot when it is upgraded, as version 1 on the host and as version 2 in the only archive.
ARCHIVE = r"""
set -e
mkdir -p /var/tmp/archive /var/tmp/probe/DEBIAN /var/tmp/sources
for version in 1 2; do
    cd /var/tmp/probe/DEBIAN
    printf 'Package: hanse-probe\nVersion: %s\nArchitecture: all\n' $version > control
    printf 'Maintainer: Tests <tests@example.org>\nDescription: a package to upgrade\n' >> control
    printf '#!/bin/sh\nif [ "$1" = configure ] && [ -n "$2" ]; then touch /run/reboot-required; fi\n' > postinst
    chmod 755 postinst
    dpkg-deb --build /var/tmp/probe /var/tmp/archive/hanse-probe_$version.deb >/dev/null
done
cd /var/tmp/archive
dpkg --install hanse-probe_1.deb >/dev/null
deb=hanse-probe_2.deb
{
    dpkg-deb --field $deb
    echo "Filename: ./$deb"
    echo "Size: $(stat -c %s $deb)"
    echo "SHA256: $(sha256sum $deb | cut -d' ' -f1)"
} > Packages
"""
ONLY_THAT_ARCHIVE = r"""
mkdir -p /var/tmp/sources /var/tmp/archive
mv /etc/apt/sources.list /etc/apt/sources.list.d /var/tmp/sources/ 2>/dev/null
mkdir -p /etc/apt/sources.list.d
touch /var/tmp/archive/Packages
echo 'deb [trusted=yes] file:/var/tmp/archive ./' > /etc/apt/sources.list
"""
AS_BEFORE = r"""
rm -rf /etc/apt/sources.list /etc/apt/sources.list.d
mv /var/tmp/sources/* /etc/apt/
dpkg --purge hanse-probe >/dev/null 2>&1
rm -rf /var/tmp/archive /var/tmp/probe /var/tmp/sources
"""


@pytest.fixture(scope="module", autouse=True)
def archive(cluster: Operator) -> Iterator[None]:
    """The only one that any host has; in it, there is something newer for the last of them."""
    on_host(cluster, 5, ARCHIVE)
    for number in range(1, 6):
        on_host(cluster, number, ONLY_THAT_ARCHIVE)
    yield
    for number in range(1, 6):
        on_host(cluster, number, AS_BEFORE)


def boot_of(cluster: Operator) -> str:
    return str(cluster.get("node", LAST)["status"]["nodeInfo"]["bootID"])


def cut_off(cluster: Operator, edge: str) -> Done:
    """An update whose process is killed there."""
    env = {**cluster.env, "PROVISION_FAILPOINT": f"{edge}=kill"}
    return run([str(BIN / "provision"), "os-update", NAME], env=env)


def test_archives_that_cannot_be_read_are_said_and_nothing_is_touched(cluster: Operator) -> None:
    on_host(cluster, 4, "echo 'deb file:/nowhere ./' > /etc/apt/sources.list.d/nowhere.list")

    done = cluster.provision("os-update", NAME)

    on_host(cluster, 4, "rm /etc/apt/sources.list.d/nowhere.list")
    assert done.code == 1
    assert f"{NAME}-4" in done.err
    assert "cannot read the archives' lists" in done.err


def test_a_host_is_emptied_updated_and_booted_and_a_killed_run_is_gone_on_with(cluster: Operator) -> None:
    before, revision = boot_of(cluster), cluster.get("nodes")["items"]
    asked = cluster.provision("os-update", NAME, "--dry-run", "--json")
    plan = json.loads(asked.out.splitlines()[-1])
    assert {action["host"] for action in plan["actions"]} == {"", LAST}

    assert cut_off(cluster, f"did {LAST}/cordon").code == -9
    assert cluster.get("node", LAST)["spec"]["unschedulable"] is True
    done = carry_out(cluster, "os_update")

    assert done.code == 0, done.err + done.out
    assert "hanse-probe 2" in on_host(cluster, 5, "dpkg-query --show --showformat='${Package} ${Version}' hanse-probe")
    assert boot_of(cluster) != before
    assert "unschedulable" not in cluster.get("node", LAST)["spec"]
    untouched = {node["metadata"]["name"]: node["status"]["nodeInfo"]["bootID"] for node in revision}
    now = {node["metadata"]["name"]: node["status"]["nodeInfo"]["bootID"] for node in cluster.get("nodes")["items"]}
    assert {name for name, boot in now.items() if untouched[name] != boot} == {LAST}

    assert "Nothing to do" in cluster.provision("os-update", NAME).out
