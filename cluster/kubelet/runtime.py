"""
The border to the container runtime: what the kubelet asks of it, and what it hears.

`ContainerRuntime` is implemented by cri_runtime.py (CRI v1 over gRPC) and by the tests' fake. Names and
meanings are the CRI's; times are nanoseconds since the epoch, 0 for "not yet".
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

POD_NAME_LABEL = "io.kubernetes.pod.name"
POD_NAMESPACE_LABEL = "io.kubernetes.pod.namespace"
POD_UID_LABEL = "io.kubernetes.pod.uid"
CONTAINER_NAME_LABEL = "io.kubernetes.container.name"

HASH_ANNOTATION = "io.kubernetes.container.hash"
RESTART_COUNT_ANNOTATION = "io.kubernetes.container.restartCount"
TERMINATION_PATH_ANNOTATION = "io.kubernetes.container.terminationMessagePath"
TERMINATION_POLICY_ANNOTATION = "io.kubernetes.container.terminationMessagePolicy"
CONTAINER_TYPE_ANNOTATION = "hanse.io/container-type"
PRE_STOP_ANNOTATION = "io.kubernetes.container.preStopHandler"
GRACE_PERIOD_ANNOTATION = "io.kubernetes.pod.terminationGracePeriod"


class RuntimeFault(Exception):
    """
    The runtime refused a call. Remedy: shown to the user as the reason a container waits, and tried again.

    `code` is gRPC's status name (NOT_FOUND, UNAVAILABLE …); `message` the runtime's text.
    """

    def __init__(self, message: str, code: str = "UNKNOWN") -> None:
        super().__init__(message)
        self.message, self.code = message, code


class ContainerState(StrEnum):
    CREATED = "created"
    RUNNING = "running"
    EXITED = "exited"
    UNKNOWN = "unknown"


class NamespaceMode(StrEnum):
    """Whose Linux namespace: the pod's, the container's own, the node's, another container's."""

    POD = "POD"
    CONTAINER = "CONTAINER"
    NODE = "NODE"
    TARGET = "TARGET"


@dataclass(frozen=True, slots=True)
class Namespaces:
    network: NamespaceMode = NamespaceMode.POD
    pid: NamespaceMode = NamespaceMode.CONTAINER
    ipc: NamespaceMode = NamespaceMode.POD
    target_id: str = ""


@dataclass(frozen=True, slots=True)
class SecurityProfile:
    """seccomp or AppArmor: RuntimeDefault, Unconfined, or Localhost with a path or profile name."""

    kind: str
    localhost_ref: str = ""


@dataclass(frozen=True, slots=True)
class LinuxResources:
    """cgroup settings of one container; 0 means "not set"."""

    cpu_period: int = 0
    """Microseconds."""
    cpu_quota: int = 0
    cpu_shares: int = 0
    memory_limit: int = 0
    """Bytes."""
    oom_score_adj: int = 0
    unified: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PortMapping:
    protocol: str
    container_port: int
    host_port: int
    host_ip: str = ""


@dataclass(frozen=True, slots=True)
class DnsConfig:
    servers: tuple[str, ...] = ()
    searches: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SandboxSpec:
    """Everything needed to make a pod's sandbox."""

    name: str
    namespace: str
    uid: str
    attempt: int
    hostname: str
    log_directory: str
    dns: DnsConfig
    cgroup_parent: str
    namespaces: Namespaces
    ports: tuple[PortMapping, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    sysctls: Mapping[str, str] = field(default_factory=dict)
    privileged: bool = False
    run_as_user: int | None = None
    run_as_group: int | None = None
    supplemental_groups: tuple[int, ...] = ()
    seccomp: SecurityProfile | None = None
    runtime_handler: str = ""


@dataclass(frozen=True, slots=True)
class Mount:
    container_path: str
    host_path: str
    read_only: bool = False
    propagation: str = "None"
    """None, HostToContainer or Bidirectional, as in the API."""


@dataclass(frozen=True, slots=True)
class ContainerSecurity:
    privileged: bool = False
    run_as_user: int | None = None
    run_as_username: str = ""
    run_as_group: int | None = None
    supplemental_groups: tuple[int, ...] = ()
    add_capabilities: tuple[str, ...] = ()
    drop_capabilities: tuple[str, ...] = ()
    read_only_root: bool = False
    no_new_privileges: bool = False
    seccomp: SecurityProfile | None = None
    apparmor: SecurityProfile | None = None
    masked_paths: tuple[str, ...] = ()
    readonly_paths: tuple[str, ...] = ()
    namespaces: Namespaces = Namespaces()


@dataclass(frozen=True, slots=True)
class ContainerSpec:
    """Everything needed to make one container in a sandbox."""

    name: str
    attempt: int
    image: str
    """The image id on this node, not the reference the pod names."""
    command: tuple[str, ...]
    args: tuple[str, ...]
    working_dir: str
    env: tuple[tuple[str, str], ...]
    mounts: tuple[Mount, ...]
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    log_path: str
    """Relative to the sandbox's log directory."""
    resources: LinuxResources
    security: ContainerSecurity
    devices: tuple[str, ...] = ()
    stdin: bool = False
    stdin_once: bool = False
    tty: bool = False


@dataclass(frozen=True, slots=True)
class Sandbox:
    """One sandbox as observed."""

    id: str
    name: str
    namespace: str
    uid: str
    attempt: int
    ready: bool
    created_at: int
    ips: tuple[str, ...] = ()
    """Filled by sandbox_status only."""


@dataclass(frozen=True, slots=True)
class ContainerSummary:
    """What a list says of a container: enough to see that something changed."""

    id: str
    sandbox_id: str
    pod_uid: str
    name: str
    attempt: int
    state: ContainerState
    created_at: int


@dataclass(frozen=True, slots=True)
class Container:
    """One container as observed in full."""

    id: str
    sandbox_id: str
    name: str
    attempt: int
    state: ContainerState
    created_at: int = 0
    started_at: int = 0
    finished_at: int = 0
    exit_code: int = 0
    reason: str = ""
    message: str = ""
    image: str = ""
    """The reference by which the image was asked for."""
    image_id: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    log_path: str = ""
    """Absolute."""
    mounts: tuple[Mount, ...] = ()

    @property
    def restart_count(self) -> int:
        return int(self.annotations.get(RESTART_COUNT_ANNOTATION, "") or self.attempt)


@dataclass(frozen=True, slots=True)
class Image:
    id: str
    tags: tuple[str, ...]
    digests: tuple[str, ...]
    size: int
    """Bytes."""
    uid: int | None = None
    username: str = ""
    pinned: bool = False


@dataclass(frozen=True, slots=True)
class RegistryCredentials:
    username: str = ""
    password: str = ""
    server: str = ""

    def __repr__(self) -> str:
        return f"RegistryCredentials(server={self.server!r}, password of {len(self.password)} characters)"


@dataclass(frozen=True, slots=True)
class RuntimeCondition:
    type: str
    """RuntimeReady or NetworkReady."""
    status: bool
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class ExecResult:
    stdout: bytes
    stderr: bytes
    exit_code: int


@dataclass(frozen=True, slots=True)
class ContainerUsage:
    """Counters of one container at one moment."""

    container_id: str
    timestamp: int
    cpu_nanoseconds: int
    memory_working_set: int
    memory_usage: int
    memory_rss: int
    page_faults: int
    major_page_faults: int
    writable_layer_bytes: int
    writable_layer_inodes: int


@dataclass(frozen=True, slots=True)
class FilesystemUsage:
    mountpoint: str
    used_bytes: int
    used_inodes: int


@dataclass(frozen=True, slots=True)
class RuntimeVersion:
    name: str
    version: str
    api_version: str


class ContainerRuntime(Protocol):
    """Every method raises RuntimeFault when the runtime refuses or cannot be reached."""

    async def version(self) -> RuntimeVersion: ...

    async def conditions(self) -> Sequence[RuntimeCondition]: ...

    async def set_pod_cidr(self, cidr: str) -> None: ...

    async def run_sandbox(self, spec: SandboxSpec) -> str: ...

    async def stop_sandbox(self, sandbox_id: str) -> None: ...

    async def remove_sandbox(self, sandbox_id: str) -> None: ...

    async def sandbox_status(self, sandbox_id: str) -> Sandbox | None:
        """None when it is gone."""

    async def list_sandboxes(self, pod_uid: str = "") -> Sequence[Sandbox]: ...

    async def create_container(self, sandbox_id: str, spec: ContainerSpec, sandbox: SandboxSpec) -> str: ...

    async def start_container(self, container_id: str) -> None: ...

    async def stop_container(self, container_id: str, grace: int) -> None:
        """SIGTERM, and SIGKILL after `grace` seconds. Returns when the container has ended."""

    async def remove_container(self, container_id: str) -> None: ...

    async def list_containers(self, pod_uid: str = "") -> Sequence[ContainerSummary]: ...

    async def container_status(self, container_id: str) -> Container | None:
        """None when it is gone."""

    async def update_resources(self, container_id: str, resources: LinuxResources) -> None: ...

    async def reopen_log(self, container_id: str) -> None: ...

    async def exec_sync(self, container_id: str, command: Sequence[str], seconds: int) -> ExecResult:
        """Raises RuntimeFault with code DEADLINE_EXCEEDED after `seconds`; 0 waits for ever."""

    async def exec_url(
        self, container_id: str, command: Sequence[str], *, stdin: bool, stdout: bool, stderr: bool, tty: bool
    ) -> str: ...

    async def attach_url(self, container_id: str, *, stdin: bool, stdout: bool, stderr: bool, tty: bool) -> str: ...

    async def port_forward_url(self, sandbox_id: str, ports: Sequence[int]) -> str: ...

    async def usage(self) -> Sequence[ContainerUsage]: ...

    async def list_images(self) -> Sequence[Image]: ...

    async def image_status(self, reference: str) -> Image | None: ...

    async def pull_image(self, reference: str, credentials: RegistryCredentials | None) -> str:
        """Returns the image id."""

    async def remove_image(self, reference: str) -> None: ...

    async def image_filesystem(self) -> FilesystemUsage | None: ...

    def events(self) -> AsyncIterator[None]:
        """
        One item whenever a container may have changed; says nothing of which.

        Raises RuntimeFault with code UNIMPLEMENTED when the runtime tells nothing: poll it instead.
        """
        ...
