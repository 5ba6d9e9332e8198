"""
Defaults of pods and of the pod templates in workloads.

A few apply to pods alone and not to templates: host ports, requests taken from limits, service links.
"""

from cluster.api.defaults.containers import all_containers, default_container
from cluster.api.defaults.filling import child, default_condition_times, fill, fill_pointer, items
from cluster.api.defaults.pod_resources import default_pod_level_resources, requests_from_limits
from cluster.api.defaults.volumes import default_volumes
from cluster.machinery.objects import Object

GRACE_PERIOD_SECONDS = 30


def default_pod(pod: Object) -> None:
    spec = child(pod, "spec")
    for container in [*items(spec, "initContainers"), *items(spec, "containers")]:
        requests_from_limits(container)
    default_pod_level_resources(spec)
    fill_pointer(spec, "enableServiceLinks", True)
    if spec.get("hostNetwork"):
        _default_host_ports(spec)
    default_pod_spec(spec)
    default_condition_times(child(pod, "status"), "lastProbeTime", "lastTransitionTime")


def default_pod_template(template: Object) -> None:
    child(template, "metadata")
    default_pod_spec(child(template, "spec"))


def default_pod_spec(spec: Object) -> None:
    default_volumes(spec)
    for container in all_containers(spec):
        default_container(container)
    fill(spec, "restartPolicy", "Always")
    fill_pointer(spec, "terminationGracePeriodSeconds", GRACE_PERIOD_SECONDS)
    fill(spec, "dnsPolicy", "ClusterFirst")
    fill_pointer(spec, "securityContext", {})
    fill(spec, "schedulerName", "default-scheduler")


def _default_host_ports(spec: Object) -> None:
    for container in [*items(spec, "containers"), *items(spec, "initContainers")]:
        for port in items(container, "ports"):
            if not port.get("hostPort"):
                port["hostPort"] = port.get("containerPort")
