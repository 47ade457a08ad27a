"""The documentation site that `make docs` builds: docs/, the README, the notebook and a reference.

mkdocs.yml      its structure and looks; MkDocs reads it
hooks.py        what MkDocs calls
repository.py   pages of the repository outside docs/, and links between all of them
notebook.py     the notebook as a page with its pictures
reference.py    pages from the docstrings, and a complaint about each that is missing
"""
