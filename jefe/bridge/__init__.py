"""The bridge between trio and programs that do not use it: what the asyncio and the plain form of every
client, and of a supervisor, have in common.

A thread runs trio and, in it, holds one thing open (`TrioThread`). A request is handed over to that thread,
and waited for in the way of the caller's world: `AsyncioBridge` in an event loop, `PlainBridge` in a thread.
What calls back, such as the function that a script calls, is handed back, so that it runs where the
application's other code does.

Invariants:

- When the block has ended, so has the thread, and everything in it; also when the block was cancelled or
  interrupted, which only makes the end faster.
- A request ends: with its outcome, or with the error that `gone` makes. One that is not waited for any more
  is cancelled.
- An exception of the caller's world (Ctrl-C, a cancelled task) never reaches the thread, and nothing that
  happens in the thread is printed.
"""

from jefe.bridge.aio import AsyncioBridge
from jefe.bridge.plain import PlainBridge
from jefe.bridge.thread import TrioThread

__all__ = ["AsyncioBridge", "PlainBridge", "TrioThread"]
