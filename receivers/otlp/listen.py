"""Addresses to listen on, and a plain message when one is taken.

`localhost` means every loopback address of the machine; a machine without IPv6 has one of them.
"""

from __future__ import annotations

import asyncio
import errno
import socket

from spanledger.processor.settings import host_and_port

_ABSENT = {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT}


async def bind(endpoint: str, key: str) -> list[socket.socket]:
    """Return sockets bound to every address of `endpoint`, all on the same port.

    Raises OSError that names the endpoint and the configuration `key` to change.
    """
    host, port = host_and_port(endpoint)
    bound: list[socket.socket] = []
    absent: OSError | None = None
    try:
        found = await asyncio.get_running_loop().getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        # IPv4 first: that is where port 0 is chosen.
        for family, _kind, _protocol, _name, address in sorted(set(found), key=lambda info: info[0]):
            try:
                bound.append(_bind(family, str(address[0]), bound[0].getsockname()[1] if bound else port))
            except OSError as error:
                if error.errno not in _ABSENT:
                    raise
                absent = error
        if not bound:
            raise absent or OSError(errno.EADDRNOTAVAIL, "no address found")
    except OSError as error:
        for opened in bound:
            opened.close()
        raise OSError(error.errno, f"endpoint {endpoint}: {_why(error)}; set {key}") from error
    return bound


def address_of(listening: socket.socket) -> str:
    """Return `host:port` of a socket, IPv6 in brackets."""
    host, port = listening.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _bind(family: int, host: str, port: int) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # The IPv4 address has a socket of its own.
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind((host, port))
        made.setblocking(False)
    except OSError:
        made.close()
        raise
    return made


def _why(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "address already in use; is another Collector running?"
    if error.errno == errno.EACCES:
        return "permission denied; ports below 1024 need privileges"
    return error.strerror or str(error)
