"""Checkpoints of PyTorch: LeViT in and out, and RegNetY, a teacher, in."""
