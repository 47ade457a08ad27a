"""The training loop: `session` holds all parts, `step` runs one step, `epochs` runs all of them."""
