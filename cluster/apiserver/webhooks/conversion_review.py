"""
Conversion of custom resources by a webhook: what is asked, and what of the answer is believed.

Pure. Source: k8s.io/apiextensions-apiserver, pkg/apiserver/conversion/webhook_converter.go.
"""

from collections.abc import Sequence
from typing import Any

from cluster.machinery.decode import go_kind
from cluster.machinery.labels import validate_annotations, validate_labels
from cluster.machinery.objects import Object, copy_object

SUPPORTED = ("v1", "v1beta1")
_GROUP = "apiextensions.k8s.io"


class BadAnswerError(Exception):
    """The webhook refused, or its answer is none. The text is upstream's, from behind `conversion webhook for X`."""


def request(version: str, uid: str, objects: Sequence[Object], api_version: str) -> Object:
    """A ConversionReview that asks for `objects` in another apiVersion."""
    return {
        "kind": "ConversionReview",
        "apiVersion": f"{_GROUP}/{version}",
        "request": {"uid": uid, "desiredAPIVersion": api_version, "objects": list(objects)},
    }


def converted(answer: Object, version: str, uid: str, objects: Sequence[Object], api_version: str) -> list[Object]:
    """The objects of a webhook's answer, with the metadata of those that were sent. Raises BadAnswerError."""
    found = _objects(answer, version, uid)
    if len(found) != len(objects):
        raise BadAnswerError(f"returned {len(found)} objects, expected {len(objects)}")
    return [
        _checked(before, after, api_version, index)
        for index, (before, after) in enumerate(zip(objects, found, strict=True))
    ]


def _objects(answer: Object, version: str, uid: str) -> list[Any]:
    expected = f"{_GROUP}/{version}, Kind=ConversionReview"
    given = f"{answer.get('apiVersion') or ''}, Kind={answer.get('kind') or ''}"
    if given != expected:
        raise BadAnswerError(f"failed: expected webhook response of {expected}, got {given}")
    response = answer.get("response")
    if not isinstance(response, dict):
        raise BadAnswerError("failed: no response provided")
    if response.get("uid") != uid:
        raise BadAnswerError(f'failed: expected response.uid="{uid}", got "{response.get("uid") or ""}"')
    result = response.get("result")
    result = result if isinstance(result, dict) else {}
    if result.get("status") != "Success":
        silent = f"response.result.status was '{result.get('status') or ''}', not 'Success'"
        raise BadAnswerError(f"failed: {result.get('message') or silent}")
    found = response.get("convertedObjects") or []
    if not isinstance(found, list):
        raise BadAnswerError(f"failed: response.convertedObjects is of type {go_kind(found)}, not a list")
    return found


def _checked(before: Object, after: Any, api_version: str, index: int) -> Object:
    where = f"returned invalid converted object at index {index}:"
    if not isinstance(after, dict):
        raise BadAnswerError(f"{where} it is of type {go_kind(after)}")
    if after.get("apiVersion") != api_version:
        text = f"invalid groupVersion (expected {api_version}, received {after.get('apiVersion') or ''})"
        raise BadAnswerError(f"{where} {text}")
    if after.get("kind") != before["kind"]:
        raise BadAnswerError(f"{where} invalid kind (expected {before['kind']}, received {after.get('kind') or ''})")
    metadata = after.get("metadata")
    in_metadata = f"returned invalid metadata in object at index {index}:"
    if metadata is None:
        raise BadAnswerError(f"{in_metadata} missing metadata in converted object")
    if not isinstance(metadata, dict):
        raise BadAnswerError(f"{in_metadata} invalid metadata of type {go_kind(metadata)} in converted object")
    for key, shown in (("name", "name"), ("namespace", "namespace"), ("uid", "UID")):
        old, new = before["metadata"].get(key) or "", metadata.get(key) or ""
        if old != new:
            raise BadAnswerError(f"{where} must have the same {shown}: {old} != {new}")
    return {**after, "metadata": _restored(before["metadata"], metadata, in_metadata)}


def _restored(before: Object, after: Object, where: str) -> Object:
    """The metadata that was sent; only labels and annotations are the webhook's to change."""
    metadata = copy_object(before)
    for key, check in (("labels", validate_labels), ("annotations", validate_annotations)):
        given = after.get(key)
        if given is None:
            metadata.pop(key, None)
            continue
        if not isinstance(given, dict):
            raise BadAnswerError(f"{where} invalid metadata.{key} of type {go_kind(given)} in converted object")
        for name, value in given.items():
            if not isinstance(value, str):
                text = f"metadata.{key}[{name}] must be a string, but is {go_kind(value)} in converted object"
                raise BadAnswerError(f"{where} {text}")
        if given != metadata.get(key) and (errors := check(given, f"metadata.{key}")):
            raise BadAnswerError(f"{where} {'; '.join(f'{error.field}: {error.message}' for error in errors)}")
        metadata[key] = given
    return metadata
