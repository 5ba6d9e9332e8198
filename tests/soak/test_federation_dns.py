"""
Ten thousand changes of two federations and a person in one zone of a real BIND: nobody touches another's name.
Ten thousand attacks on the federation's own name server: nobody gets anything.
"""

from pathlib import Path

import pytest

from tests.integration.dns_attackers import attack
from tests.integration.name_servers import missing, name_server
from tests.integration.test_federation_dns_updates import interleaved


@pytest.mark.skipif(bool(missing("bind")), reason=missing("bind") or "installed")
@pytest.mark.timeout(3600)
async def test_ten_thousand_interleaved_changes_touch_no_foreign_record(tmp_path: Path) -> None:
    async with name_server("bind", tmp_path) as port:
        await interleaved(port, 10_000, seed=11)


@pytest.mark.timeout(600)
async def test_ten_thousand_forged_replayed_and_bent_messages_get_nothing() -> None:
    tried, succeeded = await attack(10_000, seed=43)
    assert not succeeded, succeeded[:3]
    assert tried.total() == 10_000
