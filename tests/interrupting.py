"""Ctrl-C, for tests of plain code that waits."""

import signal
import threading

signal.signal(signal.SIGURG, lambda *_: None)  # so that it interrupts a wait, and does nothing else


def interrupt():
    """Interrupt the main thread, from any thread.

    A signal that comes in the moment before a thread waits for a lock is noticed when that wait ends. A
    person would press Ctrl-C again; here a second signal ends the wait.
    """
    main = threading.main_thread().ident
    signal.pthread_kill(main, signal.SIGINT)
    again = threading.Timer(0.5, signal.pthread_kill, (main, signal.SIGURG))
    again.daemon = True
    again.start()
