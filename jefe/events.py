"""The events of the log: each has a name that stays, a level, a sentence, and what it means.

A module logs an event by its name, `_log.warning("child.died", pid=...)`. The log adds the sentence
(jefe/logs.py), which may be reworded; programs that read the log test the name. `docs/reference/events.md` is
printed from this table by `jefe events --markdown`.

A name is `subject.what_happened`. To add an event: its row here, and `jefe events --markdown` again.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple


class Event(NamedTuple):
    """One event of the log.

    Attributes:
        level: how important it is.
        sentence: what happened, for a person.
        meaning: what its values are, and what to do about it; Markdown.
    """

    level: str
    sentence: str
    meaning: str


EVENTS: Final[Mapping[str, Event]] = {
    "server.started": Event(
        "info",
        "the server serves its clients",
        "`version`, `pid`; `fronts` are the names of those that are served.",
    ),
    "server.signal": Event(
        "info",
        "a signal asks for the end",
        "`signal`; after `grace` seconds, what is left is cancelled.",
    ),
    "server.ended": Event(
        "info",
        "the server has ended",
        "No child is left. `cancelled` counts the requests that were not finished.",
    ),
    "server.root": Event(
        "warning",
        "the server runs as root: set JEFE_USER to the user that it should become",
        "JEFE_USER=0 says that it is meant.",
    ),
    "server.state": Event(
        "warning",
        "the state of the server",
        "SIGUSR1 asked for it. `queued`: jobs that wait for a child; `busy`: children at work; `waiting`: "
        "runs that wait for their host; `runs` and `killed` since the start; `scripts`: names; `children` "
        "and `starting`: processes; `store`: where names are kept; `store_trouble`: why that cannot be used.",
    ),
    "front.state": Event(
        "warning",
        "the state of a front",
        "SIGUSR1 asked for it. `clients` now; `unproven`: connections that have not shown a token; "
        "`refused`: how many were one too many since the start; `most`: how many clients all fronts "
        "together may have.",
    ),
    "child.state": Event(
        "warning",
        "the state of a child",
        "SIGUSR1 asked for it; the largest first, and 50 at most. `age_s`; `runs`; `memory_kib` and "
        "`cpu_ms`, as the system counts them; `pending`: requests that it has not answered; `waiting`: runs "
        "in it that wait for their host.",
    ),
    "front.exposed": Event(
        "warning",
        "a front listens where other machines reach it",
        "`why` says what is risky about that, and what to set: it has no token, and JEFE_INSECURE allows "
        "that; or its token travels in the clear.",
    ),
    "reload.done": Event(
        "info",
        "tokens and certificate were read again",
        "SIGHUP asked for it. `read` and `failed` count files, or pairs of files.",
    ),
    "reload.failed": Event(
        "error",
        "a file could not be read again; what it held before stays in force",
        "SIGHUP asked for it. Mend the file as `why` says, and send the signal again.",
    ),
    "settings.unknown": Event(
        "warning",
        "a JEFE_* variable is no setting",
        "`why` names each, and the setting that was probably meant.",
    ),
    "confinement.incomplete": Event(
        "warning",
        "a part of the confinement is missing",
        "`why` says which. `jefe doctor` tries each layer; JEFE_REQUIRE_SANDBOX refuses to start without "
        "one.",
    ),
    "folder.loaded": Event(
        "info",
        "the folder of scripts was loaded",
        "At the start, or because SIGHUP asked for it. `failed` of the `files` were skipped.",
    ),
    "folder.file_skipped": Event(
        "warning",
        "a file of the folder of scripts was skipped",
        "`why` says what is wrong with `file`; everything else was loaded. Mend it, and send SIGHUP.",
    ),
    "folder.file_vanished": Event(
        "warning",
        "the file of a script has vanished; its name keeps its meaning",
        "`jefe scripts remove` removes the `name`, if that was meant.",
    ),
    "folder.unreadable": Event(
        "error",
        "the folder of scripts could not be read again; its names stay as they were",
        "SIGHUP asked for it. Mend the `folder` as `why` says, and send the signal again.",
    ),
    "store.exposed": Event(
        "warning",
        "other users may open the store",
        "Who writes it decides what clients run: make it readable for its user alone (`chmod 600`). Now its "
        "mode is `mode`.",
    ),
    "store.unavailable": Event(
        "error",
        "the store cannot be used; changes of named scripts are refused",
        "Scripts that were run go on. Mend what `why` says: the store is tried again each second.",
    ),
    "store.recovered": Event(
        "warning",
        "the store can be used again",
        "All is well again, and what others changed meanwhile is known.",
    ),
    "store.script_unusable": Event(
        "warning",
        "another process changed a script, and this one cannot use it",
        "`why` says so. Runs of `name` use the last script that was here.",
    ),
    "requests.cancelled": Event(
        "warning",
        "requests were cancelled at the end",
        "`count` requests were not finished when JEFE_GRACE was over. Set a longer one?",
    ),
    "connections.bounded": Event(
        "warning",
        "fewer clients are served than JEFE_MAX_CONNECTIONS allows: raise the limit of open files",
        "`clients` of `wanted`, since this process may open `files`.",
    ),
    "connections.not_accepted": Event(
        "error",
        "no connection can be accepted",
        "`why`: mostly, the machine has no open file left. Clients wait; it is tried ten times a second.",
    ),
    "connection.refused": Event(
        "warning",
        "a connection was refused: its address has too many unproven ones",
        "Somebody floods the port, all at once; `peer` is the address.",
    ),
    "connection.failed": Event(
        "error",
        "a connection failed",
        "A mistake of ours about this one connection: `error`. Report it.",
    ),
    "connection.displaced": Event(
        "warning",
        "an unproven client was dropped: others came",
        "More connections come than show a token, and the address `peer` has most of these: somebody floods "
        "the port, or a limit of open files is low.",
    ),
    "connection.too_slow": Event(
        "info",
        "an unproven client was dropped: it took too long",
        "It showed no token, or did not finish its handshake, within 10 seconds (1 second while many of its "
        "address wait).",
    ),
    "client.connected": Event("info", "a client connected", "Over WebSocket."),
    "client.disconnected": Event(
        "info",
        "a client disconnected",
        "`code` is that of the close (1006: without one; null: the server ended it); `why` is set if the "
        "server dropped the client.",
    ),
    "client.foreign": Event(
        "info",
        "a client does not speak the protocol of this port",
        "A scanner, a health check or a web page; `front` is the port's.",
    ),
    "client.refused": Event(
        "warning",
        "a client was refused",
        "`reason`: its token, its `Origin`, its `Host`, or that there are too many connections "
        "(JEFE_MAX_CONNECTIONS).",
    ),
    "client.dropped": Event(
        "warning",
        "a client was dropped",
        "`why`: it did not read, was silent, has gone, or held more than its share of what all clients may "
        "hold (JEFE_MAX_BUFFERED).",
    ),
    "client.idle": Event(
        "info",
        "an idle client was dropped",
        "Nothing came, or was taken, for JEFE_OAF_IDLE_TIMEOUT or JEFE_HTTP_IDLE_TIMEOUT; over OAF, after a "
        "wrong token, no right one came in time; over HTTP, the head or the body of a request did not come "
        "in time (JEFE_HTTP_HEAD_TIMEOUT, JEFE_HTTP_BODY_TIMEOUT). `why` says which.",
    ),
    "client.no_reply": Event(
        "warning",
        "a client did not reply in time",
        "`function` did not answer within `seconds`: JEFE_FUNCTION_EXISTS_TIMEOUT, "
        "JEFE_FUNCTION_CALL_TIMEOUT.",
    ),
    "client.stray_reply": Event(
        "info",
        "a client replied to nothing that was asked",
        "The reply `reply_id` came too late, or twice, or nobody knows of it.",
    ),
    "message.malformed": Event(
        "warning",
        "a message could not be read",
        "`detail` says what is wrong with it. Only the first 20 of a connection are warnings.",
    ),
    "message.malformed_total": Event(
        "warning", "how many messages of a connection could not be read", "`count`; over OAF and HTTP."
    ),
    "message.unauthorized": Event(
        "warning",
        "a message came without the right token",
        "Somebody guesses, or has an old token: `peer`. Each further guess is slowed down.",
    ),
    "request.received": Event("debug", "a request came", "With its `code`. Do not leave this on."),
    "request.refused": Event(
        "warning",
        "a request was refused",
        "`reason` names the setting: one connection has JEFE_MAX_EXECUTIONS under way; a client holds more "
        "than its share of JEFE_MAX_BUFFERED; or JEFE_MAX_QUEUE runs wait already, and there is more to do "
        "than the children do.",
    ),
    "run.killed": Event(
        "warning",
        "a run was killed",
        "It broke a limit, or its child died under it again and again: `reason`. `script` is its name, or "
        "`sha256:` and the first 12 digits of its source's SHA-256; `limit` and `taken` are what it might "
        "take and what it took; `client` is who asked for it (`pipe`, or an address).",
    ),
    "compile.killed": Event(
        "warning",
        "the compiling of a script was killed",
        "A compile or a parse took too much: `script`, `reason`, `limit`, `taken`, `client`.",
    ),
    "child.ready": Event("debug", "a child is ready", "`pid`, `language`."),
    "child.killed": Event(
        "warning",
        "the watchdog killed a child",
        "`why`. `replayed` runs of this child begin again elsewhere. If it `was stopped` (SIGSTOP), or `got "
        "no CPU time`, no run is to blame.",
    ),
    "child.died": Event(
        "warning",
        "a child died",
        "Nobody asked it to: `of` tells the signal; 9 is often the system's lack of memory. `replayed` runs "
        "begin again elsewhere.",
    ),
    "child.broken": Event(
        "error",
        "a child did not keep to the protocol, and was killed",
        "Or the system failed on it: `why`. `replayed` runs begin again elsewhere. If it comes again, and "
        "files and memory are not short, report it.",
    ),
    "child.start_failed": Event(
        "error",
        "a child could not be started",
        "`why`; it is tried again, ever more slowly. Until then nothing runs: memory, processes (`ulimit "
        "-u`), files?",
    ),
    "child.said": Event(
        "warning", "a child wrote to its standard error", "`line`; harmless, but a sign of a mistake."
    ),
    "child.said_too_much": Event(
        "warning", "a child wrote too much to its standard error; the rest is dropped", "`pid`."
    ),
    "child.failed_on": Event("debug", "the supervisor failed on a child", "The details of a `child.broken`."),
    "callback.failed": Event(
        "error",
        "a callback failed",
        "A mistake of ours, or of the program that uses Jefe, about one run: `error`. Report it, with "
        "JEFE_DEBUG=1.",
    ),
    "zygote.missing": Event(
        "info",
        "this system has no fork server: each child is a new interpreter, which is slower",
        "Parent-death signals, pidfds or passed descriptors are missing.",
    ),
    "zygote.start_failed": Event(
        "error",
        "the zygote could not be started",
        "`why`; it is tried again, ever more slowly. Until then nothing runs: memory, processes, files?",
    ),
    "zygote.died": Event(
        "error",
        "the zygote died",
        "The process that makes children died of `of`; it is made again, and runs begin again.",
    ),
    "zygote.hung": Event(
        "error", "the zygote does not answer, and is killed", "`why`; it is made again, and runs begin again."
    ),
    "zygote.recovered": Event(
        "warning",
        "the zygote works again",
        "All is well again since its death, which took so long (`after`).",
    ),
}
"""Every event by its name, in the order of the documentation."""


def as_markdown() -> str:
    """The table as a page of the documentation."""
    lines = [
        "# Events",
        "",
        "Printed by `jefe events --markdown`; do not edit by hand.",
        "",
        "Each line of the log has an event, whose name stays the same when its sentence is reworded: test",
        "the name. With JEFE_LOG_FORMAT=json it is `event`, and the sentence is `message`. Which lines are",
        "logged, and what they never hold, is said in [operations](../how-to/operations.md#log).",
        "",
        "| event | level | sentence | values, and what to do |",
        "| --- | --- | --- | --- |",
    ]
    lines += [f"| `{name}` | {row.level} | {row.sentence} | {row.meaning} |" for name, row in EVENTS.items()]
    return "\n".join(lines) + "\n"
