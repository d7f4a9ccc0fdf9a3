"""The files of a sweep's report, and the report made by hand from folders: `python -m stride.report PATH...`."""

import csv
import html.parser
import io
import json
import re
import subprocess
import zipfile
from pathlib import Path

import pytest
from rich.console import Console

from stride import whole_file
from stride.report.__main__ import main
from stride.report.sweep import SweepReport, print_report, write
from stride.report.table import Row

ROOT = Path(__file__).resolve().parents[2]
FILES = ("sweep.html", "sweep.md", "sweep.csv", "sweep.json")
EVIL = "</script><img src=x onerror=alert(1)>&\"'\u2028<!--"


def report(rows=(), **more):
    given = {
        "name": "sweep-1",
        "status": "finished",
        "command": "python train.py -m optimizer.lr=1e-3,1e-2",
        "trials": len(rows),
        "score": "val/loss",
        "mode": "min",
        "keys": ["optimizer.lr"],
        "rows": rows,
        "best_line": "python train.py optimizer.lr=0.01",
        "notes": ["look below"],
    }
    return SweepReport(**given | more)


def run(name, score, lr, status="finished", **more):
    words = {"optimizer.lr": str(lr)}
    return Row(name, status, score, "val/loss", asked=lr, words=words, optimizer="Adam", scheduler="cosine", **more)


ROWS = [run("0", 0.3, 1e-3), run("1", 0.1, 1e-2), run("2", 0.2, 1e-1), run("3", None, 1.0, "diverged")]


def data_of(folder):
    """The JSON block of the page, found as a browser finds it."""

    class Reader(html.parser.HTMLParser):
        def __init__(self):
            super().__init__()
            self.inside, self.text = False, ""

        def handle_starttag(self, tag, attributes):
            self.inside = tag == "script" and ("id", "data") in attributes

        def handle_endtag(self, tag):
            self.inside = False

        def handle_data(self, data):
            self.text += data if self.inside else ""

    reader = Reader()
    reader.feed((folder / "sweep.html").read_text())
    return json.loads(reader.text)


def test_the_four_files_tell_the_same(tmp_path):
    write(tmp_path, report(ROWS))
    data, page = json.loads((tmp_path / "sweep.json").read_text()), data_of(tmp_path)
    old = {
        "schema",
        "name",
        "status",
        "command",
        "trials",
        "score",
        "mode",
        "keys",
        "rows",
        "best_line",
        "notes",
        "best",
    }
    assert old <= set(data)
    (found,) = data["lr"]
    assert (data["best"], data["untrained"], found["best"], found["lost"]) == ("1", 0.3, 1e-2, 1.0)
    assert [row["name"] for row in data["rows"]] == ["1", "2", "0", "3"] == [run["name"] for run in page["runs"]]
    (group,) = page["lr"]["groups"]
    assert group["band"] == [found["low"], found["high"]]
    assert group["says"] == found["says"]
    text = (tmp_path / "sweep.md").read_text()
    assert f"{found['says']}." in text
    assert "| 0.01 | - | not known | 0.1 |" in text
    assert [line.split(",")[0] for line in (tmp_path / "sweep.csv").read_text().splitlines()] == [
        "trial",
        "1",
        "2",
        "0",
        "3",
    ]


def test_of_runs_with_several_scores_one_is_ranked(tmp_path):
    other = Row("acc", "finished", 0.99, "val/acc", "max", asked=1e-2, words={"optimizer.lr": "0.01"})
    write(tmp_path, report([other, *ROWS]))
    data = data_of(tmp_path)
    assert {run["name"]: run["rank"] for run in data["runs"]} == {"acc": None, "1": 1, "2": 2, "0": 3, "3": None}
    assert data["runs"][data["best"]]["name"] == "1"


def test_what_is_printed_speaks_of_learning_rates(tmp_path):
    console = Console(width=200, record=True, file=io.StringIO())
    print_report(console, tmp_path, report(ROWS))
    text = console.export_text()
    assert "rates:  Adam · cosine: best LR 0.01, usable from 8.9e-3 to 0.013, diverges from 1 on" in text
    assert "note:   look below" in text
    assert "sweep.html" in text


@pytest.mark.parametrize(("status", "again"), [("running", True), ("finished", False), ("interrupted", False)])
def test_only_the_page_of_a_sweep_that_runs_looks_again(tmp_path, status, again):
    write(tmp_path, report(ROWS, status=status))
    assert ('http-equiv="refresh"' in (tmp_path / "sweep.html").read_text()) == again


