import pytest

from cluster.apiserver.router import route, segments_are_safe


@pytest.mark.parametrize(
    ("method", "path", "query", "expected"),
    [
        ("GET", "/api/v1/pods", "", ("list", "", "pods", "", "", "")),
        ("GET", "/api/v1/namespaces/n/pods", "watch=1", ("watch", "", "pods", "n", "", "")),
        ("GET", "/api/v1/namespaces/n/pods/p", "", ("get", "", "pods", "n", "p", "")),
        ("DELETE", "/api/v1/namespaces/n/pods", "", ("deletecollection", "", "pods", "n", "", "")),
        (
            "PATCH",
            "/apis/apps/v1/namespaces/n/deployments/d/scale",
            "",
            ("patch", "apps", "deployments", "n", "d", "scale"),
        ),
        ("GET", "/api/v1/namespaces/n", "", ("get", "", "namespaces", "n", "n", "")),
        ("PUT", "/api/v1/namespaces/n/finalize", "", ("update", "", "namespaces", "n", "n", "finalize")),
        ("GET", "/healthz", "", ("get", "", "", "", "", "")),
    ],
)
def test_a_url_and_a_method_say_what_is_asked(method: str, path: str, query: str, expected: tuple[str, ...]) -> None:
    found = route(method, path, query)
    assert (found.verb, found.group, found.resource, found.namespace, found.name, found.subresource) == expected


@pytest.mark.parametrize("name", ["..", ".", "%2e%2e", "a%2fb", "a%252fb"])
def test_names_that_would_leave_their_place_in_the_store_are_unsafe(name: str) -> None:
    assert not segments_are_safe(route("GET", f"/api/v1/namespaces/n/configmaps/{name}", ""))


def test_what_follows_a_proxy_keeps_its_slashes() -> None:
    assert route("GET", "/api/v1/nodes/n/proxy/stats/summary", "").tail == "/stats/summary"
