"""Names that LeRobot's modules take at their import."""

from torchvision.transforms import v2 as v2
