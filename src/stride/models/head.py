"""How wide a network's last layer is."""


def outputs(*, classes: int | None, targets: int | None) -> int:
    """Width of the last layer: the classes to tell apart, or the values to predict.

    Raises ValueError unless exactly one of the two is given.
    """
    if (classes is None) == (targets is None):
        raise ValueError(
            "exactly one of `classes` (to classify) and `targets` (to regress) must be given, "
            f"but got classes={classes}, targets={targets}"
        )
    return targets if classes is None else classes
