"""How good a network is on labelled pictures, and how quick one that may leave early.

`accuracy` counts, `report` writes what was counted, `dynamic` is for files with exits. May import
`training.data` and what is below `training`; the command is `training.evaluate`.
"""
