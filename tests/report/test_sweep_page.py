"""sweep.html as a person uses it: in headless Chromium, on a narrow screen and on a wide one."""

import math
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from stride.report.course import Course, Series
from stride.report.sweep import SweepReport, write
from stride.report.table import Row

pytestmark = pytest.mark.browser

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
WIDTHS = (400, 1400)
EVIL = "</script><img src=x onerror=alert(1)>&\"'"

# What of the drawings sticks out of its picture, where nobody sees it.
CUT_OFF = """() => [...document.querySelectorAll("svg text")].filter(text => {
  const inner = text.getBoundingClientRect(), outer = text.ownerSVGElement.getBoundingClientRect();
  return inner.left < outer.left - 1 || inner.right > outer.right + 1
    || inner.top < outer.top - 1 || inner.bottom > outer.bottom + 1;
}).map(text => text.textContent)"""

# Pairs of labels of one picture's axes that lie on one another; slanted ones stand side by side.
ON_ONE_ANOTHER = """() => [...document.querySelectorAll("svg")].flatMap(svg => {
  const labels = [...svg.querySelectorAll("text.tick:not([transform])")];
  const boxes = labels.map(text => text.getBoundingClientRect());
  const meet = (a, b) => a.left < b.right && b.left < a.right && a.top + 3 < b.bottom && b.top + 3 < a.bottom;
  const hides = k => boxes.some((box, other) => other < k && meet(box, boxes[k]));
  return labels.filter((_, k) => hides(k)).map(text => text.textContent);
})"""


@pytest.fixture(scope="module")
def chromium():
    """A headless Chromium: the system's or Playwright's, else Debian's, else one that Playwright can fetch."""
    api = pytest.importorskip("playwright.sync_api", reason="needs the development dependencies")
    with api.sync_playwright() as playwright:
        path = _installed() or playwright.chromium.executable_path
        if not Path(path).exists():
            path = _install() or path
        if not Path(path).exists():
            pytest.skip("no Chromium here, and none to be had from Debian's packages or by `playwright install`")
        # As root it runs only without its sandbox; what it opens here is our own file.
        root = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=path, args=root)
        yield browser
        browser.close()


def _installed():
    return next((path for name in NAMES if (path := shutil.which(name))), None)


def _install():
    """Install Chromium; returns its path, None if it comes from Playwright or could not be had."""
    if os.geteuid() == 0 and shutil.which("apt-get"):
        quiet = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "chromium", "fonts-dejavu-core"]
        for command in (["apt-get", "update", "-qq"], install):
            subprocess.run(command, env=quiet, stdout=subprocess.DEVNULL)
    if _installed() is None:
        subprocess.run(["playwright", "install", "chromium"], stdout=subprocess.DEVNULL)
    return _installed()


@pytest.fixture
def opened(chromium, tmp_path):
    """`opened(report, width)` is the page of a report; whatever it complained of or asked for fails the test."""
    faults, contexts = [], []

    def open_page(report, width=1400, scheme="light"):
        write(tmp_path, report)
        context = chromium.new_context(
            viewport={"width": width, "height": 900},
            color_scheme=scheme,
            permissions=["clipboard-read", "clipboard-write"],
        )
        contexts.append(context)
        page = context.new_page()
        here = (tmp_path / "sweep.html").as_uri()
        page.on("console", lambda message: faults.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: faults.append(f"error: {error}"))
        page.on("dialog", lambda dialog: faults.append(f"dialog: {dialog.message}"))
        page.on("request", lambda request: faults.append(request.url) if request.url != here else None)
        page.goto(here)
        page.wait_for_timeout(100)  # drawn at its first size
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert faults == []


