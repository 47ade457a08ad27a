"""The teacher of distillation: who it is (`teacher`), in what file (`reading`, `foreign`), of which
classes (`classes`), and what it has answered already (`cache`, `asking`).

Imports levit_tf and what training has outside of its loop; the loop imports this.
"""
