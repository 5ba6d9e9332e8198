"""What a kubeconfig says, and what is refused."""

import pathlib

import pytest

from cluster.client.kubeconfig import ClientConfig, KubeconfigError, in_cluster_config, parse_kubeconfig

WHOLE = b"""
apiVersion: v1
kind: Config
current-context: dev
contexts:
- {name: dev, context: {cluster: c, user: u, namespace: team}}
- {name: other, context: {cluster: c, user: token}}
clusters:
- name: c
  cluster:
    server: https://m1:6443/
    certificate-authority: pki/ca.crt
    extensions:
    - {name: hanse.io/servers, extension: {servers: ["https://m1:6443", "https://m2:6443"]}}
users:
- {name: u, user: {client-certificate: pki/u.crt, client-key-data: a2V5}}
- {name: token, user: {token: secret-token}}
"""


def parse(text: bytes, context: str = "") -> ClientConfig:
    return parse_kubeconfig(text, source="test", base=pathlib.Path("/etc/kubernetes"), context=context)


def test_servers_files_and_data_are_read() -> None:
    config = parse(WHOLE)

    assert config.servers == ("https://m1:6443", "https://m2:6443")
    assert config.ca_file == pathlib.Path("/etc/kubernetes/pki/ca.crt")
    assert config.cert_file == pathlib.Path("/etc/kubernetes/pki/u.crt")
    assert config.key_data == b"key"
    assert config.namespace == "team"


def test_another_context_can_be_chosen_and_secrets_are_not_shown() -> None:
    config = parse(WHOLE, "other")

    assert config.token == "secret-token"
    assert "secret-token" not in repr(config)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (b"[1, 2]", "not a mapping"),
        (b"a: [", "not YAML"),
        (b"a: &x 1\nb: *x", "aliases"),
        (b"[" * 100, "deeper"),
        (b"apiVersion: v1", "current-context"),
        (WHOLE.replace(b"cluster: c,", b"cluster: gone,"), "no entry 'gone'"),
        (WHOLE.replace(b"a2V5", b"!!"), "not base64|not YAML"),
        (WHOLE.replace(b"client-key-data: a2V5", b"exec: {command: x}"), "plugin"),
    ],
)
def test_what_cannot_be_used_is_named(text: bytes, fault: str) -> None:
    with pytest.raises(KubeconfigError, match=fault):
        parse(text)


def test_a_pod_finds_its_apiserver_in_the_environment(tmp_path: pathlib.Path) -> None:
    (tmp_path / "namespace").write_text("team\n")

    config = in_cluster_config({"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "443"}, tmp_path)

    assert config.servers == ("https://[fd00::1]:443",)
    assert config.namespace == "team"
    assert config.token_file == tmp_path / "token"
