"""What sixteen clients were told by three apiservers, while these and etcd were killed and paused, is all true."""

from tests.histories.run import Settings, run


async def test_nothing_is_lost_stale_twice_or_out_of_order_under_kills_and_pauses() -> None:
    history, findings = await run(Settings(operations=8000, contests=2, interval=0.7))
    assert not findings
    assert history.trouble
    assert sum(op.status in (200, 201) for op in history.operations) > 1000
    assert any(session.live_at_end and session.events for session in history.watches)
