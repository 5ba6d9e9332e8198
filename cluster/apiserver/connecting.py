"""
Admission of connections: exec, attach, port-forward and proxies count as the operation CONNECT, with their options as
the object.

Source: k8s.io/apiserver, pkg/endpoints/handlers/rest.go (ConnectResource).
"""

from cluster.apiserver.requests import Admission, AdmissionRequest
from cluster.apiserver.verbs import Call
from cluster.machinery.objects import Object

_PODS = {
    "exec": "PodExecOptions",
    "attach": "PodAttachOptions",
    "portforward": "PodPortForwardOptions",
    "proxy": "PodProxyOptions",
}
_PROXIES = {"nodes": "NodeProxyOptions", "services": "ServiceProxyOptions"}
_STREAMS = ("stdin", "stdout", "stderr", "tty")


def options_of(call: Call) -> Object | None:
    """The options object of a connection; None when the request is none."""
    name, plural = call.route.subresource, call.kind.resource.plural
    kind = _PODS.get(name) if plural == "pods" else _PROXIES.get(plural) if name == "proxy" else None
    if kind is None:
        return None
    options: Object = {"kind": kind, "apiVersion": "v1"}
    query = call.http.rel_url.query
    if name == "proxy":
        if tail := call.route.tail:
            options["path"] = tail
        return options
    if name == "portforward":
        if ports := [int(port) for port in query.getall("ports", []) if port.isdigit()]:
            options["ports"] = ports
        return options
    for stream in _STREAMS:
        if query.get(stream) in ("true", "1"):
            options[stream] = True
    if container := query.get("container"):
        options["container"] = container
    if name == "exec" and (command := query.getall("command", [])):
        options["command"] = command
    return options


async def admit(admission: Admission | None, call: Call) -> None:
    """Raises ApiError when admission refuses the connection."""
    options = options_of(call) if admission is not None else None
    if admission is None or options is None:
        return
    request = AdmissionRequest(
        "CONNECT", call.kind.resource, call.route.subresource, call.route.namespace, call.route.name, options, None,
        call.user, warnings=call.warnings, annotations=call.audit_annotations,
    )  # fmt: skip
    await admission.mutate(request)
    await admission.validate(request)