def course(score, steps):
    at = range(0, steps, steps // 40)
    train = tuple(score + (2.3 - score) * math.exp(-6 * step / steps) for step in at)
    return Course(
        {
            "val/loss": Series(tuple(step + at.step for step in at)[4::5], train[4::5]),
            "train/loss": Series(tuple(at), train),
        },
        spikes=0,
        first_loss=2.3,
    )


def trial(name, optimizer, decades, dropout, steps):
    score = 0.05 + 0.3 * (decades + (2 if optimizer == "adam" else 1)) ** 2 + 0.1 * dropout
    lost = score > 2.3
    lr = 10.0**decades
    words = {"optimizer": optimizer, "optimizer.lr": f"{lr:g}", "model.dropout": str(dropout)}
    return Row(
        name=str(name),
        status="diverged" if lost else "stopped_early" if name % 5 == 4 else "finished",
        score=None if lost else score,
        score_name="val/loss",
        asked=lr,
        used=lr,
        steps=steps,
        seconds=1.5 + name,
        words=words,
        folder=str(name),
        optimizer={"adam": "Adam", "sgd": "SGD"}[optimizer],
        scheduler="cosine",
        converged=None if lost else 30 * (name + 1),
        spikes=0,
        course=course(min(score, 2.3), steps),
    )


def sweep(lrs=range(-4, 1), steps=400, **more):
    """Trials of two optimizers, two at each LR, which are told in decades: twenty."""
    points = [(name, decades, dropout) for name in ("adam", "sgd") for decades in lrs for dropout in (0.0, 0.5)]
    rows = [trial(k, *point, steps) for k, point in enumerate(points)]
    given = {
        "name": "sweep-0f3a91c2",
        "status": "finished",
        "command": "python train.py -m optimizer=adam,sgd optimizer.lr=1e-4,1e-3,1e-2,1e-1,1 model.dropout=0.0,0.5",
        "trials": len(rows),
        "score": "val/loss",
        "mode": "min",
        "keys": ["optimizer", "optimizer.lr", "model.dropout"],
        "rows": rows,
        "best_line": "python train.py optimizer=adam optimizer.lr=0.01 model.dropout=0.0",
        "notes": ["the best optimizer.lr=0.01 lies at the edge"],
    }
    return SweepReport(**given | more)


def odd(statuses, **more):
    rows = [
        Row(EVIL + str(k), status, None, "val/loss", reason=EVIL, words={EVIL: EVIL})
        for k, status in enumerate(statuses)
    ]
    return sweep(rows=rows, name=EVIL, command=EVIL, best_line=None, notes=[EVIL], keys=[EVIL], **more)


EVERY_STATUS = ("failed", "pruned", "interrupted", "running", "waiting", "diverged", "unreadable", "another one")


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_whole_and_fits_its_screen(opened, width, scheme):
    page = opened(sweep(), width, scheme)
    assert page.locator("h2").all_inner_texts() == [
        "Score against learning rate",
        "Curves",
        "Ranking",
        "Parallel coordinates",
        "What matters",
    ]
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.evaluate(CUT_OFF) == []
    assert page.locator("svg path.curve").count() == 2 * 20
    page.set_viewport_size({"width": 1800 - width, "height": 900})  # it is drawn again
    page.wait_for_timeout(100)
    assert page.evaluate("document.documentElement.scrollWidth") == 1800 - width
    assert page.evaluate(CUT_OFF) == []


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("lrs", [range(-9, 1), [-4 + 0.23 * k for k in range(18)]])
def test_no_label_hides_another(opened, width, lrs):
    page = opened(sweep(lrs, steps=6_000_000), width)
    assert page.evaluate(ON_ONE_ANOTHER) == []
    assert page.evaluate(CUT_OFF) == []
    assert page.evaluate("document.documentElement.scrollWidth") == width


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("statuses", [(), ("failed",), EVERY_STATUS])
def test_what_has_nothing_to_show_is_not_there(opened, width, statuses):
    page = opened(odd(statuses, status="running", trials=9), width)
    assert page.locator("h2").all_inner_texts() == (["Ranking"] if statuses else [])
    assert page.locator("h1").inner_text() == EVIL
    assert page.locator("img").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert (
        page.title()
        == f"{EVIL}: running, {sum(s not in ('interrupted', 'running', 'waiting') for s in statuses)} of 9 trials"
    )


def lit(page, kind):
    return page.locator(f"{kind}.on").count()


def test_hovering_a_trial_lights_it_everywhere(opened):
    page = opened(sweep())
    rows = page.locator(".ranking tbody tr")
    assert lit(page, "*") == 0
    rows.nth(0).hover()
    # Its row, its line in the table of its optimizer, its point and, as it stopped early, the mark at its curve's end,
    # its curve and its line of the parallel coordinates, its cell.
    assert [lit(page, kind) for kind in (".ranking tr", ".small tr", ".mark", "path.curve", ".cell")] == [1, 1, 2, 2, 1]
    page.mouse.move(0, 0)
    assert lit(page, "*") == 0
    rows.nth(1).click()
    page.mouse.move(0, 0)
    assert lit(page, ".ranking tr") == 1  # a click keeps it
    page.keyboard.press("Escape")
    assert lit(page, "*") == 0


@pytest.mark.parametrize("width", WIDTHS)
def test_hovering_a_curve_a_point_or_a_line_tells_which_trial_it_is(opened, width):
    page = opened(sweep(), width)
    tip, plots = page.locator("#tip"), page.locator(".plot:has(path.curve), .plot:has(.through)").all()
    assert len(plots) == 4
    for plot in plots:
        page.mouse.move(0, 0)
        plot.scroll_into_view_if_needed()
        box = plot.bounding_box()
        point = plot.locator(".mark").first.bounding_box() if plot.locator(".through").count() else box
        for up in range(40):  # a line is somewhere above or below, a point is where it is
            away = 0.1 + up * 0.02 if point == box else 0.5
            page.mouse.move(point["x"] + point["width"] * 0.6, point["y"] + point["height"] * away)
            if tip.is_visible():
                break
        assert tip.inner_text().startswith("trial ")
        assert "val/loss" in tip.inner_text() and "LR" in tip.inner_text()
        assert lit(page, "path.curve") == 2
        shown = tip.bounding_box()
        assert shown["x"] >= 0 and shown["x"] + shown["width"] <= width


def test_a_keyboard_goes_everywhere(opened):
    page = opened(sweep())
    for plot in page.locator(".plot").all():
        plot.focus()
        page.keyboard.press("ArrowRight")
        first = page.locator("#live").inner_text()
        page.keyboard.press("ArrowRight")
        assert page.locator("#live").inner_text() != first
        assert first.startswith("trial ")
        assert "val/loss" in first and "LR" in first
        assert lit(page, "path.curve") == 2
    row = page.locator(".ranking tbody tr")
    row.nth(0).focus()
    page.keyboard.press("ArrowDown")
    assert page.locator(".ranking tbody tr:focus td").nth(0).inner_text() == "2"
    assert lit(page, "path.curve") == 2


def column(page, title):
    titles = [text.replace("\u200b", "") for text in page.locator(".ranking th").all_inner_texts()]
    at = titles.index(title)
    return [row.locator("td").nth(at).inner_text() for row in page.locator(".ranking tbody tr").all()]


def test_a_heading_sorts_its_column_and_a_page_that_comes_again_is_as_it_was(opened):
    page = opened(sweep())
    assert len(column(page, "trial")) == 12
    page.get_by_text("Show all 20 trials").click()
    heading = page.locator(".ranking th", has_text="trial")
    heading.locator("button").click()
    assert column(page, "trial") == [str(k) for k in range(20)]  # 10 comes after 9
    assert heading.get_attribute("aria-sort") == "ascending"
    heading.locator("button").click()
    assert column(page, "trial") == [str(k) for k in reversed(range(20))]
    assert heading.get_attribute("aria-sort") == "descending"
    page.reload()
    assert column(page, "trial") == [str(k) for k in reversed(range(20))]
    page.locator(".ranking th", has_text="loss").locator("button").click()
    scores = column(page, "val/loss")
    known = [float(score) for score in scores if score != "-"]
    assert known == sorted(known)
    assert set(scores[len(known) :]) == {"-"}  # what has no score is last, however it is sorted
    page.locator(".ranking th", has_text="status").locator("button").click()
    assert column(page, "status") == sorted(column(page, "status"))


def test_curves_and_colours_are_chosen(opened):
    page = opened(sweep())
    plot = page.locator("section", has_text="Curves").locator(".plot").first
    before = plot.locator("path.curve").first.get_attribute("d")
    colour = plot.locator("path.curve").first.get_attribute("style")
    page.get_by_text("train/loss", exact=True).first.click()
    assert plot.locator("path.curve").first.get_attribute("d") != before
    page.get_by_text("learning rate", exact=True).locator("visible=true").last.click()
    assert plot.locator("path.curve").first.get_attribute("style") != colour
    assert page.locator("input[value=rate]:checked").count() == 2  # both drawings have the same colours


def test_the_line_to_run_is_copied_as_it_is(opened):
    page = opened(sweep(best_line=EVIL))
    page.get_by_role("button", name="Copy the line that runs the best trial").click()
    assert page.evaluate("navigator.clipboard.readText()") == EVIL


def test_a_running_page_keeps_its_place(opened):
    page = opened(sweep(status="running", trials=40))
    assert page.locator("meta[http-equiv=refresh]").get_attribute("content") == "10"
    page.evaluate("scrollTo(0, 700)")
    page.reload()
    page.wait_for_timeout(100)
    assert page.evaluate("scrollY") == 700
