"""Command-line tools that carry a LeViT from one format to another, one module a format.

Each module has one public function that does the work and raises, and a thin `main` around it that
`converters.cli.run` turns into a command: `python -m converters.from_pytorch --help`.
"""

import levit_tf  # noqa: F401, before its modules are: see levit_common/quiet.py
