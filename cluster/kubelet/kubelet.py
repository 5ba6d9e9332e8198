"""
The kubelet: which pods this node runs, one worker each, and the loops around them.

`Kubelet.run` is started by __main__.py and ends only by cancelling. Containers live on when it ends.
"""

import asyncio
import logging
from pathlib import Path

from cluster.api import resources
from cluster.client.events import EventRecorder
from cluster.client.informer import Informer
from cluster.client.rest import ApiClient
from cluster.kubelet.api_objects import ApiObjects
from cluster.kubelet.cgroups import CgroupTree
from cluster.kubelet.eviction import EvictionLoop, pressure_fault
from cluster.kubelet.handlers import Handlers
from cluster.kubelet.housekeeping import ImageCollector, rotate_logs
from cluster.kubelet.images import ImagePuller
from cluster.kubelet.node_admission import admission_fault
from cluster.kubelet.node_context import NodeContext, NoRecorder
from cluster.kubelet.node_facts import read_machine
from cluster.kubelet.node_status import allocatable, initial_node
from cluster.kubelet.orphans import pods_on_disk, remove_orphan
from cluster.kubelet.pod_worker import PodWorker
from cluster.kubelet.pods import CONFIG_MIRROR_ANNOTATION, is_mirror, is_static, is_terminal, uid_of
from cluster.kubelet.registration import NodeRegistration
from cluster.kubelet.resources import amounts
from cluster.kubelet.runtime import ContainerRuntime, RuntimeFault
from cluster.kubelet.runtime_watch import RuntimeWatch
from cluster.kubelet.settings import KubeletSettings
from cluster.kubelet.static_pods import mirror_of, read_directory
from cluster.kubelet.status_writer import StatusWriter
from cluster.kubelet.volumes import VolumeFault, Volumes
from cluster.machinery.objects import Object, key_of
from cluster.machinery.status_errors import AlreadyExists, ApiError, NotFound

log = logging.getLogger(__name__)

STATIC_SECONDS = 5.0
HOUSEKEEPING_SECONDS = 10.0
"""Upstream looks at the sizes of logs as often."""
IMAGE_TURNS = 30
"""Images are looked at every so many housekeeping turns: five minutes, as upstream."""


