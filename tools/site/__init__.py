"""The documentation site that `make docs` builds: docs/, the README, the notebook and a reference.

mkdocs.yml      structure and style of the site, for MkDocs
hooks.py        functions that MkDocs calls
repository.py   pages of the repository outside docs/, and links between all pages
notebook.py     the notebook as a page with its pictures
reference.py    reference pages from docstrings, and warnings about missing docstrings
"""
