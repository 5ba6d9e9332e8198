"""Ten thousand changes of two federations and a person in one zone of a real BIND: nobody touches another's name."""

from pathlib import Path

import pytest

from tests.integration.interleaved_zone import interleaved
from tests.integration.name_servers import missing, name_server


@pytest.mark.skipif(bool(missing("bind")), reason=missing("bind") or "installed")
@pytest.mark.timeout(3600)
async def test_ten_thousand_interleaved_changes_touch_no_foreign_record(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with name_server("bind", tmp_path) as port:
        counted = await interleaved(port, 10_000, seed=11)
    with capsys.disabled():
        print(f"\n{counted}")
    assert counted.faults == []
