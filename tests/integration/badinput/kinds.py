"""The valid objects of valid_objects.yaml, and where each is posted."""

import base64
import functools
import pathlib
from typing import Any

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from cluster.api import resources

Object = dict[str, Any]
_REVIEWS = {
    "SubjectAccessReview": "authorization.k8s.io/v1/subjectaccessreviews",
    "SelfSubjectAccessReview": "authorization.k8s.io/v1/selfsubjectaccessreviews",
    "SelfSubjectRulesReview": "authorization.k8s.io/v1/selfsubjectrulesreviews",
    "TokenReview": "authentication.k8s.io/v1/tokenreviews",
    "SelfSubjectReview": "authentication.k8s.io/v1/selfsubjectreviews",
}


@functools.cache
def valid_objects() -> list[Object]:
    text = pathlib.Path(__file__).with_name("valid_objects.yaml").read_text().replace("{csr}", _request())
    found: list[Object] = yaml.safe_load(text)
    return found


def _request() -> str:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "valid")])
    made = x509.CertificateSigningRequestBuilder().subject_name(name).sign(
        ec.generate_private_key(ec.SECP256R1()), hashes.SHA256()
    )  # fmt: skip
    return base64.b64encode(made.public_bytes(serialization.Encoding.PEM)).decode()


def collection(obj: Object) -> str:
    """The path that objects of this kind are posted to; namespaced ones in `default`."""
    kind, version = obj["kind"], obj["apiVersion"]
    if kind in _REVIEWS:
        return f"/apis/{_REVIEWS[kind]}"
    resource = resources.by_kind(version, kind)
    if resource is None:
        raise LookupError(f"nobody serves {version} {kind}")
    prefix = f"/apis/{version}" if "/" in version else f"/api/{version}"
    return prefix + ("/namespaces/default/" if resource.namespaced else "/") + resource.plural
