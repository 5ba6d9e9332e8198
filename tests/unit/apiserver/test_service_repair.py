from typing import Any

from cluster.apiserver.registry.service_repair import orphans


def test_what_no_service_uses_is_orphaned() -> None:
    services: list[dict[str, Any]] = [
        {"spec": {"clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1"], "ports": [{"port": 1, "nodePort": 30001}]}},
        {"spec": {"clusterIP": "None", "clusterIPs": ["None"]}},
    ]
    assert orphans(services, {"10.96.0.1", "10.96.0.2"}, {"30001", "30002"}) == ({"10.96.0.2"}, {"30002"})
