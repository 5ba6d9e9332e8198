"""
Why a call failed, in the words that Go's client and upstream's have for it. Pure.

Clients and operators grep for these. Never part of them: anything that the other side sent.
"""

import errno
import os
import ssl

import aiohttp

_UNKNOWN_AUTHORITY = frozenset({2, 18, 19, 20, 21, 27})
"""OpenSSL's verify codes for a chain that ends in no trusted certificate."""
_EXPIRED = frozenset({9, 10})
_OTHER_NAME = frozenset({62, 63, 64})


def connection(fault: BaseException) -> str:
    """What Go would say about a connection that failed."""
    if isinstance(fault, aiohttp.ClientConnectorCertificateError):
        return certificate(fault.certificate_error)
    if isinstance(fault, aiohttp.ClientConnectorDNSError):
        return f"dial tcp: lookup {fault.host}: no such host"
    if isinstance(fault, aiohttp.ClientConnectorSSLError):
        return f"tls: {_reason(fault.os_error)}"
    if isinstance(fault, aiohttp.ClientConnectorError):
        host = f"[{fault.host}]" if ":" in str(fault.host) else fault.host
        return f"dial tcp {host}:{fault.port}: connect: {_system(fault.os_error)}"
    if isinstance(fault, aiohttp.ServerDisconnectedError):
        return "EOF"
    if isinstance(fault, aiohttp.ClientResponseError | aiohttp.ClientPayloadError):
        return "net/http: HTTP/1.x transport connection broken: malformed HTTP response"
    if isinstance(fault, ssl.SSLError):
        return certificate(fault)
    if isinstance(fault, OSError):
        return _system(fault)
    return type(fault).__name__


def certificate(fault: BaseException) -> str:
    code = getattr(fault, "verify_code", 0)
    why = "tls: failed to verify certificate: x509: "
    if code in _UNKNOWN_AUTHORITY:
        return why + "certificate signed by unknown authority"
    if code in _EXPIRED:
        return why + "certificate has expired or is not yet valid"
    if code in _OTHER_NAME:
        return why + "certificate is not valid for the name that was asked for"
    return why + str(getattr(fault, "verify_message", "") or _reason(fault))


def rejection(status: int) -> str:
    """An answer with another status than 200, without its body."""
    match status:
        case 400:
            return "the server rejected our request for an unknown reason"
        case 401:
            return "the server has asked for the client to provide credentials"
        case 403:
            return "unknown"
        case 404:
            return "the server could not find the requested resource"
        case 405:
            return "the server does not allow this method on the requested resource"
        case 429:
            return "the server has received too many requests and has asked us to try again later"
        case 503:
            return "the server is currently unable to handle the request"
        case 504:
            still = "but may still be processing the request"
            return f"the server was unable to return a response in the time allotted, {still}"
        case _ if status >= 500:
            return 'an error on the server ("unknown") has prevented the request from succeeding'
        case _:
            return f"the server responded with the status code {status} but did not return more information"


def _system(fault: BaseException) -> str:
    number = getattr(fault, "errno", None)
    if number == errno.ECONNREFUSED:
        return "connection refused"
    return os.strerror(number).lower() if number and number > 0 else "connection failed"


def _reason(fault: BaseException) -> str:
    return str(getattr(fault, "reason", "") or "handshake failure").lower().replace("_", " ")
