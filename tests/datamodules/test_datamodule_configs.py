from inspect import signature
from pathlib import Path

import pytest
from hydra.utils import get_class, instantiate
from omegaconf import OmegaConf

CONF = Path(__file__).parents[2] / "conf" / "datamodule"


@pytest.mark.parametrize("path", sorted(CONF.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_file_names_every_argument_and_what_it_builds_serves_batches(path):
    cfg = OmegaConf.merge({"seed": 0}, {"datamodule": OmegaConf.load(path)})
    del cfg.datamodule.defaults
    arguments = signature(get_class(cfg.datamodule._target_)).parameters
    assert set(cfg.datamodule) - {"_target_"} == set(arguments)

    data = instantiate(cfg.datamodule)
    data.setup("fit")
    for loader in (data.train_dataloader(), data.val_dataloader(), data.test_dataloader()):
        x, y = next(iter(loader))
        assert len(x) == len(y) > 0
