"""The packets between a supervisor and its zygote; some carry file descriptors.

They travel on a Unix socket that keeps the boundaries of packets. The supervisor sends `ASK`; the zygote
sends the rest. The supervisor chooses a number for each child that it asks for; every packet about that child
carries the number.

    ASK      number                spawn a child
    READY                          the zygote is warm (once, before anything else)
    BORN     number, pid           with four descriptors: the child's pidfd, and the other ends of its stdin,
                                   stdout and stderr
    REFUSED  number, errno         no child: the system does not allow another one
    DIED     number, exit status   negative for a signal; the child has been reaped, its pid is free

Each `ASK` is answered by `BORN` or `REFUSED`; each `BORN` is followed by `DIED`, later. Both ends are
trusted, and no child holds either of them.
"""

import array
import enum
import os
import socket
import struct
from collections.abc import Iterable
from typing import Final, NamedTuple

_PACKET: Final = struct.Struct("=Bqq")
_DESCRIPTOR: Final = array.array("i").itemsize

DESCRIPTORS: Final = 4
"""The largest number of descriptors in a packet, which `BORN` carries."""


class Kind(enum.IntEnum):
    """What a packet says."""

    ASK = 1
    READY = 2
    BORN = 3
    REFUSED = 4
    DIED = 5


class Packet(NamedTuple):
    """One packet, as it was received.

    Attributes:
        kind: what it says.
        number: of the child that it is about; 0 if none.
        value: a pid, an errno or an exit status.
        descriptors: those that came with it, close-on-exec. They belong to the receiver. There are fewer than
            were sent if the receiver may not open more.
    """

    kind: Kind
    number: int
    value: int
    descriptors: tuple[int, ...]


def send(
    control: socket.socket, kind: Kind, number: int = 0, value: int = 0, descriptors: Iterable[int] = ()
) -> None:
    """Send one packet; the receiver gets copies of the descriptors.

    Raises:
        BlockingIOError: the socket does not block, and has no room.
        OSError: the other end is closed, or the system refuses to pass descriptors.
    """
    rights = array.array("i", descriptors)
    beside = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)] if rights else []
    control.sendmsg([_PACKET.pack(kind, number, value)], beside)


def receive(control: socket.socket) -> Packet | None:
    """Receive one packet; None when there will be no more.

    Raises:
        BlockingIOError: the socket does not block, and there is none yet.
    """
    try:
        data, beside, _, _ = control.recvmsg(
            _PACKET.size, socket.CMSG_SPACE(DESCRIPTORS * _DESCRIPTOR), socket.MSG_CMSG_CLOEXEC
        )
    except (ConnectionResetError, BrokenPipeError):
        return None
    if not data:
        return None
    rights = array.array("i")
    for level, type_, content in beside:
        if level == socket.SOL_SOCKET and type_ == socket.SCM_RIGHTS:
            rights.frombytes(content[: len(content) - len(content) % _DESCRIPTOR])
    kind, number, value = _PACKET.unpack(data)
    return Packet(Kind(kind), number, value, tuple(rights))


def close(descriptors: Iterable[int]) -> None:
    """Close file descriptors."""
    for descriptor in descriptors:
        os.close(descriptor)
