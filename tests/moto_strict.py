"""
Moto's server with Route53's own rules for batches, which moto is lax about. Run by moto's python: see moto_server.py.

A batch is carried out whole or not at all; CREATE wants that there is no such set, DELETE wants exactly what is there.
Source: the Route53 API, ChangeResourceRecordSets.
"""

import copy
import sys
from typing import Any

from moto.route53.exceptions import Route53ClientError
from moto.route53.models import RecordSet, Route53Backend
from moto.server import main


def change(self: Any, zoneid: str, change_list: list[dict[str, Any]]) -> None:
    zone = self.get_hosted_zone(zoneid)
    sets = {_key(one): one for one in map(_plain, zone.rrsets)}
    before = {_key(_plain(one)): one for one in zone.rrsets}
    faults = []
    for each in change_list:
        action, wanted = each["Action"], _normal(each["ResourceRecordSet"])
        key = _key(wanted)
        if action == "CREATE" and key in sets:
            faults.append(f"Tried to create resource record set {key} but it already exists")
        elif action == "DELETE" and sets.get(key) != wanted:
            faults.append(f"Tried to delete resource record set {key} but it was not found, or its values differ")
        elif action == "DELETE":
            del sets[key]
        else:
            sets[key] = wanted
    if faults:
        raise Route53ClientError("InvalidChangeBatch", f"[{', '.join(faults)}]")
    kept = {key: one for key, one in before.items() if key in sets and _plain(one) == sets[key]}
    zone.rrsets = [kept.get(key) or RecordSet(one) for key, one in sets.items()]


def _key(one: dict[str, Any]) -> tuple[str, str, str]:
    return one["Name"], one["Type"], one.get("SetIdentifier") or ""


def _normal(given: dict[str, Any]) -> dict[str, Any]:
    """As it is compared: no order among values, no empty fields, numbers as numbers."""
    one = {key: value for key, value in copy.deepcopy(given).items() if value not in (None, "", [], {})}
    one["Name"] = one["Name"].rstrip(".").lower() + "."
    one["ResourceRecords"] = sorted(each["Value"] for each in one.get("ResourceRecords", ()))
    return one | {key: int(one[key]) for key in ("TTL", "Weight") if key in one}


def _plain(one: RecordSet) -> dict[str, Any]:
    return _normal({
        "Name": one.name, "Type": one.type, "TTL": one.ttl, "ResourceRecords": one.resource_records,
        "SetIdentifier": one.set_identifier, "Weight": one.weight, "HealthCheckId": one.health_check_id,
        "Failover": one.failover, "GeoLocation": one.geo_location, "AliasTarget": one.alias_target,
    })  # fmt: skip


Route53Backend.change_resource_record_sets = change

if __name__ == "__main__":
    main(sys.argv[1:])