def test_what_a_user_wrote_is_data_and_never_html(tmp_path):
    row = run(EVIL, 0.1, 1e-2, reason=EVIL, folder=str(tmp_path / "a b#?"))
    write(
        tmp_path, report([row, run("1", 0.2, 1e-1)], name=EVIL, command=EVIL, notes=[EVIL], best_line=EVIL, keys=[EVIL])
    )
    text, data = (tmp_path / "sweep.html").read_text(), data_of(tmp_path)
    assert "<img" not in text
    assert text.count("<script") == text.count("</script") == 2
    assert [data["name"], data["command"], data["line"], data["notes"][0], data["runs"][0]["name"]] == [EVIL] * 5
    assert data["runs"][0]["link"] == "a%20b%23%3F/"


STEERS = "</script><script>alert(1)</script>[/]\x1b]0;owned\x07\x1b[31m\u202e|\n# x"


def test_folders_of_anybody_steer_neither_a_page_nor_a_terminal(tmp_path, capsys):
    """In the name of a run, in its words, status, score and metrics, and in all that a sweep.json tells."""
    name = "0" + STEERS.replace("/", "")
    for folder, score in ((name, 0.1), ("1", 0.2)):
        path = tmp_path / "runs" / folder
        path.mkdir(parents=True)
        record = {
            "schema": 1,
            "status": "finished" if folder == "1" else STEERS,
            "overrides": [f"{STEERS}={folder}", f"optimizer.lr={score}"],
            "lr": {"asked": score, "found": None, "used": score},
            "steps": 2,
            "seconds": {"fit": 1.0},
            "score": {"name": STEERS, "mode": "min", "value": score},
        }
        (path / "run.json").write_text(json.dumps(record))
        with (path / "metrics.csv").open("w", newline="") as file:
            csv.writer(file).writerows([["step", STEERS, "train/loss"], [0, 1.0, 1.0], [1, score, score]])
    row = {"name": STEERS, "status": "failed", "reason": STEERS, "words": {STEERS: STEERS}}
    one = {"name": STEERS, "words": {STEERS: STEERS}, "scores": [0.1], "mean": 0.1, "error": None}
    told = {"name": STEERS, "command": STEERS, "score": STEERS, "mode": "min", "keys": [STEERS, "optimizer.lr"]}
    told |= {"trials": 3, "notes": [STEERS], "rows": [row], "confirmed": [one]}
    (tmp_path / "runs" / "sweep.json").write_text(json.dumps(told))
    assert main([str(tmp_path / "runs")]) == 0
    screen, texts = capsys.readouterr().out, {name: (tmp_path / "runs" / name).read_text() for name in FILES}
    for text in (screen, texts["sweep.md"], texts["sweep.csv"], texts["sweep.html"]):
        assert not {"\x1b", "\x07", "\u202e"} & set(text)
        assert "\n# x" not in text
    assert "alert(1)" in screen
    assert texts["sweep.html"].count("<script") == texts["sweep.html"].count("</script") == 2
    assert data_of(tmp_path / "runs")["runs"][0]["name"]
    code = [line for line in texts["sweep.md"].splitlines() if "<script" in line]
    assert all(line.startswith("    ") for line in code)


def test_the_page_asks_nobody_for_anything(tmp_path):
    write(tmp_path, report(ROWS))
    text = (tmp_path / "sweep.html").read_text()
    assert not re.findall(
        r"""(?:src|href)=["']?(?!data:)[^"'>]+|url\((?!#)|@import|https?://(?!www\.w3\.org/2000/svg)""", text
    )


def test_a_reader_never_sees_a_part_of_a_file(tmp_path, monkeypatch):
    write(tmp_path, report(ROWS))
    before = {name: (tmp_path / name).read_bytes() for name in FILES}

    def full(_):
        raise OSError("disk full")

    monkeypatch.setattr(whole_file.os, "fsync", full)
    with pytest.raises(OSError, match="disk full"):
        write(tmp_path, report(ROWS[:2]))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_score_that_is_no_number_is_none(tmp_path):
    write(tmp_path, report([*ROWS, run("4", float("inf"), 10.0, "diverged"), run("5", float("nan"), 0.3, "failed")]))
    assert [run["score"] for run in data_of(tmp_path)["runs"]] == [0.1, 0.2, 0.3, None, None, None]
    assert "nan" not in (tmp_path / "sweep.csv").read_text()


