"""The teacher of distillation: the teacher itself (`teacher`), its file (`reading`, `foreign`), its
classes (`classes`), and its stored answers (`cache`, `asking`).

It imports levit_tf and the parts of training outside of the loop; the loop imports it.
"""
