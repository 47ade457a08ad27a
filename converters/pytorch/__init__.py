"""PyTorch checkpoints: imports and exports LeViT, and imports teachers."""
