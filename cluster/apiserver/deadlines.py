"""
How long an ordinary request may take: the server's `--request-timeout`, or less when the client says so.

Source: k8s.io/apiserver, pkg/endpoints/filters/request_deadline.go.
"""

from cluster.apiserver.durations import duration
from cluster.apiserver.router import Route
from cluster.machinery.field_errors import quoted
from cluster.machinery.status_errors import BadRequest


def seconds_allowed(found: Route, longest: float) -> float:
    """Raises BadRequest for a `timeout` parameter that is no duration; 0 and more than `longest` mean `longest`."""
    text = found.query.get("timeout", "")
    if not text:
        return longest
    try:
        wanted = duration(text)
    except ValueError:
        why = f"time: invalid duration {quoted(text)}"
        raise BadRequest(f"invalid timeout specified in the request URL - {why}") from None
    return wanted if 0 < wanted < longest else longest
