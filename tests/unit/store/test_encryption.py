"""Values sealed at rest: upstream's form, the order of providers and keys, and what a wrong file is told."""

import base64
import re

import pytest

from cluster.store import encryption_config
from cluster.store.encryption import Sealing, UnreadableError

KEY = b"/registry/secrets/shop/login"
PLAIN = b'{"kind":"Secret","apiVersion":"v1","metadata":{"name":"login"}}'


def secret(number: int, size: int = 32) -> str:
    return base64.b64encode(bytes([number]) * size).decode()


def config(*providers: str, resources: str = "[secrets]") -> bytes:
    listed = "\n".join(f"  - {provider}" for provider in providers)
    head = "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n"
    return f"{head}- resources: {resources}\n  providers:\n{listed}\n".encode()


def provider(kind: str, *keys: tuple[str, str]) -> str:
    listed = ", ".join(f"{{name: {name}, secret: {text}}}" for name, text in keys)
    return f"{kind}: {{keys: [{listed}]}}"


def sealing(*providers: str, resources: str = "[secrets]") -> Sealing:
    return Sealing(encryption_config.load(config(*providers, resources=resources), "config.yaml"))


@pytest.mark.parametrize("kind", ["secretbox", "aescbc", "aesgcm"])
@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 5000])
def test_what_is_sealed_opens_again_and_says_in_its_head_who_can(kind: str, size: int) -> None:
    box = sealing(provider(kind, ("k1", secret(1))))
    sealed = box.seal("secrets", KEY, b"x" * size)
    assert sealed.startswith(f"k8s:enc:{kind}:v1:k1:".encode())
    assert b"xxxx" not in sealed
    opened = box.open("secrets", KEY, sealed)
    assert (opened.plain, opened.stale) == (b"x" * size, False)


def test_a_secretbox_value_has_the_form_of_the_published_test_vector() -> None:
    # The vector of the NaCl paper: key, nonce, the message's first block and its authenticator.
    key = bytes.fromhex("1b27556473e985d462cd51197a9a46c76009549eac6474f206c4ee0844f68389")
    nonce = bytes.fromhex("69696ee955b62b73cd62bda875fc73d68219e0036b7a0b37")
    sealed = bytes.fromhex(
        "f3ffc7703f9400e52a7dfb4b3d3305d98e993b9f48681273c29650ba32fc76ce48332ea7164d96a4476fb8c531a1186a"
        "c0dfc17c98dce87b4da7f011ec48c97271d2c20f9b928fe2270d6fb863d51738b48eeee314a7cc8ab932164548e526ae"
        "90224368517acfeabd6bb3732bc0e9da99832b61ca01b6de56244a9e88d5f9b37973f622a43d14a6599b1f654cb45a74"
        "e355a5"
    )
    box = sealing(provider("secretbox", ("k", base64.b64encode(key).decode())))
    plain = box.open("secrets", KEY, b"k8s:enc:secretbox:v1:k:" + nonce + sealed).plain
    assert plain.hex().startswith("be075fc53c81f2d5cf141316ebeb0c7b5228c52a4c62cbd44b66849b64244ffc")


def test_an_aesgcm_value_under_another_name_does_not_open() -> None:
    box = sealing(provider("aesgcm", ("k", secret(1))))
    sealed = box.seal("secrets", KEY, PLAIN)
    with pytest.raises(UnreadableError, match="message authentication failed"):
        box.open("secrets", b"/registry/secrets/shop/other", sealed)


def test_what_the_first_key_did_not_write_is_stale() -> None:
    old, new = ("old", secret(1)), ("new", secret(2))
    written = sealing(provider("secretbox", old)).seal("secrets", KEY, PLAIN)
    second = sealing(provider("secretbox", old, new))
    assert not second.open("secrets", KEY, written).stale
    first = sealing(provider("secretbox", new, old))
    assert first.open("secrets", KEY, written).stale
    assert first.seal("secrets", KEY, PLAIN).startswith(b"k8s:enc:secretbox:v1:new:")


def test_plain_values_are_read_and_stale_when_identity_comes_last() -> None:
    box = sealing(provider("secretbox", ("k", secret(1))), "identity: {}")
    opened = box.open("secrets", KEY, PLAIN)
    assert (opened.plain, opened.stale) == (PLAIN, True)


def test_identity_first_decrypts_and_writes_plain() -> None:
    key = provider("aescbc", ("k", secret(1)))
    sealed = sealing(key).seal("secrets", KEY, PLAIN)
    box = sealing("identity: {}", key)
    assert box.open("secrets", KEY, sealed).stale
    assert box.seal("secrets", KEY, PLAIN) == PLAIN


