"""Signal handling: Ctrl-C and a request to terminate end the process within two seconds, whatever it is doing.

The main thread gets a KeyboardInterrupt, as usual in Python, and leaves its work. Inside a long call of a library it
would get it only after the call. In that case another thread removes what is unfinished and ends the process.
"""

import os
import signal
import sys
import threading
import time
from typing import NoReturn

from dsformer.utils.atomic_io import remove_unfinished

# Seconds for the main thread to leave its work. Workers of a sweep have less, because the sweep waits for them.
PATIENCE, WORKERS_PATIENCE = 1.5, 0.7
_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]

_received: list[int] = []


def handle_signals(patience: float = PATIENCE) -> None:
    """Let signals end this process soon. Signals that are ignored (``nohup``) stay ignored.

    Limit: call it in the main thread.

    Args:
        patience: seconds for the main thread to end by itself.
    """
    listening, told = os.pipe()
    os.set_blocking(told, False)
    threading.Thread(target=_watch, args=(listening, patience), daemon=True).start()
    signal.set_wakeup_fd(told, warn_on_full_buffer=False)
    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)


def exit_code() -> int:
    """Return the exit code of an interrupted command, as shells define it: 128 plus the number of the signal."""
    return 128 + (_received[0] if _received else signal.SIGINT)


def leave(code: int) -> NoReturn:
    """End the process now, without waiting for threads that are still working."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)


def _interrupt(number: int, _: object) -> None:
    _received.append(number)
    raise KeyboardInterrupt


def _watch(listening: int, patience: float) -> None:
    number = os.read(listening, 1)[0]
    while number not in _SIGNALS:
        number = os.read(listening, 1)[0]
    time.sleep(patience)
    remove_unfinished()
    os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, b"interrupted, nothing half-written was kept\n")
    os._exit(128 + number)