@pytest.mark.parametrize("rows", [[], ROWS[:1], ROWS[3:], [Row("0", "failed", reason="no"), Row("1", "unreadable")]])
@pytest.mark.parametrize("status", ["running", "interrupted"])
def test_there_is_a_report_of_next_to_nothing(tmp_path, rows, status):
    write(tmp_path, report(rows, status=status, trials=8, best_line=None))
    data = data_of(tmp_path)
    assert data["lr"] is None
    assert (data["trials"], len(data["runs"])) == (8, len(rows))


def make_run(folder, rate, reached, status="finished", **more):
    folder.mkdir(parents=True)
    words = [f"optimizer.lr={rate}", f"name={folder.name}", f"output_root={folder.parent}"]
    record = {
        "schema": 1,
        "status": status,
        "overrides": words,
        "lr": {"asked": rate, "found": None, "used": rate, "peak": rate},
        "steps": 420,
        "epochs": 20,
        "seconds": {"fit": 3.5},
        "score": {"name": "val/loss", "mode": "min", "value": reached},
        "last": {"val/loss": reached},
    }
    (folder / "run.json").write_text(json.dumps(record | more))
    (folder / "config.yaml").write_text("optimizer:\n  _target_: torch.optim.Adam\nscheduler:\n  _target_: a.cosine\n")
    (folder / "metrics.csv").write_text("step,train/loss,val/loss\n0,2.3,\n9,,1.0\n19,0.5,0.6\n29,,0.5\n")


@pytest.fixture
def sweep(tmp_path):
    """A sweep of three runs below tmp_path, without a sweep.json."""
    for name, (lr, score) in enumerate([(0.001, 0.4), (0.01, 0.2), (0.1, 0.1)]):
        make_run(tmp_path / "s" / str(name), lr, score)
    return tmp_path / "s"