class Kubelet:
    def __init__(self, settings: KubeletSettings, runtime: ContainerRuntime, client: ApiClient | None) -> None:
        self.settings, self.runtime, self.client = settings, runtime, client
        self.machine = read_machine(settings.root_dir, client.server if client is not None else "")
        self.registration = NodeRegistration(settings, self.machine, client, runtime)
        self.registration.changed = self._wake_all
        self.workers: dict[str, PodWorker] = {}
        self._tasks: asyncio.TaskGroup | None = None
        self._recorder = EventRecorder(client, "kubelet", host=settings.node_name) if client is not None else None
        self._pods: Informer | None = None
        self._services: Informer | None = None
        if client is not None:
            self._pods = Informer(client, resources.PODS, field_selector=f"spec.nodeName={settings.node_name}")
            self._pods.add_handler(self._pod_added, self._pod_updated, self._pod_deleted)
            self._services = Informer(client, resources.SERVICES)
        objects = ApiObjects(client) if client is not None else None
        self.node = NodeContext(
            settings=settings,
            runtime=runtime,
            client=client,
            objects=objects,
            images=ImagePuller(runtime),
            volumes=Volumes(settings.pods_dir, objects),
            handlers=Handlers(runtime),
            statuses=StatusWriter(client, self._object_in_api),
            cgroups=CgroupTree(root=settings.cgroup_root, driver=settings.cgroup_driver),
            recorder=self._recorder or NoRecorder(),
            memory_bytes=self.machine.memory_bytes,
            host_ips=settings.node_ips or self.machine.addresses,
            allocatable=amounts(allocatable(self.machine, settings)),
            services=self._known_services,
            network_fault=lambda: self.registration.network_fault,
        )
        self._images = ImageCollector(runtime, settings)
        self.eviction = EvictionLoop(settings, self.machine.memory_bytes, runtime, self.workers, self._free_images)
        self._static: dict[str, Object] = {}
        self._static_read = not settings.pod_manifest_path
        self._orphans: set[str] = set()
        self.watch = RuntimeWatch(runtime, settings.relist_interval, self._runtime_changed, self._runtime_seen)

    # --- running -------------------------------------------------------------------------------------------

    async def run(self) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                tasks.create_task(self.registration.run(), name="registration")
                tasks.create_task(self.watch.run(), name="runtime watch")
                tasks.create_task(self._keep_house(), name="housekeeping")
                tasks.create_task(self._refresh_volumes(), name="volume refresh")
                tasks.create_task(self.eviction.run(), name="eviction")
                tasks.create_task(self.node.statuses.run(), name="pod statuses")
                if self.settings.pod_manifest_path:
                    tasks.create_task(self._read_static_pods(), name="static pods")
                if self._recorder is not None and self._services is not None and self._pods is not None:
                    tasks.create_task(self._recorder.run(), name="events")
                    tasks.create_task(self._services.run(), name="services")
                    tasks.create_task(self._watch_pods(self._pods, self._services), name="pods")
        finally:
            await self.node.handlers.close()

    async def _watch_pods(self, pods: Informer, services: Informer) -> None:
        """Pods are taken only by a node that is in the API: admission needs its labels."""
        await self.registration.registered.wait()
        await services.wait_synced()
        async with asyncio.TaskGroup() as group:
            group.create_task(pods.run(), name="pod informer")
            await pods.wait_synced()
            self.watch.poke()  # only now is it known what the runtime holds too much

    @property
    def knows_its_pods(self) -> bool:
        """Every source has been read once: what is not known by now is an orphan."""
        return self._static_read and (self._pods is None or self._pods.has_synced)

    def _known_services(self) -> list[Object] | None:
        if self._services is None:
            return []
        return list(self._services.list()) if self._services.has_synced else None

    def _object_in_api(self, pod: Object) -> Object | None:
        """The object whose status is written for a pod: for a static pod its mirror."""
        if not is_static(pod):
            return pod
        mirror = self._pods.get(key_of(pod)) if self._pods is not None else None
        return mirror if mirror is not None and is_mirror(mirror) else None

    # --- pods come and go ----------------------------------------------------------------------------------

    def _pod_added(self, pod: Object) -> None:
        if is_mirror(pod):
            self._check_mirror(pod)
            return
        if uid_of(pod) not in self.workers:
            self._start_worker(pod)

    def _pod_updated(self, old: Object, new: Object) -> None:
        if is_mirror(new):
            self._check_mirror(new)
            return
        if uid_of(old) != uid_of(new):
            self._pod_deleted(old)
        worker = self.workers.get(uid_of(new))
        if worker is None:
            self._start_worker(new)
        else:
            worker.update(new)

    def _pod_deleted(self, pod: Object) -> None:
        worker = self.workers.get(uid_of(pod))
        if worker is not None:
            worker.remove()

    def _start_worker(self, pod: Object) -> None:
        if self._tasks is None:
            return
        worker = PodWorker(self.node, pod, self._admission_fault(pod))
        self.workers[uid_of(pod)] = worker
        name = f"pod {pod['metadata']['namespace']}/{pod['metadata']['name']}"
        self._tasks.create_task(self._run_worker(worker), name=name)

    def _admission_fault(self, pod: Object) -> tuple[str, str] | None:
        """A pod that this node had taken before a restart is not asked again."""
        if is_terminal(pod) or (pod.get("status") or {}).get("startTime"):
            return None
        others = [w.pod for w in self.workers.values() if not is_terminal({"status": w.last_status})]
        node = self.registration.node or initial_node(self.settings, self.machine)
        fault = pressure_fault(pod, self.eviction.short_of)
        fault = fault or admission_fault(pod, others, node, self.node.allocatable, self.settings.max_pods)
        if fault is not None:
            self.node.recorder.record(pod, "Warning", fault[0], fault[1])
            return fault[0], f"Pod was rejected: {fault[1]}"
        return None

    async def _run_worker(self, worker: PodWorker) -> None:
        try:
            await worker.run()
        finally:
            if self.workers.get(worker.uid) is worker:
                del self.workers[worker.uid]
                self.node.statuses.forget(worker.uid)

    def _wake_all(self) -> None:
        for worker in self.workers.values():
            worker.wake()

    # --- the runtime's side --------------------------------------------------------------------------------

    def _runtime_changed(self, uid: str) -> None:
        worker = self.workers.get(uid)
        if worker is not None:
            worker.wake()

    def _runtime_seen(self, uids: set[str]) -> None:
        if not self.knows_its_pods or self._tasks is None:
            return
        for uid in uids - self.workers.keys() - self._orphans:
            self._orphans.add(uid)
            self._tasks.create_task(self._remove_orphan(uid), name=f"orphan {uid}")

    async def _remove_orphan(self, uid: str) -> None:
        try:
            await remove_orphan(self.node, uid)
        except (RuntimeFault, VolumeFault, OSError) as fault:
            log.warning("remains of pod %s are tried again later: %s", uid, fault)
        finally:
            self._orphans.discard(uid)

    # --- loops ---------------------------------------------------------------------------------------------

    async def _keep_house(self) -> None:
        turn = 0
        while True:
            await asyncio.sleep(HOUSEKEEPING_SECONDS)
            turn += 1
            try:
                for worker in list(self.workers.values()):
                    await rotate_logs(self.runtime, worker.observed.containers, self.settings)
                    await worker.prune()
                if self.knows_its_pods:
                    self._runtime_seen(await asyncio.to_thread(pods_on_disk, self.settings.pods_dir))
                if turn % IMAGE_TURNS == 0:
                    await self._free_images()
            except (RuntimeFault, OSError) as fault:
                log.warning("housekeeping is tried again later: %s", fault)

    async def _free_images(self) -> None:
        """When the disk is nearly full. Raises RuntimeFault."""
        used = {c.image_id for w in self.workers.values() for c in w.observed.containers}
        await self._images.collect(used)

    async def _refresh_volumes(self) -> None:
        while True:
            await asyncio.sleep(self.settings.volume_interval)
            for worker in list(self.workers.values()):
                try:
                    await worker.refresh_volumes()
                except (ApiError, VolumeFault, OSError, ValueError) as fault:
                    log.warning("volumes of pod %s are not refreshed: %s", worker.uid, fault)

    # --- static pods ---------------------------------------------------------------------------------------

    async def _read_static_pods(self) -> None:
        directory = Path(self.settings.pod_manifest_path)
        while True:
            found = await asyncio.to_thread(read_directory, directory, self.settings.node_name)
            for uid in self._static.keys() - found.keys():
                if uid in self.workers:
                    self.workers[uid].remove()
            self._static = found
            # The pod that a changed file replaces ends first: both would want the same ports and paths.
            ending = {key_of(w.pod) for uid, w in self.workers.items() if is_static(w.pod) and uid not in found}
            for uid in found.keys() - self.workers.keys():
                if key_of(found[uid]) not in ending:
                    self._start_worker(found[uid])
            self._static_read = True
            await self._keep_mirrors()
            await asyncio.sleep(STATIC_SECONDS)

    def _check_mirror(self, mirror: Object) -> None:
        """A mirror that came late is told its pod's status."""
        uid = mirror["metadata"]["annotations"][CONFIG_MIRROR_ANNOTATION]
        worker = self.workers.get(uid)
        if worker is not None:
            worker.report_again()

    async def _keep_mirrors(self) -> None:
        """Every static pod has a mirror with its hash in the API, and no mirror is left over."""
        if self.client is None or self._pods is None or not self._pods.has_synced:
            return
        node_uid = ((self.registration.node or {}).get("metadata") or {}).get("uid", "")
        wanted = {key_of(pod): pod for pod in self._static.values()}
        try:
            for mirror in [p for p in self._pods.list() if is_mirror(p)]:
                pod = wanted.pop(key_of(mirror), None)
                stated = mirror["metadata"]["annotations"][CONFIG_MIRROR_ANNOTATION]
                if pod is None or uid_of(pod) != stated or mirror["metadata"].get("deletionTimestamp"):
                    await self._delete_mirror(self.client, mirror)
            for pod in wanted.values():
                try:
                    await self.client.create(resources.PODS, mirror_of(pod, node_uid))
                except AlreadyExists:
                    log.warning("static pod %s has no mirror: its name is taken in the API", key_of(pod))
        except ApiError as error:
            log.warning("mirror pods are tried again later: %s", error)

    async def _delete_mirror(self, client: ApiClient, mirror: Object) -> None:
        options = {"gracePeriodSeconds": 0, "preconditions": {"uid": uid_of(mirror)}}
        namespace, name = key_of(mirror)
        try:
            await client.delete(resources.PODS, name, namespace=namespace, options=options)
        except NotFound:
            log.debug("mirror pod %s/%s was gone", namespace, name)
