"""Nobody without the key gets the federation's zone, however the messages of those who have it are bent."""

from tests.integration.dns_attackers import ATTACKS, attack


async def test_a_thousand_forged_replayed_and_bent_messages_get_nothing() -> None:
    tried, succeeded = await attack(1000, seed=42)
    assert not succeeded, succeeded[:3]
    assert set(tried.values()) == {1000 // len(ATTACKS)}