def test_runs_that_nobody_swept_have_a_report_too(sweep, capsys):
    assert main([str(sweep)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"report: {sweep / 'sweep.html'}"
    data = json.loads((sweep / "sweep.json").read_text())
    assert {path.name for path in sweep.iterdir()} == {"0", "1", "2", *FILES}
    assert (data["name"], data["status"], data["trials"], data["keys"]) == ("s", "finished", 3, ["optimizer.lr"])
    assert data["best_line"] == "python train.py optimizer.lr=0.1"
    assert data["notes"] == [
        "the best LR of Adam · cosine, 0.1, lies at the highest end of what was tried; a better one may lie above"
    ]
    first = data["rows"][0]
    assert (first["folder"], first["converged"], first["optimizer"]) == ("2", 30, "Adam")
    page = data_of(sweep)
    assert [one["name"] for one in page["curves"]] == ["val/loss", "train/loss"]
    assert page["curves"][1]["steps"] == [[0, 19]]  # shared by the three


def test_a_report_made_by_hand_takes_nothing_from_an_older_one(sweep):
    assert main([str(sweep)]) == 0
    make_run(sweep / "3", 1.0, 0.05)
    assert main([str(sweep)]) == 0
    data = json.loads((sweep / "sweep.json").read_text())
    assert (data["trials"], data["best"]) == (4, "3")
    assert "0.1" not in data["notes"][0]


def test_a_sweeps_own_file_says_what_only_the_sweep_knew(sweep):
    told = {
        "name": "mine",
        "command": "python train.py -m optimizer.lr=...",
        "trials": 5,
        "score": "val/loss",
        "mode": "min",
        "keys": ["optimizer.lr"],
        "notes": ["wider"],
        "rows": [
            {"name": "1", "status": "finished", "reason": ""},
            {"name": "3", "status": "failed", "reason": "error: no memory", "words": {"optimizer.lr": "7"}, "asked": 7},
            {"name": 4},
            "nonsense",
        ],
        "confirmed": [
            {"name": "1", "words": {"optimizer.lr": "0.01"}, "scores": [0.2, None], "mean": None, "error": None},
            {"name": "2", "words": 3, "scores": 4},
        ],
    }
    make_run(sweep / "confirm" / "0", 0.01, 0.01)  # deeper than a trial lies
    (sweep / "sweep.json").write_text(json.dumps(told))
    assert main([str(sweep)]) == 0
    data = json.loads((sweep / "sweep.json").read_text())
    assert [data[key] for key in ("name", "command", "trials", "notes")] == ["mine", told["command"], 5, ["wider"]]
    (failed,) = (row for row in data["rows"] if row["name"] == "3")
    assert (failed["status"], failed["reason"], failed["asked"]) == ("failed", "error: no memory", 7)
    assert sorted(row["name"] for row in data["rows"]) == ["0", "1", "2", "3"]
    assert data["confirmed"] == data_of(sweep)["confirmed"] == told["confirmed"][:1]


@pytest.mark.parametrize(
    "text", ["{", "[]", "null", '{"keys": 3, "rows": {}, "trials": "x", "mode": null}', '{"rows": [1]}']
)
def test_a_broken_sweep_json_is_as_good_as_none(sweep, text):
    (sweep / "sweep.json").write_text(text)
    assert main([str(sweep)]) == 0
    assert json.loads((sweep / "sweep.json").read_text())["trials"] == 3


@pytest.mark.parametrize(
    "change",
    [
        {"score": {"name": "val/loss", "mode": "min", "value": "good"}},
        {"score": {"name": None, "mode": None, "value": None}},
        {"score": None},
        {"lr": {"asked": "x", "found": None, "used": None}},
        {"lr": []},
        {"seconds": {"fit": "long"}},
        {"overrides": [1]},
        {"overrides": None},
        {"steps": [1]},
        {"last": 3},
        {"status": None},
        {"folds": []},
        {"schema": 9},
        {"score": {"name": "val/loss", "mode": "min", "value": float("nan")}},
    ],
)
def test_a_broken_run_json_breaks_nothing_but_its_own_row(sweep, change, capsys):
    make_run(sweep / "9", 0.5, 0.3, **change)
    assert main([str(sweep)]) == 0
    data = json.loads((sweep / "sweep.json").read_text())
    assert data["best"] == "2"
    assert {row["name"] for row in data["rows"]} == {"0", "1", "2", "9"}


def test_a_run_that_hangs_below_an_unfinished_one_keeps_the_page_still(sweep):
    make_run(sweep / "3", 1.0, None, "running")
    assert main([str(sweep)]) == 0
    assert json.loads((sweep / "sweep.json").read_text())["status"] == "unfinished"
    assert 'http-equiv="refresh"' not in (sweep / "sweep.html").read_text()


def test_of_several_paths_or_one_run_the_page_goes_where_one_says(sweep, tmp_path, capsys):
    assert main([str(sweep / "0"), str(sweep / "1")]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "for the page: --to FOLDER"
    assert main([str(sweep / "0")]) == 0
    assert not list(tmp_path.rglob("sweep.*"))
    assert main([str(sweep / "0"), str(sweep / "1"), "--to", str(tmp_path / "new" / "there")]) == 0
    assert {path.name for path in (tmp_path / "new" / "there").iterdir()} == set(FILES)
    rows = csv.DictReader((tmp_path / "new" / "there" / "sweep.csv").open())
    assert [row["folder"] for row in rows] == ["../../s/1", "../../s/0"]


def test_a_folder_that_cannot_be_written_to_is_one_line(sweep, tmp_path, capsys):
    (tmp_path / "file").touch()
    assert main([str(sweep), "--to", str(tmp_path / "file")]) == 2
    told = capsys.readouterr()
    assert told.err == f"error: {tmp_path / 'file'}: File exists; try: --to FOLDER\n"
    assert told.out == ""


def test_a_run_is_read_again_only_when_it_changed(sweep):
    from stride.report.table import read_row

    first = read_row(sweep / "0", "0")
    assert read_row(sweep / "0", "x").course is first.course
    with (sweep / "0" / "metrics.csv").open("a") as file:
        file.write("39,,0.1\n")
    assert read_row(sweep / "0", "0").course.series["val/loss"].values[-1] == 0.1
    assert read_row(sweep / "0", "0").converged == 40


@pytest.mark.slow
def test_the_wheel_holds_the_page(tmp_path):
    """It is no module: who forgets it misses it only where the package is installed."""
    subprocess.run(["uv", "build", "--wheel", "--out-dir", tmp_path], cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    assert any(name.endswith("/report/sweep.html") for name in zipfile.ZipFile(wheel).namelist())
