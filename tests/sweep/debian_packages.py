"""Programs from Debian's packages, unpacked into a folder and never installed; what is installed is used as it is."""

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "loopback-servers"


class NoDebian(Exception):
    """There are no Debian packages on this machine."""


def unpack(packages: Sequence[str], folder: Path) -> None:
    """Unpack below `folder` those of the packages, and of what they need, that are not installed here.

    Archives are kept in CACHE and fetched once. Raises NoDebian without apt-get, CalledProcessError where it fails.
    """
    if not (shutil.which("apt-get") and shutil.which("dpkg")):
        raise NoDebian(f"{' '.join(packages)} come from Debian's packages, and there is no apt-get here")
    archives = CACHE / "archives"
    archives.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for name in _fetched(packages, archives):
            subprocess.run(["dpkg", "-x", archives / name, folder], check=True)


def first(folder: Path, pattern: str) -> Path:
    """The first path that matches below `folder`, else on this machine. Raises FileNotFoundError."""
    for root in (folder, Path("/")):
        for path in sorted(root.glob(pattern)):
            return path
    raise FileNotFoundError(f"no {pattern} in {folder} nor in /")


def _fetched(packages: Sequence[str], archives: Path) -> list[str]:
    try:
        return _names(packages, archives)
    except subprocess.CalledProcessError:
        as_root = [] if os.geteuid() == 0 else ["sudo", "--non-interactive"]
        # A fresh image has no package lists, or old ones.
        subprocess.run([*as_root, "apt-get", "update", "-qq"], check=True)
        return _names(packages, archives)


def _names(packages: Sequence[str], archives: Path) -> list[str]:
    with tempfile.TemporaryDirectory() as nothing:  # what is in the archives already would not be listed
        listed = _apt_get("--print-uris", nothing, packages)
    _apt_get("--download-only", archives, packages)
    return [line.split()[1] for line in listed.splitlines() if line.startswith("'")]


def _apt_get(action: str, archives: str | Path, packages: Sequence[str]) -> str:
    # Nothing of the system is written, so nobody has to be root and no lock of the system is needed.
    settings = ["APT::Sandbox::User=root", "Debug::NoLocking=1", f"Dir::Cache::archives={archives}"]
    command = ["apt-get", "install", "-qq", "--no-upgrade", "--no-install-recommends", action, *packages]
    command += [word for setting in settings for word in ("-o", setting)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
