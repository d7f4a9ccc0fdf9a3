"""How wide a network's last layer is."""


def outputs(*, classes: int | None, targets: int | None) -> int:
    """Width of the last layer: the classes to tell apart, or the values to predict.

    Raises ValueError unless exactly one of the two is given.
    """
    if classes is not None and targets is None:
        return classes
    if targets is not None and classes is None:
        return targets
    raise ValueError(
        "exactly one of `classes` (to classify) and `targets` (to regress) must be given, "
        f"but got classes={classes}, targets={targets}"
    )
