"""The end of a broker's process."""

import signal
import subprocess


def end(process: "subprocess.Popen[bytes]", how: signal.Signals, patience: float) -> None:
    process.send_signal(how)
    try:
        process.wait(timeout=patience)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
