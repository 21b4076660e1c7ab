"""Run one service for as long as the process that asked for it lives.

Started as a script, with the service's directory and command as arguments and a pipe as standard
input. When the pipe closes, because the owner closed it or died in whatever way, the service is
stopped and its directory removed. Ends with the service's exit code if that ends first, and then
leaves the directory, with the log in it, to the owner.
"""

import shutil
import signal
import subprocess
import sys
import threading

_GRACE = 10.0


def _main(directory: str, *command: str) -> int:
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    signal.signal(signal.SIGTERM, lambda _signal, _frame: child.terminate())
    released = threading.Event()

    def hold() -> None:
        sys.stdin.buffer.read()
        released.set()
        child.terminate()
        try:
            child.wait(_GRACE)
        except subprocess.TimeoutExpired:
            child.kill()

    threading.Thread(target=hold, daemon=True).start()
    code = child.wait()
    if released.is_set():
        shutil.rmtree(directory, ignore_errors=True)
        return 0
    return code if code >= 0 else 1


if __name__ == "__main__":
    raise SystemExit(_main(*sys.argv[1:]))
