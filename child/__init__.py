"""Everything that runs inside a child process: synchronous code, no trio, nothing of the supervisor's.

`python -m child` speaks the child protocol (docs/reference/protocols.md, section 1) on its standard streams.
"""
