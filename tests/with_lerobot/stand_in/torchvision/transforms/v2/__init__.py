"""Base classes that LeRobot's data sets derive theirs from."""


class Transform:
    """Can be derived from and nothing else."""

    def __init__(self, *_args, **_kwargs):
        raise NotImplementedError("torchvision is stood in for here; nothing of it can be used")
