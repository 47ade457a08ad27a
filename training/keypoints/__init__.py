"""Training a LeViT to find joints: data sets with joints, augmentation that moves them, losses."""
