"""Becoming another user: finding the user, the order of the steps, and the failures."""

import os
import pwd
import sys

import pytest

from jefe.command import users
from jefe.command.users import User, become, find_user
from jefe.errors import Misuse

NOBODY = pwd.getpwuid(65534) if 65534 in {entry.pw_uid for entry in pwd.getpwall()} else None


class System:
    """What the operating system is asked, and in which order."""

    def __init__(self, monkeypatch, uid=0, refuses=""):
        self.calls = []
        self.refuses = refuses
        monkeypatch.setattr(os, "geteuid", lambda: uid)
        for name in ("setgroups", "setresgid", "setresuid"):
            monkeypatch.setattr(os, name, self.call(name))

    def call(self, name):
        def called(*arguments):
            if name == self.refuses:
                raise PermissionError(1, "Operation not permitted")
            self.calls.append((name, *arguments))

        return called


def test_the_groups_go_first_and_the_user_last(monkeypatch):
    system = System(monkeypatch)
    monkeypatch.setattr(users, "find_user", lambda text: User(7, 8, (8, 9)))
    become("somebody")
    assert system.calls == [("setgroups", (8, 9)), ("setresgid", 8, 8, 8), ("setresuid", 7, 7, 7)]


@pytest.mark.parametrize(("text", "uid"), [("", 0), ("0", 0), ("root", 0), ("4242", 4242), ("", 4242)])
def test_nothing_is_done_for_who_is_that_user(monkeypatch, text, uid):
    system = System(monkeypatch, uid)
    become(text)
    assert system.calls == []


@pytest.mark.parametrize(
    ("uid", "refuses", "text", "why"),
    [
        (4242, "", "4243", "only root can become another user, and this is user 4242"),
        (0, "setgroups", "4243", "root may not become that here: operation not permitted"),
        (0, "setresuid", "4243", "root may not become that here: operation not permitted"),
        (0, "", "no such user", "this system has no such user"),
        (0, "", "4294967295", "this system has no such user"),
        (0, "", "9" * 250, "this system has no such user"),
        (0, "", "-1", "this system has no such user"),
    ],
)
def test_what_is_in_the_way_is_a_sentence(monkeypatch, uid, refuses, text, why):
    System(monkeypatch, uid, refuses)
    with pytest.raises(Misuse) as caught:
        become(text)
    assert str(caught.value).startswith(f"JEFE_USER is {text!r}, but ")
    assert why in str(caught.value)


def test_a_user_that_could_start_no_child_is_a_sentence(monkeypatch):
    System(monkeypatch)
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    with pytest.raises(Misuse, match=r"cannot read /no/such/python, of which children are made: install"):
        become("4243")


def test_a_number_that_nobody_has_stands_for_itself():
    assert find_user("3999999999") == User(3999999999, 3999999999, ())


@pytest.mark.skipif(NOBODY is None, reason="there is no nobody here")
def test_a_name_and_its_number_are_one_user():
    user = find_user(NOBODY.pw_name)
    assert user == find_user(str(NOBODY.pw_uid))
    assert (user.uid, user.gid) == (NOBODY.pw_uid, NOBODY.pw_gid)
    assert NOBODY.pw_gid in user.groups
