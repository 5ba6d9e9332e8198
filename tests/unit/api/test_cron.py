import zoneinfo
from collections.abc import Iterator

import pytest

from cluster.api.validation.batch import validate_cron_job
from cluster.api.validation.cron import CronError, check_schedule


@pytest.mark.parametrize(
    "schedule", ["* * * * *", "*/15 0-6/2 1,15 jan-mar ?", "@hourly", "@every 5m", "59 23 31 12 6", "5/10 * * * sun"]
)
def test_a_schedule_that_can_be_kept(schedule: str) -> None:
    check_schedule(schedule)


@pytest.mark.parametrize(
    ("schedule", "fault"),
    [
        ("", "empty spec string"),
        ("* * * *", "expected exactly 5 fields, found 4: [* * * *]"),
        ("x * * * *", 'failed to parse int from x: strconv.Atoi: parsing "x": invalid syntax'),
        ("* 24 * * *", "end of range (24) above maximum (23): 24"),
        ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
        ("5-1 * * * *", "beginning of range (5) beyond end of range (1): 5-1"),
        ("*/0 * * * *", "step of range should be a positive number: */0"),
        ("1-2-3 * * * *", "too many hyphens: 1-2-3"),
        ("1/2/3 * * * *", "too many slashes: 1/2/3"),
        ("@fortnightly", "unrecognized descriptor: @fortnightly"),
    ],
)
def test_a_schedule_nobody_can_keep(schedule: str, fault: str) -> None:
    with pytest.raises(CronError) as raised:
        check_schedule(schedule)
    assert str(raised.value) == fault


@pytest.fixture
def host_without_zones() -> Iterator[None]:
    before = zoneinfo.TZPATH
    zoneinfo.reset_tzpath(to=())
    zoneinfo.ZoneInfo.clear_cache()
    yield
    zoneinfo.reset_tzpath(to=before)


@pytest.mark.usefixtures("host_without_zones")
def test_time_zones_are_known_on_a_host_that_has_none() -> None:
    faults = [error.field for error in validate_cron_job({"spec": {"timeZone": "Europe/Hamburg"}})]
    assert "spec.timeZone" in faults
    faults = [error.field for error in validate_cron_job({"spec": {"timeZone": "Europe/Berlin"}})]
    assert "spec.timeZone" not in faults
