"""From a configuration to steps: `session` holds all parts, `step` does one, `epochs` all."""
