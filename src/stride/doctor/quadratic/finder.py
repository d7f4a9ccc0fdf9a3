"""Does the finder come to a rate that is stable, and not far below the limit?"""

from collections.abc import Iterator
from pathlib import Path

from stride.doctor.quadratic.loss import quadratic
from stride.doctor.quadratic.trained import train
from stride.doctor.quadratic.witness import weights
from stride.doctor.row import Row, judged

LEAST = 0.2  # of the limit
LEFT = 0.01  # of what the loss can fall by
EPOCHS = 60


def rows(root: Path) -> Iterator[Row]:
    """The rate that `lr_finder=on` finds, and where the run with it ends."""
    known = quadratic()
    words = ["lr_finder=on", f"trainer.max_epochs={EPOCHS}", f"trainer.check_val_every_n_epoch={EPOCHS}"]
    run = train(root, "finder", words)
    found = run.record["lr"]["found"] or 0.0
    share, passed = found / known.limit(0.0), weights(run.folder)
    first, last = (known.loss(passed[place]) - known.lowest for place in (0, -1))
    yield judged(
        "finder",
        f"{found:.3g}, {share:.2g} of the limit; its run leaves {100 * last / first:.2g}% of the fall",
        holds=LEAST <= share < 1 and last <= LEFT * first,
        law=f"it must find {LEAST} to 1 of the limit, and leave {LEFT:.0%} at most: {run.record['lr']['why']}",
        attempt="pytest tests/test_tune.py tests/test_lr_finder_defects.py",
    )
