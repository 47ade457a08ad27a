"""Joints of a body: skeletons, heads, decoding, measures, drawing, and the command that finds them.

The command is `python -m levit_tf.keypoints`; training is `training.keypoints`.
"""
