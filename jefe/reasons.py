"""Why the system refused something, in words that fit into a sentence."""

import os
import ssl


def cause_of(error: BaseException) -> BaseException:
    """The first cause of an error: libraries put errors into groups, and raise errors because of errors."""
    while True:
        if isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        elif error.__cause__ is not None:
            error = error.__cause__
        else:
            return error


def reason_of(error: BaseException) -> str:
    """The reason at the bottom of an error, such as `connection refused`."""
    error = cause_of(error)
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate is not trusted: {error.verify_message}"
    if isinstance(error, ssl.SSLError) and error.reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST"):
        return "what answers there does not speak TLS"
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    if isinstance(error, ConnectionError) and error.errno:
        text = os.strerror(error.errno)  # trio's own text repeats the address
    if isinstance(error, ssl.SSLError):
        text = text.partition(" (_ssl.c:")[0]  # a line of the interpreter's source helps nobody
    return text if text[1:2].isupper() else text[:1].lower() + text[1:]
