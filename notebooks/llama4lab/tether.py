"""Run a module as `python -m MODULE ...` would, and end it as soon as the process that started it is gone.

    python -P tether.py MODULE [arguments]      with a pipe as standard input

The starter holds the other end of the pipe. When it closes, because the starter is done or because it was
killed, this process tells itself to stop, so that nothing keeps running that nobody can reach.
"""

import os
import runpy
import signal
import sys
import threading
import time

GRACE_SECONDS = 10


def _end_with_the_starter() -> None:
    while os.read(0, 4096):
        pass  # nothing is ever sent; an empty read means that the other end was closed
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_SECONDS)
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=_end_with_the_starter, daemon=True).start()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
