"""Field selectors."""

import pytest

from cluster.machinery.fields import FieldSelector
from cluster.machinery.status_errors import BadRequest


def test_terms_must_all_hold() -> None:
    selector = FieldSelector.parse("status.phase=Running,spec.nodeName!=n1")

    assert selector.matches({"status.phase": "Running", "spec.nodeName": "n2"})
    assert not selector.matches({"status.phase": "Running", "spec.nodeName": "n1"})


def test_missing_field_is_the_empty_text() -> None:
    assert FieldSelector.parse("spec.nodeName=").matches({})


def test_escaped_comma_belongs_to_the_value() -> None:
    assert FieldSelector.parse(r"a=x\,y").matches({"a": "x,y"})
    assert str(FieldSelector.parse(r"a==x\,y")) == r"a=x\,y"


def test_exact_value_is_found_for_an_index() -> None:
    assert FieldSelector.parse("spec.nodeName=n1,a!=b").exact("spec.nodeName") == "n1"
    assert FieldSelector.parse("a!=b").exact("a") is None


@pytest.mark.parametrize("text", ["a", "a=b=c", "a=\\x", "a=b\\"])
def test_malformed_selector_is_a_bad_request(text: str) -> None:
    with pytest.raises(BadRequest):
        FieldSelector.parse(text)


def test_unknown_field_names_the_known_ones() -> None:
    with pytest.raises(BadRequest) as refused:
        FieldSelector.parse("data.k=1").require_known(("metadata.name", "metadata.namespace"))

    assert refused.value.message == (
        '"data.k" is not a known field selector: only "metadata.name", "metadata.namespace"'
    )
