"""Everything that runs inside a child process: synchronous code, without trio and without the supervisor.

`python -m child` speaks the child protocol (docs/reference/protocols.md, section 1) on its standard streams.
"""
