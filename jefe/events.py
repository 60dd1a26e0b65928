"""The events of the log: each has a stable name, a level, a sentence, and an explanation.

A module logs an event by its name, `_log.warning("child.died", pid=...)`. The log adds the sentence
(jefe/logs.py), which may be reworded; programs that read the log use the name. `docs/reference/events.md` is
printed from this table by `jefe events --markdown`.

A name is `subject.what_happened`. To add an event, add a row here and print the page again.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple


class Event(NamedTuple):
    """An event of the log.

    Attributes:
        level: its level in the log.
        sentence: what happened, for a person.
        meaning: its values, and what to do about it; Markdown.
    """

    level: str
    sentence: str
    meaning: str


EVENTS: Final[Mapping[str, Event]] = {
    "server.started": Event(
        "info",
        "the server is ready",
        "`version`, `pid`; `fronts` are the names of those that are served.",
    ),
    "server.signal": Event(
        "info",
        "a signal requests the end of the server",
        "`signal`; requests that are unfinished after `grace` seconds are cancelled.",
    ),
    "server.ended": Event(
        "info",
        "the server has ended",
        "No child is left. `cancelled` counts the requests that were not finished.",
    ),
    "server.root": Event(
        "warning",
        "the server runs as root: set JEFE_USER to the user that it should become",
        "JEFE_USER=0 says that this is intended.",
    ),
    "server.state": Event(
        "warning",
        "the state of the server",
        "Requested by SIGUSR1. `pid`; `uptime_s`; `queued`: jobs that wait for a child; `busy`: children "
        "at work; `waiting`: "
        "runs that wait for their host; `runs` and `killed` since the start; `scripts`: names; `children` "
        "and `starting`: processes; `store`: where names are kept; `store_trouble`: why that cannot be "
        "used.",
    ),
    "front.state": Event(
        "warning",
        "the state of a front",
        "Requested by SIGUSR1. `front`; `listens`: where; `clients` now; `unproven`: connections that "
        "have not shown a token; "
        "`refused`: clients refused since the start because there were too many; `most`: the most clients "
        "of all fronts together.",
    ),
    "child.state": Event(
        "warning",
        "the state of a child",
        "Requested by SIGUSR1; the 50 largest children, the largest first. `pid`; `age_s`; `runs`; "
        "`memory_kib` and "
        "`cpu_ms`, as the system counts them; `pending`: requests that it has not answered; `waiting`: its "
        "runs that wait for their host.",
    ),
    "front.exposed": Event(
        "warning",
        "a front listens where other machines reach it",
        "`why` names the risk, and the setting that removes it: the front has no token, which "
        "JEFE_INSECURE "
        "allows; or its token is sent unencrypted.",
    ),
    "reload.done": Event(
        "info",
        "tokens and certificate were read again",
        "Requested by SIGHUP. `read` and `failed` count files, or pairs of files.",
    ),
    "reload.failed": Event(
        "error",
        "a file could not be read again; its previous content stays in force",
        "Requested by SIGHUP. Fix what `why` names, and send the signal again.",
    ),
    "settings.unknown": Event(
        "warning",
        "a JEFE_* variable is not a setting",
        "`why` names each such variable, and the setting that was probably meant.",
    ),
    "confinement.incomplete": Event(
        "warning",
        "a part of the confinement is missing",
        "`why` names it. `jefe doctor` tries each layer; with JEFE_REQUIRE_SANDBOX, Jefe refuses to start "
        "without one.",
    ),
    "folder.loaded": Event(
        "info",
        "the folder of scripts was loaded",
        "At the start, or requested by SIGHUP. `failed` of the `files` were skipped.",
    ),
    "folder.file_skipped": Event(
        "warning",
        "a file of the folder of scripts was skipped",
        "`why` says what is wrong with `file`; all other files were loaded. Fix it, and send SIGHUP.",
    ),
    "folder.file_vanished": Event(
        "warning",
        "the file of a script has vanished; its name keeps the script",
        "If the script is to be removed, too: `jefe scripts remove` with its `name`.",
    ),
    "folder.unreadable": Event(
        "error",
        "the folder of scripts could not be read again; its names stay as they were",
        "Requested by SIGHUP. Fix what `why` says about the `folder`, and send the signal again.",
    ),
    "store.exposed": Event(
        "warning",
        "other users may open the store",
        "Whoever can write to the store decides what clients run. Its mode is `mode`: make it accessible "
        "to "
        "its user alone (`chmod 600`).",
    ),
    "store.unavailable": Event(
        "error",
        "the store cannot be used; changes of named scripts are refused",
        "Loaded scripts can still be run. Fix what `why` names; the store is tried again every second.",
    ),
    "store.recovered": Event(
        "warning",
        "the store can be used again",
        "Nothing to do: changes that other processes made meanwhile have been read.",
    ),
    "store.script_unusable": Event(
        "warning",
        "another process changed a script, and this one cannot use it",
        "`why` gives the reason. Runs of `name` use the script that was loaded before.",
    ),
    "requests.cancelled": Event(
        "warning",
        "requests were cancelled at the end of the server",
        "`count` requests were unfinished when JEFE_GRACE was over. A longer grace time may help.",
    ),
    "connections.bounded": Event(
        "warning",
        "fewer clients are served than JEFE_MAX_CONNECTIONS allows: raise the limit of open files",
        "`clients` instead of `wanted`, because this process may open only `files` files.",
    ),
    "connections.not_accepted": Event(
        "error",
        "no connection can be accepted",
        "`why`; usually no further file can be opened. Clients wait; it is tried again ten times a second.",
    ),
    "connection.refused": Event(
        "warning",
        "a connection was refused: its address has too many unproven ones",
        "The address `peer` opens too many connections at once without showing a token.",
    ),
    "connection.failed": Event(
        "error",
        "a connection failed",
        "A defect of Jefe that concerns this connection only: `error`. Report it.",
    ),
    "connection.displaced": Event(
        "warning",
        "an unproven client was dropped to make room",
        "More connections arrive than show a token. Most of them come from the address `peer`: perhaps "
        "somebody "
        "floods the port. Or the limit of open files is low.",
    ),
    "connection.too_slow": Event(
        "info",
        "an unproven client was dropped: it took too long",
        "It showed no token, or did not finish its handshake, within 10 seconds (1 second while many of "
        "its "
        "address wait).",
    ),
    "client.connected": Event("info", "a client connected", "Over WebSocket."),
    "client.disconnected": Event(
        "info",
        "a client disconnected",
        "`code` is the close code (1006: the client sent none; null: the server ended the connection); "
        "`why` "
        "is set if the server dropped the client.",
    ),
    "client.foreign": Event(
        "info",
        "a client does not speak the protocol of this port",
        "Probably a scanner, a health check or a web page; `front` is the front of that port.",
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
        "`why`: it did not read, was silent, has left, or held more than its share of what all clients may "
        "hold (JEFE_MAX_BUFFERED).",
    ),
    "client.idle": Event(
        "info",
        "an idle client was dropped",
        "It sent nothing, or read nothing, for JEFE_OAF_IDLE_TIMEOUT or JEFE_HTTP_IDLE_TIMEOUT; over OAF, "
        "it "
        "showed a wrong token and no right one in time; over HTTP, the head or the body of a request did "
        "not "
        "arrive in time (JEFE_HTTP_HEAD_TIMEOUT, JEFE_HTTP_BODY_TIMEOUT). `why` says which.",
    ),
    "client.no_reply": Event(
        "warning",
        "a client did not reply in time",
        "`function` did not answer within `seconds`: JEFE_FUNCTION_EXISTS_TIMEOUT, "
        "JEFE_FUNCTION_CALL_TIMEOUT.",
    ),
    "client.stray_reply": Event(
        "info",
        "a reply of a client belongs to no question",
        "The reply `reply_id` came too late, came twice, or has an unknown id.",
    ),
    "message.malformed": Event(
        "warning",
        "a message could not be read",
        "`detail` says what is wrong with it. Only the first 20 of a connection are warnings.",
    ),
    "message.malformed_total": Event(
        "warning", "many messages of a connection could not be read", "`count`; over OAF and HTTP."
    ),
    "message.unauthorized": Event(
        "warning",
        "a message came without the right token",
        "Somebody guesses tokens, or has an old one: `peer`. Further guesses are slowed down.",
    ),
    "request.received": Event("debug", "a request was received", "With its `code`. For debugging only."),
    "request.refused": Event(
        "warning",
        "a request was refused",
        "`reason` names the setting: one connection has JEFE_MAX_EXECUTIONS in flight; a client holds more "
        "than its share of JEFE_MAX_BUFFERED; or JEFE_MAX_QUEUE runs wait already, because the children "
        "cannot keep up.",
    ),
    "run.killed": Event(
        "warning",
        "a run was killed",
        "It broke a limit, or its child died several times: `reason`. `script` is its name, or "
        "`sha256:` and the first 12 digits of its source's SHA-256; `limit` is what it was allowed to "
        "take, "
        "`taken` what it took; `client` is who requested it (`pipe`, or an address).",
    ),
    "compile.killed": Event(
        "warning",
        "the compilation of a script was killed",
        "A compilation or a parse broke a limit: `script`, `reason`, `limit`, `taken`, `client`.",
    ),
    "child.ready": Event("debug", "a child is ready", "`pid`, `language`."),
    "child.killed": Event(
        "warning",
        "the watchdog killed a child",
        "`why`. `replayed` runs of this child begin again in another one. If it `was stopped` (SIGSTOP), "
        "or "
        "`got no CPU time`, no run is to blame.",
    ),
    "child.died": Event(
        "warning",
        "a child died",
        "The supervisor did not end it. `of` names the signal or the status; signal 9 often means that the "
        "system ran out of memory. `replayed` runs begin again in another child.",
    ),
    "child.broken": Event(
        "error",
        "a child violated the protocol, and was killed",
        "Or the system failed on it: `why`. `replayed` runs begin again in another child. If this happens "
        "again while files and memory are available, report it.",
    ),
    "child.start_failed": Event(
        "error",
        "a child could not be started",
        "`why`. Further attempts back off exponentially; nothing runs until one succeeds. Check memory, "
        "the "
        "limit of processes (`ulimit -u`) and the limit of open files.",
    ),
    "child.said": Event(
        "warning", "a child wrote to its standard error", "`line`; harmless, but a sign of a defect."
    ),
    "child.said_too_much": Event(
        "warning", "a child wrote too much to its standard error; the rest is dropped", "`pid`."
    ),
    "child.failed_on": Event("debug", "the supervisor failed on a child", "The details of a `child.broken`."),
    "callback.failed": Event(
        "error",
        "a callback failed",
        "A defect of Jefe, or of the program that uses it, that concerns one request: `error`. Report it, "
        "with JEFE_DEBUG=1.",
    ),
    "zygote.missing": Event(
        "info",
        "this system has no fork server: each child is a new interpreter, which is slower",
        "The system lacks parent-death signals, pidfds, or the passing of descriptors.",
    ),
    "zygote.start_failed": Event(
        "error",
        "the zygote could not be started",
        "`why`. Further attempts back off exponentially; nothing runs until one succeeds. Check memory, "
        "the "
        "limit of processes (`ulimit -u`) and the limit of open files.",
    ),
    "zygote.died": Event(
        "error",
        "the zygote died",
        "The process that forks children died; `of` names the signal. It is started again, and runs begin "
        "again.",
    ),
    "zygote.hung": Event(
        "error", "the zygote hangs, and is killed", "`why`. It is started again, and runs begin again."
    ),
    "zygote.recovered": Event(
        "warning",
        "the zygote works again",
        "Children can be started again; `after` is the time since the zygote's death.",
    ),
}
"""Every event by its name, in the order of the page."""


def as_markdown() -> str:
    """The table as the page of the documentation."""
    lines = [
        "# Events",
        "",
        "Printed by `jefe events --markdown`; do not edit by hand.",
        "",
        "Each line of the log has an event, whose name stays the same when its sentence is reworded: use",
        "the name in programs. With JEFE_LOG_FORMAT=json, `event` is the name, `message` the sentence. Which",
        "lines are logged, and what they never contain: see [operations](../how-to/operations.md#log).",
        "",
        "| event | level | sentence | values, and what to do |",
        "| --- | --- | --- | --- |",
    ]
    lines += [f"| `{name}` | {row.level} | {row.sentence} | {row.meaning} |" for name, row in EVENTS.items()]
    return "\n".join(lines) + "\n"
