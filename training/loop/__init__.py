"""From a configuration to training: `session` holds all parts, `step` runs one step, `epochs`
all."""
