"""A real PostgreSQL on 127.0.0.1, with a password.

By hand: `python tests/sweep/loopback_postgres.py` prints the URL of its database and runs until Enter is pressed.
"""

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from debian_packages import first, unpack
from loopback import free_ports, own

INITDB = "usr/lib/postgresql/*/bin/initdb"
USER = "sweeper"
DATABASE = "postgres"  # the one that is there from the start
PATIENCE = 30.0  # seconds until it must answer, and until it must have stopped


@contextlib.contextmanager
def running(folder: Path) -> Iterator[str]:
    """A PostgreSQL whose data is in `folder`, as the URL of its database."""
    initdb, environment = _programs(folder)
    home, password, (port,) = folder / "home", secrets.token_urlsafe(12), free_ports(1)
    home.mkdir()
    (home / "password").write_text(password)
    identity = {"cwd": home, "env": environment}
    if os.geteuid() == 0:  # it refuses to run as root
        for path in (home, home / "password"):
            shutil.chown(path, "nobody", "nogroup")
        identity |= {"user": "nobody", "group": "nogroup", "extra_groups": []}
    prepare = [initdb, "--pgdata=data", f"--username={USER}", "--pwfile=password", "--auth=scram-sha-256"]
    subprocess.run([*prepare, "--no-locale", "--encoding=UTF8"], check=True, stdout=sys.stderr, **identity)
    serve = [initdb.with_name("postgres"), "-D", "data", "-h", "127.0.0.1", "-p", str(port), "-k", home]
    with subprocess.Popen(serve, stdin=subprocess.DEVNULL, stdout=sys.stderr, **identity) as server:
        try:
            _wait_until_ready([initdb.with_name("pg_isready"), "-h", "127.0.0.1", "-p", str(port)], server, environment)
            yield f"postgresql://{USER}:{password}@127.0.0.1:{port}/{DATABASE}"
        finally:
            _stop(server)


def _programs(folder: Path) -> tuple[Path, dict[str, str]]:
    """PostgreSQL's initdb, beside which its other programs are, and the environment in which they run."""
    environment = dict(os.environ)
    with contextlib.suppress(FileNotFoundError):
        return first(folder, INITDB), environment
    unpack(["postgresql"], folder)
    initdb = first(folder, INITDB)
    environment["LD_LIBRARY_PATH"] = ":".join(map(str, folder.glob("usr/lib/*-linux-*")))
    return initdb, environment


def _wait_until_ready(asked: list[str | Path], server: subprocess.Popen, environment: dict[str, str]) -> None:
    until = time.monotonic() + PATIENCE
    while subprocess.run(asked, env=environment, stdout=subprocess.DEVNULL).returncode != 0:
        if server.poll() is not None or time.monotonic() > until:
            raise TimeoutError(f"PostgreSQL does not answer after {PATIENCE:g} s; exit code {server.poll()}")
        time.sleep(0.05)


def _stop(server: subprocess.Popen) -> None:
    server.send_signal(signal.SIGINT)  # "fast": sessions are cut, not waited for
    try:
        server.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        server.kill()


if __name__ == "__main__":
    own(running)
