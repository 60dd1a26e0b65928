"""The bridge between trio and programs that do not use it: the common part of the asyncio and the plain form
of every client, and of a supervisor.

A thread runs trio and keeps one thing open in it (`TrioThread`). A request is passed to that thread; the
caller waits for it in the way of its own world: `AsyncioBridge` in an event loop, `PlainBridge` in a thread.
Calls back, such as of a function that a script calls, are passed the other way, so that they run where the
application's other code does.

Invariants:

- When the block has ended, the thread and everything in it has ended, also when the block was cancelled or
  interrupted, which only makes the end faster.
- A request ends with its outcome, or with the error that `gone` makes. A request that nobody waits for any
  more is cancelled.
- An exception of the caller's world (Ctrl-C, a cancelled task) never reaches the thread, and nothing that
  happens in the thread is printed.
"""

from jefe.bridge.aio import AsyncioBridge
from jefe.bridge.plain import PlainBridge
from jefe.bridge.thread import TrioThread

__all__ = ["AsyncioBridge", "PlainBridge", "TrioThread"]
