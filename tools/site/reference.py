"""Makes the reference pages from docstrings, without importing the packages.

The reference contains what `levit_tf` exports, the layers of its graphs, and every command with the
functions that its module offers.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import griffe

from tools.site.repository import ROOT

LAYERS = ("levit_tf.layers", "levit_tf.attention", "levit_tf.attention_windows")
LITE = ("levit_lite.images", "levit_lite.class_names", "levit_lite.prediction.predictor")
CONFIG = "training.config.Config"
# Methods that every layer has, which Keras describes.
_OF_KERAS = ("build", "call", "compute_output_shape", "get_config", "from_config")
_PAGES = {
    "levit_tf": "levit_tf: the models",
    "layers": "levit_tf: the layers",
    "converters": "converters",
    "training": "training",
    "serving": "serving",
    "levit_lite": "levit_lite",
}


def reference_pages() -> dict[str, str]:
    """Returns the Markdown of each reference page, by its name."""
    package = griffe.load("levit_tf", search_paths=[ROOT])
    names = {
        "levit_tf": [f"levit_tf.{name}" for name in package.exports],
        "layers": list(LAYERS),
        "training": [CONFIG],
        "levit_lite": list(LITE),
    }
    pages = {}
    for page, title in _PAGES.items():
        parts = [f"# {title}", *(f"::: {name}" for name in names.get(page, ()))]
        for module in _commands(page):
            parts.append(_command(module))
        pages[page] = "\n\n".join(parts) + "\n"
    return pages


def missing_docstrings(pages: dict[str, str], root: Path = ROOT) -> Iterator[str]:
    """Yields the names of public objects in the reference that have no docstring.

    Args:
      pages: the result of `reference_pages`.
      root: the folder that contains the packages.
    """
    loader = griffe.GriffeLoader(search_paths=[root])
    for text in pages.values():
        for line in text.splitlines():
            if line.startswith("::: "):
                name = line.removeprefix("::: ")
                package, _, rest = name.partition(".")
                loaded = loader.load(package)
                yield from _undocumented(loaded[rest] if rest else loaded)


def _undocumented(found: griffe.Object | griffe.Alias) -> Iterator[str]:
    if found.is_alias and not isinstance(found, griffe.Object):
        found = found.final_target
    if not found.has_docstring:
        yield found.path
    if not (found.is_class or found.is_module):
        return
    for member in found.members.values():
        # Inherited and imported members are described where they are defined, and so are the
        # methods that every Keras layer has.
        is_own = not member.is_alias and not member.name.startswith("_")
        if is_own and not (member.is_attribute or member.name in _OF_KERAS):
            yield from _undocumented(member)


def _commands(package: str) -> list[Path]:
    """Returns the modules of the commands in a package."""
    folder = ROOT / package
    files = sorted(folder.rglob("*.py")) if folder.is_dir() else []
    return [
        file
        for file in files
        if file.name == "__main__.py" or "\nCOMMAND = cli.Command(" in file.read_text("utf-8")
    ]


def _command(path: Path) -> str:
    """Makes the section of a command: the docstring of its module, and the functions it offers."""
    module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    tree = ast.parse(path.read_text("utf-8"))
    functions = [f"::: {name}" for name in _lazy_names(tree)]
    name = module.removesuffix(".__main__")
    return "\n\n".join([f"## python -m {name}", ast.get_docstring(tree) or "", *functions])


def _lazy_names(tree: ast.Module) -> Iterator[str]:
    """Yields the full names of the functions that a module offers by `lazy_names`."""
    constants = {
        node.targets[0].id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "lazy_names":
            for keyword in node.keywords:
                value = keyword.value
                place = constants[value.id] if isinstance(value, ast.Name) else value.value
                module, _, other = place.partition(":")
                yield f"{module}.{other or keyword.arg}"
