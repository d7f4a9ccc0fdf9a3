"""A real SLURM on 127.0.0.1: one slurmctld and one slurmd, without authentication.

By hand: `python tests/sweep/loopback_slurm.py` prints the environment in which sbatch and squeue find it, and runs
until Enter is pressed.
"""

import contextlib
import getpass
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from debian_packages import first, unpack
from loopback import free_ports, own

PACKAGES = ("slurmctld", "slurmd", "slurm-client", "slurm-wlm-basic-plugins")
CPUS = 8  # said to be there, so that several tasks run at once on any machine
PATIENCE = 30.0  # seconds until it must answer

CONFIG = """
ClusterName=loopback
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser={user}
SlurmdUser={user}
# Whoever reaches the ports may run what he likes: only this machine does.
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
AuthType=auth/none
CredType=cred/none
# A requeued job waits until its old credential has expired: 2 minutes if nothing is said, 5 seconds at least.
AuthInfo=cred_expire=5
PluginDir={plugins}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
MailProg=/bin/true
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
# A requeued job is looked at as soon as it may start: by default every half a minute.
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1
SlurmdParameters=config_overrides
ReturnToService=2
NodeName=localhost NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN
# What is urgent takes the nodes of what is not, which hears of it so many seconds before.
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
PartitionName=debug Nodes=localhost Default=YES MaxTime=INFINITE State=UP PriorityTier=1 GraceTime=20
PartitionName=urgent Nodes=localhost MaxTime=INFINITE State=UP PriorityTier=2
"""


@contextlib.contextmanager
def running(folder: Path) -> Iterator[dict[str, str]]:
    """A SLURM that lives in `folder`, as the environment in which its commands find it; no process of it is left."""
    unpack(PACKAGES, folder)
    controller, node, step = (first(folder, f"usr/sbin/{name}*") for name in ("slurmctld", "slurmd", "slurmstepd"))
    plugins = first(folder, "usr/lib/*/slurm-wlm")
    (folder / "state").mkdir()
    (folder / "spool").mkdir()
    config = folder / "slurm.conf"
    ports = dict(zip(("controller_port", "node_port"), free_ports(2), strict=True))
    config.write_text(CONFIG.format(folder=folder, plugins=plugins, user=getpass.getuser(), cpus=CPUS, **ports))
    environment = {
        "SLURM_CONF": str(config),
        "LD_LIBRARY_PATH": f"{plugins}:{plugins.parent}",
        "PATH": f"{folder / 'usr/bin'}:{os.environ['PATH']}",
    }
    try:
        _start([controller, "-D"], environment, folder / "slurmctld.out")
        _start([node, "-D", "-N", "localhost", "-d", step], environment, folder / "slurmd.out")
        _wait_until_idle(environment, folder)
        yield environment
    finally:
        _kill_all(config)


def _start(command: list[str | Path], environment: dict[str, str], output: Path) -> None:
    with output.open("wb") as out:
        subprocess.Popen(command, env=os.environ | environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out)


def _wait_until_idle(environment: dict[str, str], folder: Path) -> None:
    until = time.monotonic() + PATIENCE
    state = ""
    while state != "idle":
        if time.monotonic() > until:
            told = "\n".join(path.read_text(errors="replace")[-2000:] for path in sorted(folder.glob("*.out")))
            raise TimeoutError(f"SLURM's node is {state or 'silent'} after {PATIENCE:g} s\n{told}")
        time.sleep(0.1)
        asked = ["sinfo", "--noheader", "--format=%T"]
        state = subprocess.run(asked, env=os.environ | environment, capture_output=True, text=True).stdout.strip()


def _kill_all(config: Path) -> None:
    """Kill the daemons, the jobs and whatever these have started: each has SLURM_CONF in its environment."""
    mark = f"SLURM_CONF={config}\0".encode()
    while living := [process for process in Path("/proc").glob("[0-9]*") if mark in _environment_of(process)]:
        for process in living:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(process.name), signal.SIGKILL)
        time.sleep(0.05)


def _environment_of(process: Path) -> bytes:
    try:
        return (process / "environ").read_bytes()
    except OSError:  # ended meanwhile, or another user's
        return b""


if __name__ == "__main__":
    own(running)
