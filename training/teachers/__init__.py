"""The teacher of distillation, its file, its classes and its stored answers.

It imports levit_tf and the parts of training outside of the loop; the loop imports it.
"""
