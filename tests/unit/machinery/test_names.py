"""Names, and the times next to them."""

import datetime

import pytest

from cluster.machinery import names, timestamps


@pytest.mark.parametrize("name", ["a", "a-b", "0", "a" * 63])
def test_good_labels_have_no_fault(name: str) -> None:
    assert names.dns_label(name) == []


@pytest.mark.parametrize("name", ["", "-a", "a-", "A", "a_b", "a" * 64])
def test_bad_labels_have_one(name: str) -> None:
    assert len(names.dns_label(name)) == 1


def test_dot_in_a_label_is_called_by_name() -> None:
    assert names.dns_label("a.b") == ["must not contain dots"]


def test_subdomain_fault_has_upstreams_text() -> None:
    assert names.dns_subdomain("example.com/p") == [
        "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start "
        "and end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
        r"'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
    ]


def test_1035_label_has_two_examples_spaced_as_upstream_spaces_them() -> None:
    assert "(e.g. 'my-name',  or 'abc-123', regex used" in names.dns_1035_label("Ships")[0]


def test_generate_name_may_end_in_a_dash() -> None:
    assert names.as_prefix(names.dns_label)("web-") == []
    assert names.as_prefix(names.dns_label)("-") != []


def test_generated_name_fits_and_differs() -> None:
    made = {names.generate("x" * 80) for _ in range(50)}

    assert all(len(name) == 63 for name in made)
    assert len(made) > 40


@pytest.mark.parametrize("name", ["a/b/c", "/a", "UPPER.com/a", "a/", "a b"])
def test_bad_qualified_names(name: str) -> None:
    assert names.qualified_name(name)


def test_path_segments_may_be_anything_that_fits_a_path() -> None:
    assert names.path_segment("system:node") == []
    assert names.path_segment("..") == ["may not be '..'"]
    assert names.path_segment("a/b%") == ["may not contain '/'", "may not contain '%'"]


def test_times_are_utc_and_whole_seconds() -> None:
    parsed = timestamps.parse_time("2026-01-02T03:04:05.678+01:00")

    assert timestamps.format_time(parsed) == "2026-01-02T02:04:05Z"
    assert timestamps.format_micro_time(parsed) == "2026-01-02T02:04:05.678000Z"
    assert timestamps.from_unix(0, 5_000) == datetime.datetime(1970, 1, 1, microsecond=5, tzinfo=datetime.UTC)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("yesterday", 'cannot parse "yesterday" as "2006"'),
        ("2026-01-02", 'cannot parse "" as "T"'),
        ("2026-13-02T00:00:00Z", "month out of range"),
        ("2026-02-30T00:00:00Z", "day out of range"),
    ],
)
def test_wrong_time_says_where(text: str, why: str) -> None:
    with pytest.raises(ValueError, match="parsing time") as refused:
        timestamps.parse_time(text)

    assert str(refused.value).endswith(why)
