"""python -m stride.doctor as a process: what it prints, its exit codes, and that it leaves nothing."""

import os
import signal
import subprocess
import sys
import time

import pytest

from stride.doctor.__main__ import main

COMMAND = [sys.executable, "-m", "stride.doctor"]


@pytest.fixture
def places(tmp_path):
    """A working folder and a temporary folder that are empty and must be so afterwards; with a name to quote."""
    folders = tmp_path / "cwd", tmp_path / "it's a, tmp=$x"
    for folder in folders:
        folder.mkdir()
    yield folders
    assert [list(folder.iterdir()) for folder in folders] == [[], []]


def started(places, **environment):
    cwd, temporary = places
    env = {**os.environ, "TMPDIR": str(temporary), "COLUMNS": "80", "OMP_NUM_THREADS": "1", **environment}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(COMMAND, cwd=cwd, env=env, **pipes)


def test_beside_malware_it_ends_at_once_without_an_import(places, tmp_path):
    bad = tmp_path / "bad"
    (bad / "lightning-2.6.3.dist-info").mkdir(parents=True)
    (bad / "lightning-2.6.3.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: lightning\nVersion: 2.6.3\n"
    )
    for name in ("lightning", "pytorch_lightning", "torch", "hydra"):
        (bad / f"{name}.py").write_text(f"open({str(tmp_path / 'stolen')!r}, 'w')\n")
    process = started(places, PYTHONPATH=os.pathsep.join(filter(None, [str(bad), os.environ.get("PYTHONPATH")])))
    out, err = process.communicate()
    assert (process.returncode, err) == (1, "")
    assert "2.6.3 is malware" in out
    assert "something is wrong: " in out.splitlines()[-1]
    assert not (tmp_path / "stolen").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["outputroot=x"], "did you mean `output_root`?; try: python -m stride.doctor output_root=x"),
        (["--hlep"], "did you mean `--help`?; try: python -m stride.doctor --help"),
        (["optimizer=adam"], "`output_root=FOLDER` is all it takes; try: python -m stride.doctor"),
        (["output_root="], "names no folder; try: python -m stride.doctor output_root=runs"),
    ],
)
def test_an_unknown_word_is_one_line_and_exit_2(capsys, words, told):
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith(f"error: {words[0].partition('=')[0]}: ")
    assert err.endswith(f"{told}\n")


def test_help_needs_no_torch():
    code = "import sys; from stride.doctor.__main__ import main; main(['--help']); sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0
    assert "python -m stride.doctor output_root=" in done.stdout


def test_a_table_that_cannot_be_drawn_is_one_line():
    code = "import sys; sys.modules['rich.panel'] = None; from stride.doctor.__main__ import main; sys.exit(main([]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: rich.panel: it is not installed; try: ")


@pytest.mark.slow
def test_here_all_is_well_within_a_minute(places):
    began = time.monotonic()
    process = started(places)
    out, err = process.communicate()
    assert (process.returncode, err) == (0, ""), out
    assert time.monotonic() - began < 60
    assert " wrong" not in out
    for name in ("limit", "stability", "finder", "warm-up", "schedule", "trace", "guard", "resume"):
        assert f"│ ok  {name:<9}  " in out or f"│ ok    {name:<9}  " in out
    assert max(map(len, out.splitlines())) <= 80


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_cleanly_whatever_it_is_at(places, number, code):
    process = started(places)
    assert process.stdout is not None
    for line in process.stdout:
        if "temporary" in line:  # the last table is being made
            break
    time.sleep(2)
    process.send_signal(number)
    _, err = process.communicate()
    assert (process.returncode, err) == (code, "")
