"""Landlock: no file, no connection and no signal, whatever system call asks for it.

The ruleset has no rule, so the kernel refuses all that it can. The module asks the kernel which rights it
knows (an unknown right is an error) instead of keeping a table of versions: a kernel that learns to refuse
more refuses more, without a change here.

Source: the kernel's userspace-api/landlock, linux/landlock.h.
"""

import ctypes
import errno
import os

from child.confine import kernel
from child.confine.kernel import Unavailable


class _Attributes(ctypes.Structure):
    """The kernel's `struct landlock_ruleset_attr`."""

    _fields_ = (("files", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class Ruleset:
    """Everything that this kernel can refuse, ready to be put in force.

    Raises `Unavailable` where the kernel has no Landlock.
    """

    def __init__(self) -> None:
        try:
            self.version = kernel.invoke("landlock_create_ruleset", 0, 0, 1)  # ..._VERSION
        except OSError as error:
            why = {
                errno.ENOSYS: "this kernel has no Landlock (Linux 5.13 is the first)",
                errno.EOPNOTSUPP: "Landlock is switched off: put it into the kernel's lsm= list",
            }
            raise Unavailable(
                why.get(error.errno or 0, f"Landlock cannot be asked: {error.strerror}")
            ) from None
        self._attributes = _Attributes(files=1)
        for field in ("files", "net", "scoped"):
            self._widen(field)

    def _widen(self, field: str) -> None:
        known = getattr(self._attributes, field)
        for bit in range(64):
            setattr(self._attributes, field, known | 1 << bit)
            try:
                os.close(self._create())
            except OSError:
                break
            known |= 1 << bit
        setattr(self._attributes, field, known)

    def _create(self) -> int:
        size = ctypes.sizeof(self._attributes)
        return kernel.invoke("landlock_create_ruleset", ctypes.addressof(self._attributes), size)

    @property
    def covers(self) -> str:
        """What it refuses, in words."""
        parts = {"files": "files", "net": "TCP", "scoped": "signals and abstract sockets"}
        return ", ".join(words for field, words in parts.items() if getattr(self._attributes, field))

    def enforce(self) -> None:
        """Put it in force for this thread, permanently. Raises OSError."""
        descriptor = self._create()
        try:
            kernel.invoke("landlock_restrict_self", descriptor)
        finally:
            os.close(descriptor)
