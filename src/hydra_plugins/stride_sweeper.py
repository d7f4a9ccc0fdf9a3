"""Every `-m` comes through here: Hydra hands over the words, stride.sweep does the work.

Hydra imports this module at each start, so it imports nothing heavy itself.
"""

from typing import TYPE_CHECKING, Any

from hydra.plugins.sweeper import Sweeper

if TYPE_CHECKING:
    from omegaconf import DictConfig


class StrideSweeper(Sweeper):
    """Runs each point of a sweep as a process of its own; Hydra's launchers and folders are not used."""

    def setup(self, *, hydra_context: Any, task_function: Any, config: "DictConfig") -> None:
        self.cfg = config

    def sweep(self, arguments: list[str]) -> Any:
        from stride.sweep.driver import run

        outcome = run(arguments, self.cfg)
        if outcome.exit_code:
            raise SystemExit(int(outcome.exit_code))  # Hydra drops what a sweeper returns
        return outcome
