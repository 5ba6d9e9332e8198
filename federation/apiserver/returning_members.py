"""
Lets agents in whose certificate has expired, as far as to ask for a new one (federation.membership.return_proof).
"""

import datetime as dt
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509

from cluster.apiserver.authentication import AuthenticatedToken
from cluster.apiserver.options import Options
from cluster.apiserver.requests import UserInfo
from cluster.apiserver.service_account_tokens import TokenRejected
from federation.membership.return_proof import ProofError, is_proof, read_proof


class ReturningMembers:
    """Satisfies `cluster.apiserver.authentication.TokenSource`."""

    def __init__(self, options: Options) -> None:
        self._options = options

    async def __call__(self, token: str, audiences: Sequence[str]) -> AuthenticatedToken | None:
        path = self._options.client_ca_file
        if not path or not is_proof(token):
            return None
        own = tuple(one for one in audiences if one in self._options.api_audiences)
        if audiences and not own:
            return None
        try:
            name, groups = read_proof(token, _authorities(Path(path)), dt.datetime.now(dt.UTC))
        except (ProofError, OSError, ValueError) as fault:
            raise TokenRejected(str(fault)) from fault
        return AuthenticatedToken(UserInfo(name, groups), own)


def _authorities(path: Path) -> list[x509.Certificate]:
    """Read each time: the CA may be replaced, and who returns is rare."""
    return x509.load_pem_x509_certificates(path.read_bytes())
