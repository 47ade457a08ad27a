"""Models in the server: their versions on disk, loading and unloading, and running them."""
