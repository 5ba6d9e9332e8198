"""Who holds the key of an expired certificate may come back; who holds anything less may not."""

import datetime as dt

import jwt
import pytest
from cryptography.hazmat.primitives import serialization

from cluster.pki.authority import Authority, make_authority, make_private_key
from cluster.pki.issue import CertificateContent, KeyPair, Usage, issue_key_pair
from federation.membership import agents
from federation.membership.return_proof import AWAY, ProofError, is_proof, make_proof, read_proof

ISSUED = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
LIFE = dt.timedelta(days=90)
NOW = ISSUED + LIFE + dt.timedelta(days=10)
OURS, OTHER = (make_authority("kubernetes", now=ISSUED) for _ in range(2))
EAST = CertificateContent(agents.user_of("east"), (agents.GROUP, agents.uid_group("uid-1")), usages=(Usage.CLIENT,))


def pair(content: CertificateContent = EAST, authority: Authority = OURS) -> KeyPair:
    return issue_key_pair(authority, content, now=ISSUED, lifetime=LIFE)


def read(held: KeyPair, now: dt.datetime = NOW, made: dt.datetime | None = None) -> tuple[str, tuple[str, ...]]:
    proof = make_proof(held.certificate_pem, held.key_pem, made or now)
    return read_proof(proof, [OURS.certificate], now)


def test_who_holds_the_key_returns_as_that_member_of_that_time_and_as_nothing_more() -> None:
    assert read(pair()) == ("system:federation:member:east", (agents.RETURNING, agents.uid_group("uid-1")))


def test_what_proves_less_is_refused_in_words() -> None:
    with pytest.raises(ProofError, match="not the federation's"):
        read(pair(authority=OTHER))
    with pytest.raises(ProofError, match="has not ended"):
        read(pair(), ISSUED + dt.timedelta(days=1))
    with pytest.raises(ProofError, match="too long ago"):
        read(pair(), NOW + AWAY)
    with pytest.raises(ProofError, match="none of a member's agent"):
        read(pair(CertificateContent("admin", ("system:masters",), usages=(Usage.CLIENT,))))
    for made in (NOW - dt.timedelta(minutes=6), NOW + dt.timedelta(minutes=6)):
        with pytest.raises(ProofError, match="not of now"):
            read(pair(), made=made)


def test_another_key_proves_nothing() -> None:
    held = pair()
    key = make_private_key().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    with pytest.raises(ProofError, match="not signed by the certificate's key"):
        read(KeyPair(held.certificate_pem, key))


def test_a_proof_of_long_life_or_without_signature_is_none() -> None:
    held = pair()
    good = make_proof(held.certificate_pem, held.key_pem, NOW)
    header = jwt.get_unverified_header(good)
    key = serialization.load_pem_private_key(held.key_pem, None)
    claims = {"aud": "federation.hanse.io/return", "iat": NOW, "exp": NOW + dt.timedelta(days=1)}
    long = jwt.encode(claims, key, algorithm="ES256", headers={"typ": header["typ"], "x5c": header["x5c"]})  # type: ignore[arg-type]
    with pytest.raises(ProofError, match="not of now"):
        read_proof(long, [OURS.certificate], NOW)
    unsigned = good.rpartition(".")[0] + "."
    with pytest.raises(ProofError, match="not signed"):
        read_proof(unsigned, [OURS.certificate], NOW)


def test_tokens_of_others_are_left_to_them() -> None:
    held = pair()
    assert is_proof(make_proof(held.certificate_pem, held.key_pem, NOW))
    for other in ("", "abcdef.0123456789abcdef", jwt.encode({"aud": "x"}, "k" * 32, algorithm="HS256")):
        assert not is_proof(other)
