"""bin/dev's stack, which is killed at a point that tests choose, once SIGUSR1 has armed it.

``ring``: when a publication is written, and before its shards are rung.
``drain``: not by itself, but whoever drains a shard gets nowhere.
``lost``: not at all, but every post is answered, and lost as its socket is cut.
"""

import os
import signal
import sys
import threading
from typing import Any

from chalicelib import bootstrap
from devstack.stack import Options, running
from localgateway.chaos import Chaos


def main(point: str, fanout: str, http_port: str, ws_port: str, aws: str) -> None:
    options = Options(http_port=int(http_port), ws_port=int(ws_port), aws=aws, fanout=fanout)
    armed = threading.Event()
    signal.signal(signal.SIGUSR1, lambda _signal, _frame: armed.set())
    with running(options) as stack:
        _say("ready")
        armed.wait()
        app = bootstrap.deployed()
        if point == "ring":
            app.notifier._dispatcher.ring = _die  # type: ignore[assignment]
        elif point == "drain":
            app.fanout.drain = _stand_still  # type: ignore[assignment]
        else:
            stack.gateway.chaos = Chaos(cut=1.0)
        _say("armed")
        threading.Event().wait()


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _die(*_arguments: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)
    _stand_still()


def _stand_still(*_arguments: Any) -> None:
    threading.Event().wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
