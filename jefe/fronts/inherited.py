"""Listening sockets that whoever started this process has opened for it (systemd: socket activation). Linux,
and whatever else keeps to that convention.

Source: sd_listen_fds(3). The sockets are descriptors 3 and up; `LISTEN_FDS` tells how many, `LISTEN_PID` for
which process, `LISTEN_FDNAMES` how each is called. One that is called as a front is that front's (in a unit:
`FileDescriptorName=http`); if only one front is served, it gets all of them, whatever they are called.
"""

import os
import socket
from collections.abc import Iterable, MutableMapping
from typing import Final

from jefe.errors import Misuse

_FIRST: Final = 3
_VARIABLES: Final = ("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES")

Inherited = dict[str, list[socket.socket]]
"""The sockets of each front, by its name."""


def inherited_sockets(environ: MutableMapping[str, str], fronts: Iterable[str]) -> Inherited:
    """The sockets for these fronts, taken out of the environment, so that no child thinks they are its own.

    Empty if there are none. Raises Misuse: they cannot be used, or nobody knows whose they are.
    """
    count, pid, names = (environ.pop(name, "") for name in _VARIABLES)
    if not count or pid != str(os.getpid()):
        return {}
    fronts = list(fronts)
    if not count.isdecimal():
        raise Misuse(f"LISTEN_FDS is {count!r}, and must be a number of sockets")
    called = names.split(":") if names else []
    found: Inherited = {}
    for number in range(int(count)):
        name = fronts[0] if len(fronts) == 1 else called[number] if number < len(called) else ""
        if name not in fronts:
            raise Misuse(
                f"socket {number + 1} of those that were inherited is called {name!r}, which is none of the "
                f"fronts that are started ({', '.join(fronts)}); set FileDescriptorName= to one"
            )
        found.setdefault(name, []).append(_socket_of(_FIRST + number, name))
    return found


def _socket_of(descriptor: int, name: str) -> socket.socket:
    try:
        os.set_inheritable(descriptor, False)
        found = socket.socket(fileno=descriptor)
        is_good = (
            found.family in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX)
            and found.type == socket.SOCK_STREAM
            and found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        )
    except OSError as error:
        raise Misuse(
            f"descriptor {descriptor}, inherited for {name}, is not a socket: {error.strerror}"
        ) from None
    if not is_good:
        raise Misuse(f"descriptor {descriptor}, inherited for {name}, is not a stream socket that listens")
    return found
