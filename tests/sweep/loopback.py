"""A test's own server on 127.0.0.1: a process that starts it, says where it is, and ends it when its input closes.

So no server outlives the tests, however these end: input closes too when pytest is killed.
"""

import contextlib
import json
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from debian_packages import NoDebian


@contextlib.contextmanager
def started(script: Path) -> Iterator[Any]:
    """What `script` says of its server. Raises NoDebian where there is none to be had, RuntimeError if it fails."""
    command = [sys.executable, str(script)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, start_new_session=True) as owner:
        told = json.loads(owner.stdout.readline() or "{}")
        if "server" not in told:
            raise NoDebian(told["missing"]) if told else RuntimeError(f"{script.name} failed; stderr says why")
        yield told["server"]
        owner.stdin.write("\n")  # closing alone would not do: a process that a test left may hold the pipe open


def own(running: Callable[[Path], contextlib.AbstractContextManager[Any]]) -> None:
    """Let the server of `running(folder)` run until a line comes in, or input closes; `folder` is removed."""
    with tempfile.TemporaryDirectory(prefix="loopback-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)  # a server may run as another user
        try:
            with running(Path(folder)) as told:
                print(json.dumps({"server": told}), flush=True)
                sys.stdin.readline()
        except NoDebian as reason:
            print(json.dumps({"missing": str(reason)}))


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
