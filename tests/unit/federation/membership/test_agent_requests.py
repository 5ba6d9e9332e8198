"""Who gets a member's certificate, and who does not."""

import datetime as dt
from typing import Any

import pytest

from cluster.pki.authority import make_private_key
from cluster.pki.issue import CertificateContent
from cluster.pki.signing_request import make_signing_request, read_signing_request
from federation.membership import agents
from federation.membership.agent_requests import Verdict, judge
from federation.membership.bootstrap_tokens import granted, is_over, make_token, read_token, token_secret

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
TOKEN = token_secret(make_token(), "east", "uid-east", NOW)


def cluster(name: str = "east", uid: str = "", **spec: Any) -> dict[str, Any]:
    own = {"syncMode": "Pull", **({"uid": uid} if uid else {}), **spec}
    return {"metadata": {"name": name, "uid": f"uid-{name}"}, "spec": own}


def verdict(
    content: CertificateContent | None = None,
    *,
    user: str = "system:bootstrap:abcdef",
    groups: tuple[str, ...] = (agents.BOOTSTRAPPERS,),
    usages: tuple[str, ...] = ("client auth", "digital signature"),
    identity: str = "kube-1",
    known: dict[str, Any] | None = None,
    token: dict[str, Any] | None = TOKEN,
    others: tuple[dict[str, Any], ...] = (),
) -> Verdict:
    wanted = content or CertificateContent("system:federation:member:east", (agents.GROUP,))
    request = read_signing_request(make_signing_request(wanted, make_private_key()))
    csr = {
        "metadata": {"name": "r", "annotations": {agents.IDENTITY: identity} if identity else {}},
        "spec": {"username": user, "groups": list(groups), "usages": list(usages), "signerName": agents.SIGNER},
    }
    return judge(csr, request, known if known is not None else cluster(), token, others)


def test_a_token_gets_the_certificate_of_its_cluster_and_settles_the_identity_once() -> None:
    assert verdict() == Verdict(True, "the agent of cluster east", "kube-1")
    assert verdict(known=cluster(uid="kube-1")) == Verdict(True, "the agent of cluster east", "")


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"content": CertificateContent("system:federation:member:", (agents.GROUP,))}, "does not name a member"),
        ({"content": CertificateContent("admin", (agents.GROUP,))}, "does not name a member"),
        ({"content": CertificateContent(agents.user_of("east"), ("system:masters",))}, "organization is"),
        (
            {"content": CertificateContent(agents.user_of("east"), (agents.GROUP, agents.uid_group("x")))},
            "organization",
        ),
        ({"content": CertificateContent(agents.user_of("east"), (agents.GROUP,), ("a.b",))}, "alternative names"),
        ({"usages": ("server auth", "digital signature")}, "not those of a client"),
        ({"known": cluster(syncMode="Push")}, "push mode"),
        ({"token": token_secret(make_token(), "west", "uid-west", NOW)}, "not for cluster east"),
        ({"token": token_secret(make_token(), "east", "uid-of-an-earlier-east", NOW)}, "not for cluster east"),
        ({"token": None}, "does not speak for cluster east"),
        ({"identity": ""}, "does not say which cluster"),
        ({"known": cluster(uid="kube-2")}, "is another one"),
        ({"others": (cluster("west", "kube-1"),)}, "is a member already, as west"),
        ({"token": None, "user": agents.user_of("west"), "groups": (agents.GROUP,)}, "does not speak for cluster east"),
    ],
)
def test_what_is_not_this_members_is_denied_in_words(given: dict[str, Any], why: str) -> None:
    found = verdict(**given)
    assert not found.approved
    assert why in found.why


@pytest.mark.parametrize("group", [agents.GROUP, agents.RETURNING])
def test_an_agent_renews_for_the_cluster_that_its_certificate_names_and_no_later_one(group: str) -> None:
    mine: dict[str, Any] = {"token": None, "user": agents.user_of("east"), "known": cluster(uid="kube-1")}
    assert verdict(groups=(group, agents.uid_group("uid-east")), **mine).approved
    assert "an earlier member called east" in verdict(groups=(group, agents.uid_group("uid-old")), **mine).why
    assert "an earlier member" in verdict(groups=(group,), **mine).why


def test_a_token_ends_after_a_day_and_is_shown_by_nothing() -> None:
    token = make_token()
    secret = token_secret(token, "east", "uid-east", NOW)
    assert granted(secret) == ("east", "uid-east")
    assert not is_over(secret, NOW + dt.timedelta(hours=23, minutes=59))
    assert is_over(secret, NOW + dt.timedelta(hours=24))
    assert is_over({"data": {"expiration": "bm90IGEgdGltZQ=="}}, NOW)
    assert token.secret not in repr(token)
    assert read_token(f"{token.text}\n") == token
    with pytest.raises(ValueError, match="no bootstrap token") as said:
        read_token("hunter2.hunter2")
    assert "hunter2" not in str(said.value)
