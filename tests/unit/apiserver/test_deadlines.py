"""How long a request may take."""

import pytest

from cluster.apiserver.deadlines import seconds_allowed
from cluster.apiserver.router import route
from cluster.machinery.status_errors import BadRequest


@pytest.mark.parametrize(
    ("query", "seconds"), [("", 60), ("timeout=", 60), ("timeout=5s", 5), ("timeout=0s", 60), ("timeout=2m", 60)]
)
def test_a_client_may_ask_for_less_than_the_server_allows(query: str, seconds: float) -> None:
    assert seconds_allowed(route("GET", "/api/v1/pods", query), 60.0) == seconds


@pytest.mark.parametrize("text", ["soon", "5", "-"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(BadRequest, match="invalid timeout specified in the request URL - time: "):
        seconds_allowed(route("GET", "/api/v1/pods", f"timeout={text}"), 60.0)
