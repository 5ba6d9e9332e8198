"""When schedules strike."""

import datetime

import pytest

from cluster.machinery.cron_schedule import Schedule, latest_strike, zone_of

UTC = datetime.UTC


@pytest.mark.parametrize(
    ("schedule", "after", "strike"),
    [
        ("* * * * *", "2026-01-01T00:00:30", "2026-01-01T00:01:00"),
        ("*/15 * * * *", "2026-01-01T00:15:00", "2026-01-01T00:30:00"),
        ("0 6 * * mon", "2026-01-01T00:00:00", "2026-01-05T06:00:00"),
        ("0 0 31 * *", "2026-02-01T00:00:00", "2026-03-31T00:00:00"),
        ("0 0 29 2 *", "2026-01-01T00:00:00", "2028-02-29T00:00:00"),
        ("0 0 1 * 0", "2026-01-01T12:00:00", "2026-01-04T00:00:00"),
        ("@hourly", "2026-12-31T23:30:00", "2027-01-01T00:00:00"),
        ("@every 90s", "2026-01-01T00:00:00", "2026-01-01T00:01:30"),
        ("5/20 * * * *", "2026-01-01T00:26:00", "2026-01-01T00:45:00"),
    ],
)
def test_next_strike(schedule: str, after: str, strike: str) -> None:
    moment = datetime.datetime.fromisoformat(after).replace(tzinfo=UTC)

    assert Schedule.parse(schedule).next_after(moment, UTC) == datetime.datetime.fromisoformat(strike).replace(
        tzinfo=UTC
    )


def test_a_date_that_never_comes_never_strikes() -> None:
    assert Schedule.parse("0 0 31 2 *").next_after(datetime.datetime(2026, 1, 1, tzinfo=UTC), UTC) is None


def test_a_schedule_follows_its_own_zone_through_summer_time() -> None:
    berlin = zone_of("Europe/Berlin")
    daily = Schedule.parse("0 9 * * *")
    before = daily.next_after(datetime.datetime(2026, 3, 27, 12, tzinfo=UTC), berlin)
    after = daily.next_after(datetime.datetime(2026, 3, 29, 12, tzinfo=UTC), berlin)

    assert before == datetime.datetime(2026, 3, 28, 8, tzinfo=UTC)
    assert after == datetime.datetime(2026, 3, 30, 7, tzinfo=UTC)


def test_only_the_last_of_missed_strikes_counts_even_after_a_year() -> None:
    now = datetime.datetime(2026, 1, 1, 0, 7, 30, tzinfo=UTC)
    every_minute = Schedule.parse("* * * * *")

    assert latest_strike(every_minute, now - datetime.timedelta(minutes=3), now, UTC) == (
        now.replace(second=0),
        3,
    )
    assert latest_strike(every_minute, now - datetime.timedelta(days=365), now, UTC) == (now.replace(second=0), 101)
