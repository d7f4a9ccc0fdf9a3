"""When a training loss has run away: rules that hold for losses of either sign, on plain numbers."""

import math
from collections import deque
from statistics import fmean, pstdev

FAST = 0.9  # of the average that follows the loss
WINDOW = 200  # steps that say what is usual
FEWEST = 50  # of them, before anything is unusual
Z = 6.0  # standard deviations above the mean
LATELY, OFTEN = 5, 2  # so many of the latest steps
SHARE = 0.5  # of the drop so far: a spike below that is of a batch that is hard, and passes
LOST = 0.5  # of the drop so far


class LossWatch:
    """Says of each step's loss whether it, with those before, is one of a run that has gone wrong.

    Two rules, neither of which divides by a loss. The average has given back half of what it had gained,
    `fast - best > 0.5 (first - best)`, and more than three standard deviations of the loss. Or at least two of the
    latest five losses are more than 6 standard deviations above the average before them, and by half of the drop so
    far (OLMo counts spikes in standard deviations over a window, arXiv 2402.00838). Standard deviations are those of
    the latest 200 losses from the average before each, so that a falling loss does not count as spread.
    """

    def __init__(self) -> None:
        self.first = math.nan  # the average of the first few losses
        self.best = math.inf  # the lowest average so far
        self._fast, self._weight, self._seen = 0.0, 0.0, 0
        self._usual: deque[float] = deque(maxlen=WINDOW)  # how far losses lay above the average before them
        self._odd: deque[bool] = deque(maxlen=LATELY)

    def add(self, loss: float) -> str:
        """What is wrong, for a person; empty where nothing is."""
        above = loss - self._fast / self._weight if self._weight else 0.0
        mean, spread = (fmean(self._usual), pstdev(self._usual)) if self._usual else (0.0, 0.0)
        drop = max(0.0, self.first - self.best)
        odd = len(self._usual) >= FEWEST and above - mean > max(Z * spread, SHARE * drop)
        self._odd.append(odd)
        if odd and sum(self._odd) >= OFTEN:
            return (
                f"a loss of {loss:.4g} is {(above - mean) / spread if spread else math.inf:.3g} standard deviations up"
            )
        if not odd:
            self._usual.append(above)
        self._fast, self._weight = FAST * self._fast + (1 - FAST) * loss, FAST * self._weight + 1 - FAST
        average = self._fast / self._weight
        self._seen += 1
        if self._seen <= LATELY:
            self.first = average
        if len(self._usual) >= FEWEST and average - self.best > max(LOST * drop, 3 * spread):
            return f"the loss is back at {average:.4g}, from {self.best:.4g} at best and {self.first:.4g} at first"
        self.best = min(self.best, average)
        return ""

    def forget(self) -> None:
        """Begin anew, but for how far the run had come: the weights are others now."""
        self._fast, self._weight = 0.0, 0.0
        self._usual.clear()
        self._odd.clear()
