"""
Our documents together with what other servers serve; made anew when either changes.

Called by   the page server, only while there are such servers.
"""

from collections.abc import Iterable

from cluster.api.resources import Resource
from cluster.apiserver.aggregation.attendant import Attendant
from cluster.apiserver.aggregation.documents import merge_index, merge_version_2
from cluster.apiserver.discovery import Discovery, Document, ServedElsewhere
from cluster.apiserver.openapi import OpenApi, built_in_documents


class MergedDiscovery:
    def __init__(self) -> None:
        self._key: tuple[tuple[Resource, ...], tuple[ServedElsewhere, ...]] | None = None
        self._made: Discovery | None = None

    def get(self, resources: tuple[Resource, ...], server_address: str, attendants: Iterable[Attendant]) -> Discovery:
        elsewhere = tuple(attendant.served for attendant in attendants)
        if self._made is None or self._key is None or self._key[0] is not resources or self._key[1] != elsewhere:
            self._key = resources, elsewhere
            self._made = Discovery(resources, server_address, elsewhere)
        return self._made


class MergedOpenApi:
    """One merged document at a time of each form: they are large, and clients keep them by their ETags."""

    def __init__(self) -> None:
        self._made: dict[str, tuple[object, Document]] = {}

    def index(self, own: OpenApi | None, resources: tuple[Resource, ...], attendants: Iterable[Attendant]) -> Document:
        """GET /openapi/v3"""
        base = (own or built_in_documents(resources)).index
        entries = [attendant.openapi_index for attendant in attendants]
        replaced = {f"apis/{one.group}/{one.version}" if one.group else f"api/{one.version}" for one in attendants}
        key = base.etag, entries
        if self._made.get("index", (None,))[0] != key:
            self._made["index"] = key, merge_index(base, entries, replaced)
        return self._made["index"][1]

    def version_2(
        self, own: OpenApi | None, resources: tuple[Resource, ...], attendants: Iterable[Attendant]
    ) -> Document:
        """GET /openapi/v2"""
        base = (own or built_in_documents(resources)).version_2
        parts = [attendant.openapi_part for attendant in attendants]
        key = base.etag, parts
        if self._made.get("version_2", (None,))[0] != key:
            self._made["version_2"] = key, merge_version_2(base, parts)
        return self._made["version_2"][1]
