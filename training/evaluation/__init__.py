"""Accuracy of networks on labelled pictures, and the speed of networks with early exits.

`accuracy` measures, `report` writes the results, `dynamic` handles files with exits. These may
import `training.data` and the layers below `training`; the command is `training.evaluate`.
"""
