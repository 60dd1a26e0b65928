"""The processes below this one, and what a supervisor holds: for tests that kill and count.

A supervisor has a zygote below it, and the zygote has the children, a spare among them.
"""

import gc
import os
import select
import signal
import time
from pathlib import Path
from typing import NamedTuple

import trio
from trio.testing import wait_all_tasks_blocked


def below(pid):
    """The pids of the children of a process, zombies included."""
    pids = []
    for task in _listed(f"/proc/{pid}/task"):
        try:
            pids += [int(word) for word in Path(f"/proc/{pid}/task/{task}/children").read_text().split()]
        except OSError:  # it has just gone
            pass
    return pids


def whole_tree(pid):
    """The pids of all descendants of a process."""
    return [found for child in below(pid) for found in (child, *whole_tree(child))]


def zygote(supervisor=None):
    """The pid of the zygote; None if there is none right now."""
    found = below(supervisor or os.getpid())
    assert len(found) < 2, "a supervisor starts one process"
    return found[0] if found else None


def children(supervisor=None):
    """The pids of the children, the spare among them."""
    parent = zygote(supervisor)
    return [] if parent is None else below(parent)


def kill(pid, parent):
    """Kill a process if it is still below that parent; returns, when it is dead, whether it was."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    try:
        if pid not in below(parent):
            return False
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        return wait_until_dead([pidfd], 60) == 0
    except ProcessLookupError:
        return False
    finally:
        os.close(pidfd)


def kill_a_child(chance):
    """Kill a random child; returns its pid, or None if there was none."""
    parent = zygote()
    pids = below(parent) if parent is not None else []
    if not pids:
        return None
    pid = chance.choice(pids)
    return pid if kill(pid, parent) else None


def kill_the_zygote():
    """Kill the zygote, if there is one; returns its pid, or None."""
    pid = zygote()
    return pid if pid is not None and kill(pid, os.getpid()) else None


async def busy_child():
    """Wait for a child that has been at work for a while; returns its pid.

    The clock that counts is the child's own CPU time, so a slow machine only takes longer.
    """
    before = {}
    while True:
        for pid in children():
            try:
                spent = time.clock_gettime(_cpu_clock(pid))
            except OSError:  # it has just gone
                continue
            if spent - before.setdefault(pid, spent) > _WHILE:
                return pid
        await trio.sleep(_WHILE / 10)


def _cpu_clock(pid):
    """The number of the clock of a process's CPU time, as clock_getcpuclockid(3) makes it."""
    return ~pid << 3 | 2


def wait_until_dead(pidfds, seconds):
    """Wait for the deaths of processes by their pidfds; returns how many live on."""
    poll = select.poll()
    for pidfd in pidfds:
        poll.register(pidfd, select.POLLIN)
    alive = len(pidfds)
    while alive:
        dead = poll.poll(seconds * 1000)
        if not dead:
            break
        for pidfd, _ in dead:
            poll.unregister(pidfd)
        alive -= len(dead)
    return alive


_WHILE = 0.1
"""So much CPU time, in seconds, is work."""


class Holdings(NamedTuple):
    """What a supervisor holds of what can leak."""

    descriptors: int
    tasks: int
    memory: int
    """KiB."""


def holdings():
    """What this process holds now."""
    gc.collect()
    status = Path("/proc/self/status").read_text()
    return Holdings(
        len(_listed("/proc/self/fd")),
        trio.lowlevel.current_statistics().tasks_living,
        int(status.partition("VmRSS:")[2].split()[0]),
    )


async def calm(boss, children):
    """Wait until so many children are there, idle, and nobody comes or goes.

    That it comes is promised; how soon, is for the machine to say. Nobody tells, so it is asked for.
    """
    wanted = {"children": children, "starting": 0, "busy": 0, "waiting": 0}
    while not _is_calm(boss, wanted):  # noqa: ASYNC110
        await trio.sleep(0.005)
    await wait_all_tasks_blocked()


def _is_calm(boss, wanted):
    stats = boss.stats()
    compilers = stats["compilers"]
    pids = boss.pools["hexput"].pids + boss.compilers["hexput"].pids
    return (
        stats["pool"] == wanted
        and not compilers["starting"]
        and not compilers["busy"]
        and not any(map(is_dead, pids))
    )


def is_dead(pid):
    """Whether a process is dead, reaped or not."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return wait_until_dead([pidfd], 0) == 0
    finally:
        os.close(pidfd)


def _listed(folder):
    try:
        return os.listdir(folder)  # noqa: PTH208 - as cheap as can be: it is done thousands of times
    except OSError:
        return []
