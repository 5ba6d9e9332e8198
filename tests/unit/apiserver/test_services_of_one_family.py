import pytest

from cluster.apiserver.registry.services import require_single_stack
from cluster.machinery.objects import Object
from cluster.machinery.status_errors import Invalid


def service(**spec: object) -> Object:
    return {"metadata": {"name": "s"}, "spec": spec}


def test_a_service_with_an_address_cannot_ask_for_two_families() -> None:
    asked = service(clusterIP="10.96.9.9", ipFamilyPolicy="RequireDualStack", ipFamilies=["IPv4", "IPv6"])
    with pytest.raises(Invalid) as refused:
        require_single_stack(asked, 4)
    assert [cause["field"] for cause in refused.value.status["details"]["causes"]] == [
        "spec.ipFamilyPolicy",
        "spec.ipFamilies[1]",
    ]


@pytest.mark.parametrize("spec", [{"clusterIP": "None"}, {"type": "ExternalName"}])
def test_services_without_address_and_pods_may_name_both(spec: dict[str, str]) -> None:
    require_single_stack(service(**spec, ipFamilyPolicy="RequireDualStack", ipFamilies=["IPv4", "IPv6"]), 4)
