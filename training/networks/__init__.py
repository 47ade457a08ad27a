"""The network that a run trains: a plain LeViT, one with exits, or the twin for int8.

Each module has a class of the same methods, from `network.Networks`; `training.loop.session` takes
one by the config. `qat` needs packages that no other run does, so nothing imports it before it is
asked for.
"""
