"""Stands in for torchvision, which has no build that fits a PyTorch without CUDA. LeRobot's robots import it and use
nothing of it: they bring the code of its data sets along."""

from torchvision import transforms as transforms
