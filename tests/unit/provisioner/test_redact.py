"""Secrets do not get into what is collected for others."""

import pytest

from provisioner.diagnosis.redact import MARK, redacted

BODY = "MHcCAQEEIAbcdefghijklmnopqrstuvwxyz0123456789\nAAAA=="
KEY = f"-----BEGIN EC PRIVATE KEY-----\n{BODY}\n-----END EC PRIVATE KEY-----"


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        (f"before {KEY} after", "MHcCAQEE"),
        (KEY[: len(KEY) // 2], "MHcCAQEE"),
        ("token eyJhbGciOiJSUzI1NiIsImtpZCI6.eyJpc3MiOiJrdWJlcm5ldGVz.c2lnbmF0dXJlc2ln end", "eyJpc3M"),
        ("Authorization: Bearer abcdefgh12345678", "abcdefgh12345678"),
        ("authorization: Basic dXNlcjpwYXNzd29yZA==", "dXNlcjpw"),
        ('{"password": "hunter2hunter2"}', "hunter2"),
        ("PASSWORD=hunter2hunter2", "hunter2"),
        ("client-key-data: LS0tLS1CRUdJTg==", "LS0tLS1C"),
        ("kubeadm join --token abcdef.0123456789abcdef", "0123456789abcdef"),
        ("api_key=AKIAIOSFODNN7EXAMPLE", "AKIAIOSF"),
        ("secret: c3VwZXJzZWNyZXQ=", "c3VwZXJz"),
        ("the canary is in here: s3cr3t-canary-value!", "s3cr3t-canary-value"),
    ],
)
def test_what_looks_like_a_secret_is_taken_out(text: str, secret: str) -> None:
    assert secret in text
    assert secret not in redacted(text, ["s3cr3t-canary-value"])
    assert MARK in redacted(text, ["s3cr3t-canary-value"])


@pytest.mark.parametrize(
    "text",
    [
        "E0101 reflector.go: failed to list *v1.Secret: secrets is forbidden",
        "--service-account-signing-key-file=/etc/kubernetes/pki/sa.key --token-auth-file=/etc/kubernetes/tokens",
        "mounted volume from secret default/web-tls",
        "node dev-1 is Ready",
        "uid 3f1c9c3e-1c1e-4d55-8f5b-0d8f1e0c7d11 revision 1234567",
    ],
)
def test_what_is_said_about_secrets_stays(text: str) -> None:
    assert redacted(text) == text
