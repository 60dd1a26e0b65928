"""Errors as HTTP answers: the status of each reason, and the body (RFC 9457).

A reason is the short text for an error in every protocol (docs/reference/protocols.md, section 1). A run
whose script failed is not an error here: the request was carried out, and its answer has the exception.
"""

from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec import UNSET

from child import protocol
from jefe.core.answers import Refused
from jefe.core.linking import NO_SUCH_MODULE
from jefe.errors import CANCELLED, CLOSED, NO_CHILD, NOT_THE_OPERATOR
from jefe.fronts import shutdown
from jefe.fronts.http.shapes import Problem
from jefe.fronts.http.wire import PHRASES

STATUSES: Final[Mapping[str, int]] = {
    protocol.MALFORMED_REQUEST: 400,
    protocol.INPUT_TOO_LARGE: 413,
    protocol.NO_SUCH_SCRIPT: 404,
    protocol.NO_TREE: 422,
    protocol.NAME_TAKEN: 409,
    protocol.VERSION_CHANGED: 412,
    protocol.NOT_ALLOWED: 403,
    protocol.STORE_FULL: 507,
    protocol.STORE_UNAVAILABLE: 503,
    NOT_THE_OPERATOR: 403,
    protocol.TOO_MUCH_TIME: 422,
    protocol.TOO_MUCH_MEMORY: 422,
    protocol.CHILD_DIED: 502,
    protocol.NOT_REPLAYABLE: 502,
    protocol.OVERLOADED: 503,
    NO_CHILD: 503,
    CLOSED: 503,
    CANCELLED: 503,
    shutdown.SHUTTING_DOWN: 503,
    shutdown.CANCELLED: 503,
}
"""The status of each reason."""

_BEGINNINGS: Final[Mapping[str, int]] = {
    protocol.SYNTAX_ERROR: 422,
    NO_SUCH_MODULE: 404,
    protocol.UNKNOWN_LANGUAGE: 422,
    protocol.INTERNAL_ERROR: 500,
}
"""The same for reasons that are followed by details."""

_REASONS: Final[Mapping[int, str]] = {
    400: protocol.MALFORMED_REQUEST,
    413: protocol.INPUT_TOO_LARGE,
    422: protocol.MALFORMED_REQUEST,
    503: protocol.OVERLOADED,
}
"""The reasons for some statuses, as in every protocol."""

RETRY: Final = b"Retry-After: 1\r\n"
"""The field that goes with 503: each cause of it may end soon."""

_encoder: Final = msgspec.json.Encoder()


def status_of(reason: str) -> int:
    """The status of a reason; 422 for one that is not in the table, as a language may have reasons of its
    own.
    """
    status = STATUSES.get(reason)
    if status is not None:
        return status
    return next((status for text, status in _BEGINNINGS.items() if reason.startswith(text)), 422)


def reason_of(status: int) -> str:
    """The reason for a status of HTTP itself."""
    return _REASONS.get(status) or PHRASES[status].lower()


def sentence_of(refused: Refused, sentence: str = "") -> bytes:
    """The body of an answer that refuses a request, for those who want one plain sentence: that one, or else
    the reason and its detail.
    """
    reason, detail = refused.reason, refused.detail
    told = f"{reason}: {detail}" if detail and reason != protocol.MALFORMED_REQUEST else detail or reason
    return (sentence or told).encode("utf-8", "backslashreplace")


def body_of(status: int, refused: Refused) -> bytes:
    """The body of an answer that refuses a request."""
    reason = refused.reason
    title = next((text[:-2] for text in _BEGINNINGS if reason.startswith(text)), reason)
    problem = Problem(
        ok=False,
        reason=reason,
        title=title,
        status=status,
        detail=refused.detail or UNSET,
        type=refused.type or UNSET,
        line=refused.line or UNSET,
        column=refused.column or UNSET,
    )
    try:
        return _encoder.encode(problem) + b"\n"
    except UnicodeEncodeError:  # unpaired surrogates of a source, quoted in a detail
        return protocol.surrogates.encode(problem) + b"\n"
