"""A CA is known by its pin, and by nothing that it says of itself."""

import datetime as dt

import pytest

from cluster.pki.authority import PkiError, make_authority
from cluster.pki.pinning import check_pin, pinned, pins_of

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
OURS, OTHER = (make_authority("kubernetes", now=NOW).certificate_pem for _ in range(2))


def test_of_a_bundle_the_pinned_certificates_alone_are_believed() -> None:
    [pin] = pins_of(OURS)
    assert pinned(OTHER + OURS, [pin]) == OURS
    with pytest.raises(PkiError, match="none of the CAs that were shown is pinned"):
        pinned(OTHER, [pin])
    with pytest.raises(PkiError, match="none of the CAs"):
        pinned(OURS, [])
    with pytest.raises(PkiError, match="no PEM"):
        pinned(b"<html>", [pin])


def test_a_pin_is_a_sha256_in_hexadecimal() -> None:
    [pin] = pins_of(OURS)
    assert check_pin(f" {pin.upper()}\n") == pin
    for wrong in ("", "sha256:", "sha1:" + "0" * 64, "sha256:" + "0" * 63, "sha256:" + "g" * 64):
        with pytest.raises(PkiError, match="no pin of a CA"):
            check_pin(wrong)
