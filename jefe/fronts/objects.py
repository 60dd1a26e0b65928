"""Answers of the core as the JSON objects of docs/reference/protocols.md, section 1, for every front that
speaks in them.
"""

from child import protocol
from jefe.core.answers import Answer, Finished, Parsed, Refused, Threw


def line_of(answer: Answer, request_id: bytes = b"") -> bytes:
    """The line of an answer, with the id of its request if that had one."""
    if type(answer) is Finished:
        return protocol.finished(
            request_id, answer.sandbox, answer.result, answer.time_taken, log=answer.log, fuel=answer.fuel
        )
    if type(answer) is Threw:
        thrown = protocol.Thrown(
            type=answer.type,
            message=answer.message,
            line=answer.line,
            column=answer.column,
            stack=answer.stack,
        )
        return protocol.threw(request_id, thrown, answer.time_taken, log=answer.log, fuel=answer.fuel)
    if type(answer) is Refused:
        beside = {
            "detail": answer.detail or None,
            "type": answer.type,
            "line": answer.line,
            "column": answer.column,
        }
        return protocol.refused(
            request_id, answer.reason, {name: value for name, value in beside.items() if value is not None}
        )
    if type(answer) is Parsed:
        return protocol.responded(request_id, b'{"tree":' + answer.tree + b"}")
    return protocol.accepted(request_id)
