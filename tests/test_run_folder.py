"""Where a run lives: under its name, its job's, or the time; made once, by the first process."""

import pytest
from omegaconf import OmegaConf

from stride import run_folder
from stride.errors import ConfigError, StorageError

RANKS = ("RANK", "SLURM_PROCID", "NODE_RANK", "LOCAL_RANK", "SLURM_JOB_ID", "SLURM_STEP_ID", "TORCHELASTIC_RUN_ID")


@pytest.fixture(autouse=True)
def no_job(monkeypatch):
    for name in (*RANKS, run_folder.HANDED_DOWN):
        monkeypatch.delenv(name, raising=False)


def NEVER(folder):
    """For a test in which no folder is there already."""
    raise AssertionError(folder)


def config(**keys):
    return OmegaConf.create({"name": None, "task": "train", "run": None, "output_root": "runs", **keys})


@pytest.mark.parametrize(
    ("environment", "first"),
    [
        ({}, True),
        ({"RANK": "0", "LOCAL_RANK": "0"}, True),
        ({"RANK": "2", "LOCAL_RANK": "0"}, False),  # the first of the second machine
        ({"SLURM_PROCID": "1", "LOCAL_RANK": "0"}, False),
        ({"SLURM_PROCID": "0", "LOCAL_RANK": "1"}, False),  # a job's script, without srun: the second that it started
        ({"LOCAL_RANK": "1"}, False),
        ({"NODE_RANK": "1", "LOCAL_RANK": "0"}, False),
    ],
)
def test_only_the_first_process_of_all_machines_writes(environment, first, monkeypatch):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert run_folder.is_first_process() is first


@pytest.mark.parametrize(
    ("environment", "name"),
    [
        ({"SLURM_JOB_ID": "17"}, "slurm-17"),
        ({"SLURM_JOB_ID": "17", "SLURM_STEP_ID": "0"}, "slurm-17.0"),
        ({"TORCHELASTIC_RUN_ID": "abc"}, "torchrun-abc"),
    ],
)
def test_a_job_gives_its_run_its_name_and_a_typed_one_wins(environment, name, monkeypatch):
    for key, value in environment.items():
        monkeypatch.setenv(key, value)
    assert run_folder.run_name(config()) == name
    assert run_folder.run_name(config(name="mine")) == "mine"


def test_an_id_that_leads_out_of_the_output_root_is_refused(monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "a/../../x")
    with pytest.raises(ConfigError, match=r"torchrun's id 'a/../../x' is no name for a folder"):
        run_folder.run_name(config())


def test_torchruns_default_id_names_no_run(monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    with pytest.raises(ConfigError, match="try: name=my_run"):
        run_folder.run_name(config())


def test_two_runs_that_start_in_the_same_second_have_two_folders(tmp_path):
    first = run_folder.make(config(), tmp_path, NEVER)
    run_folder.forget()
    second = run_folder.make(config(), tmp_path, NEVER)
    run_folder.forget()
    assert first != second
    assert first.is_dir() and second.is_dir()


def test_other_processes_are_handed_the_folder_and_make_none(tmp_path, monkeypatch):
    folder = run_folder.make(config(), tmp_path, NEVER)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert run_folder.make(config(), tmp_path / "elsewhere", NEVER) == folder
    assert not (tmp_path / "elsewhere").exists()


def test_a_place_that_cannot_be_written_is_a_fault_of_storage(tmp_path):
    (tmp_path / "runs").write_text("a file where the folder should be")
    with pytest.raises(StorageError, match="runs"):
        run_folder.make(config(name="a"), tmp_path, NEVER)
