"""Namespaces: to whom a name belongs.

Every name, every cached source and every secret belongs to a namespace, and every lookup says for which
namespace it is. What is guaranteed:

- A namespace sees its own names and the operator's, its own first. It changes and removes only its own.
- A script sees what its own namespace sees, whoever runs it: an operator's script never calls a script of
  the client that runs it.
- One namespace never reuses what another one compiled, so the time that compiling takes does not reveal what
  others run.
"""

from itertools import count
from typing import Final


class Namespace:
    """A namespace. Two are the same if they are the same object.

    Args:
        label: what the log calls it.
    """

    __slots__ = ("key", "label")

    _numbers = count(1)

    def __init__(self, label: str) -> None:
        self.label = label
        self.key = b"%d/" % next(self._numbers)
        """What the keys of all that belongs to it begin with."""

    def __repr__(self) -> str:
        return f"<Namespace {self.label}>"

    def hears(self, namespace: "Namespace") -> bool:
        """Whether what is secret to an execution of this namespace may go out with the host calls of a
        script of another one: its own and the operator's.
        """
        return namespace is self or namespace is OPERATOR


OPERATOR: Final = Namespace("operator")
"""The namespace of the operator: the pipe, the Python API, the command, OAF, and clients that
showed a token.
"""
