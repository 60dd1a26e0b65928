"""Namespaces: to whom a name belongs.

Every name, every cached source and every secret belongs to a namespace, and every lookup says for which
namespace it is. What is guaranteed:

- A namespace sees its own names and the operator's, its own first. It changes and removes only its own.
- In a namespace that strangers share, the operator's names come first: nobody puts a script in the place of
  one that is the operator's.
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
        label: what the log calls it; what it is called in a store, if it is lasting.
        is_lasting: whether its scripts are kept in the store, and outlive the supervisor. Others end with
            the client whose they are, and are never written to disk.
        is_register_only: whether its names keep their first meaning: nothing is replaced or removed, and the
            operator's names come first.
    """

    __slots__ = ("is_lasting", "is_register_only", "key", "label", "store_key")

    _numbers = count(1)

    def __init__(self, label: str, *, is_lasting: bool = False, is_register_only: bool = False) -> None:
        self.label = label
        self.is_lasting = is_lasting
        self.is_register_only = is_register_only
        self.key = b"%d/" % next(self._numbers)
        """What the keys of all that belongs to it begin with."""
        self.store_key = label if is_lasting else self.key.decode()
        """What it is called where its scripts are kept: no two have the same."""

    def __repr__(self) -> str:
        return f"<Namespace {self.label}>"

    def hears(self, namespace: "Namespace") -> bool:
        """Whether what is secret to an execution of this namespace may go out with the host calls of a
        script of another one: its own and the operator's.
        """
        return namespace is self or namespace is OPERATOR


OPERATOR: Final = Namespace("operator", is_lasting=True)
"""The namespace of the operator: the pipe, the Python API, the command, OAF, and clients that
showed a token.
"""

PUBLIC: Final = Namespace("public", is_lasting=True, is_register_only=True)
"""The namespace of clients that need no token where names last: whoever registers a name first has it, and
nobody replaces or removes it.
"""

LASTING: Final = {namespace.store_key: namespace for namespace in (OPERATOR, PUBLIC)}
"""The namespaces that a store holds, by what they are called there."""
