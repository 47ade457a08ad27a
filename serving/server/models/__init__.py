"""Models in the server: versions on disk, their life, and running one on tensors."""
