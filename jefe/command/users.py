"""Becoming another user: a server that root starts, for a port or a key that only root may use, need not
remain root.
"""

import os
import sys
from typing import Final, NamedTuple

from jefe.errors import Misuse
from jefe.reasons import reason_of
from jefe.settings import PREFIX

_VARIABLE: Final = f"{PREFIX}USER"


class User(NamedTuple):
    """A user: its id, its group's id, and the ids of all its groups."""

    uid: int
    gid: int
    groups: tuple[int, ...]


def find_user(text: str) -> User:
    """The user of a name or a number. A number without a user is used as it is, for the group as well.

    Raises Misuse: there is no such user.
    """
    import pwd

    is_number = text.isascii() and text.isdigit()
    try:
        found = pwd.getpwuid(int(text)) if is_number else pwd.getpwnam(text)
    except (KeyError, OverflowError, ValueError):  # ValueError: a NUL, or too many digits
        if is_number and len(text) < 20 and int(text) < 2**32 - 1:
            return User(int(text), int(text), ())
        raise Misuse(f"{_VARIABLE} is {text!r}, but this system has no such user") from None
    groups = os.getgrouplist(found.pw_name, found.pw_gid)
    return User(found.pw_uid, found.pw_gid, tuple(groups))


def become(text: str) -> None:
    """Become another user, permanently; nothing happens if the text is empty, or this process is that user.

    Open files stay open. From now on this process reads files as that user, including the programs of
    children.

    Args:
        text: the name of the user, or its number.

    Raises:
        Misuse: there is no such user, this process may not become it, or that user could not start a child.
    """
    if not text:
        return
    user = find_user(text)
    if os.geteuid() == user.uid:
        return
    if os.geteuid() != 0:
        raise Misuse(
            f"{_VARIABLE} is {text!r}, but only root can become another user, and this is user {os.geteuid()}"
        )
    try:
        os.setgroups(user.groups)
        os.setresgid(user.gid, user.gid, user.gid)
        os.setresuid(user.uid, user.uid, user.uid)
    except OSError as error:
        raise Misuse(
            f"{_VARIABLE} is {text!r}, but root may not become that here: {reason_of(error)}"
        ) from None
    if unreadable := _unreadable():
        raise Misuse(
            f"{_VARIABLE} is {text!r}, but that user cannot read {unreadable}, of which children are made: "
            "install Python and jefe where everybody may read them"
        )


def is_root() -> bool:
    """Whether this process is root."""
    return os.geteuid() == 0


def _unreadable() -> str:
    """A file that a child needs and this user cannot read; empty if there is none."""
    import child

    needed = ((sys.executable, os.R_OK | os.X_OK), (os.__file__, os.R_OK), (child.__file__, os.R_OK))
    return next((path for path, how in needed if path and not os.access(path, how)), "")