@pytest.mark.parametrize(
    ("providers", "value", "why"),
    [
        (
            [provider("secretbox", ("k", secret(1)))],
            b"k8s:enc:secretbox:v1:gone:" + b"x" * 60,
            "no matching key was found for the provided Secretbox transformer",
        ),
        (
            [provider("aesgcm", ("k", secret(1)))],
            b"k8s:enc:aesgcm:v1:gone:" + b"x" * 60,
            "no matching key was found for the provided AES transformer",
        ),
        ([provider("secretbox", ("k", secret(1)))], PLAIN, "no matching prefix found"),
        ([provider("secretbox", ("k", secret(1))), "identity: {}"], b"k8s:enc:aescbc:v1:", "no matching prefix found"),
        (
            [provider("secretbox", ("k", secret(1)))],
            b"k8s:enc:secretbox:v1:k:short",
            "the stored data was shorter than the required size",
        ),
        (
            [provider("secretbox", ("k", secret(1)))],
            b"k8s:enc:secretbox:v1:k:" + b"x" * 60,
            "output array was not large enough for encryption",
        ),
        ([provider("aescbc", ("k", secret(1)))], b"k8s:enc:aescbc:v1:k:" + b"x" * 33, "not a multiple of the block"),
        ([provider("aescbc", ("k", secret(1)))], b"k8s:enc:aescbc:v1:k:" + b"x" * 32, "invalid padding on input"),
    ],
)  # fmt: skip
def test_what_no_key_opens_names_the_object_and_says_why(providers: list[str], value: bytes, why: str) -> None:
    with pytest.raises(UnreadableError) as caught:
        sealing(*providers).open("secrets", KEY, value)
    assert caught.value.message.startswith(f'Internal error occurred: unable to transform key "{KEY.decode()}": ')
    assert why in caught.value.message
    assert caught.value.http_code == 500


def test_a_kind_that_is_not_named_stays_plain_and_refuses_sealed_values() -> None:
    box = sealing(provider("secretbox", ("k", secret(1))))
    assert box.seal("configmaps", KEY, PLAIN) == PLAIN
    with pytest.raises(UnreadableError, match="no matching prefix found"):
        box.open("configmaps", KEY, b"k8s:enc:secretbox:v1:k:xxx")


@pytest.mark.parametrize(
    ("resources", "place", "covered"),
    [
        ("[deployments.apps]", "deployments", True),
        ("['*.apps']", "statefulsets", True),
        ("['*.apps']", "secrets", False),
        ("['*.']", "secrets", True),
        ("['*.']", "services/specs", True),
        ("['*.']", "events", True),
        ("['*.']", "deployments", False),
        ("[services]", "services/specs", True),
        ("[endpoints]", "services/specs", False),
        ("[ingresses.networking.k8s.io]", "ingress", True),
        ("[ships.example.com]", "example.com/ships", True),
        ("['*.example.com']", "example.com/ships", True),
        ("[ships.example.com]", "example.org/ships", False),
        ("['*.*']", "example.com/ships", True),
        ("['*.*']", "secrets", True),
    ],
)
def test_resources_are_named_as_upstream_names_them(resources: str, place: str, *, covered: bool) -> None:
    box = sealing(provider("secretbox", ("k", secret(1))), resources=resources)
    assert box.seal(place, KEY, PLAIN).startswith(b"k8s:enc:") is covered


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "holds no object"),
        (b"[", "is no YAML"),
        (b"kind: Other\napiVersion: v1\n", "no kind 'Other' is registered"),
        (b"kind: EncryptionConfiguration\napiVersion: v1\n", "resources: Required value"),
        (config("secretbox: {keys: []}"), "resources[0].providers[0].secretbox.keys: Required value"),
        (config("secretbox: {keys: [{name: a}]}"), "keys[0].secret: Required value"),
        (config("secretbox: {keys: [{secret: YWJj}]}"), "keys[0].name: Required value"),
        (config(provider("secretbox", ("a", "'?'"))), 'Invalid value: "REDACTED": secrets must be base64 encoded'),
        (config(provider("secretbox", ("a", secret(1, 5)))), "got 5, expected one of [32]"),
        (config(provider("aesgcm", ("a", secret(1, 17)))), "got 17, expected one of [16 24 32]"),
        (config("other: {}"), "provider does not contain any of the expected providers"),
        (config("{identity: {}, secretbox: {keys: []}}"), "more than one provider specified in a single element"),
        (config("kms: {}"), "use secretbox, aesgcm or aescbc"),
        (config("identity: {}", resources="['*']"), "use '*.' to encrypt all the resources from core"),
        (config("identity: {}", resources="[Secrets]"), "should not contain capital letters"),
        (config("identity: {}", resources="[secrets, '*.']"), "will be masked"),
        (config("identity: {}", resources="[secrets, '*.*']"), "will be masked"),
        (config("identity: {}", resources="[secrets, secrets]"), "cannot be specified multiple times"),
        (config("identity: {}", resources="[events.events.k8s.io]"), "stored using the 'events' API group"),
        (config("identity: {}", resources="[deployments.extensions]"), "has been removed"),
        (config("identity: {}", resources="['secrets.*']"), "across groups is not supported"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_told_what_is_wrong(data: bytes, told: str) -> None:
    with pytest.raises(ValueError, match=re.escape(told)) as caught:
        encryption_config.load(data, "config.yaml")
    assert str(caught.value).startswith("config.yaml")


def test_no_message_holds_a_secret() -> None:
    text = "c2VjcmV0LXNlY3JldA=="
    for data in (config(provider("secretbox", ("a", text))), f"a: {text}\n b: [".encode()):
        with pytest.raises(ValueError, match=r"^config.yaml") as caught:
            encryption_config.load(data, "config.yaml")
        assert text not in str(caught.value)
