"""The network that a run trains: a plain LeViT, one with exits, or a fake-quantised one for int8.

Each module builds a `network.Networks`; `training.loop.session` chooses the module by the config.
`qat` needs packages that no other run needs, so it is imported only when it is used.
"""
