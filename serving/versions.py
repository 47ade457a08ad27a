"""Chooses the served versions of a model and their labels, by editing models.config.

    python -m serving.versions --repository=models --name=levit256
    python -m serving.versions --repository=models --name=levit256 --label=stable=3
    python -m serving.versions --repository=models --name=levit256 --pin=3
    python -m serving.versions --repository=models --name=levit256 --rollback

Without an action it lists the versions. Servers apply the change when they read the file again, as
with --model_config_file_poll_wait_seconds.

TF Serving moves labels before it loads new versions, and refuses the whole file if a label is moved
to a version that is not loaded yet. So an existing label can only be moved to a version that is
served already; --serve loads a further one.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping, Sequence

from absl import flags

from levit_common import cli
from serving.repository import ModelConfig, Repository, check_name, missing

_ACTIONS = ("label", "unlabel", "serve", "pin", "unpin", "rollback", "remove")


def served_versions(model: ModelConfig, versions: Sequence[int]) -> list[int]:
    """Returns the versions that a server loads.

    Args:
      model: configuration of the model in models.config.
      versions: existing versions, in ascending order.
    """
    policy = model.model_version_policy
    kind = policy.WhichOneof("policy_choice")
    if kind == "all":
        return list(versions)
    if kind == "specific":
        return sorted(set(policy.specific.versions) & set(versions))
    count = policy.latest.num_versions if kind == "latest" else 0
    return list(versions)[-(count or 1) :]


class Versions:
    """The versions of one model in a repository; each method makes one change to models.config.

    Args:
      repository: the repository with the model.
      name: name of the model.

    Raises:
      ValueError: the model has no versions.
    """

    def __init__(self, repository: Repository, name: str):
        self._repository = repository
        self._name = name
        if not self._existing():
            raise ValueError(f"{repository.folder(name)}: no versions of a model {name!r}.")

    def _existing(self) -> list[int]:
        return list(self._repository.versions(self._name))

    def _check(self, *numbers: int) -> None:
        existing = self._existing()
        for number in numbers:
            if number not in existing:
                raise missing(self._name, number, existing)

    def listing(self) -> list[str]:
        """Returns a line for each version: its number, whether it is served, and its labels."""
        config = self._repository.read_config().model_config_list.config
        model = next((m for m in config if m.name == self._name), None)
        existing = self._existing()
        if model is None:
            return [f"{number}  not in models.config" for number in existing]
        served = served_versions(model, existing)
        lines = []
        for number in existing:
            labels = sorted(k for k, v in model.version_labels.items() if v == number)
            state = "served" if number in served else "not served"
            lines.append("  ".join([str(number), state, *labels]))
        return lines

    def label(self, labels: Mapping[str, int]) -> None:
        """Assigns labels to versions, which are served from then on.

        Args:
          labels: from label to version.

        Raises:
          ValueError: a version does not exist; or an existing label would move to a version that is
            not served yet.
        """
        self._check(*labels.values())
        with self._repository.edited_model(self._name) as model:
            served = served_versions(model, self._existing())
            for label, number in labels.items():
                check_name(label, "label")
                moves = model.version_labels.get(label, number) != number
                if moves and number not in served:
                    raise ValueError(
                        f"Version {number} of {self._name!r} is not served yet, and TF Serving "
                        f"moves {label!r} only to a version that it has loaded. First "
                        f"--serve={number}; once the server reports it as AVAILABLE, "
                        f"{shlex.quote(f'--label={label}={number}')}."
                    )
                model.version_labels[label] = number
            _serve(model, {*served, *labels.values()})

    def unlabel(self, label: str) -> None:
        """Removes a label; its version stays served.

        Raises:
          ValueError: there is no such label.
        """
        with self._repository.edited_model(self._name) as model:
            if label not in model.version_labels:
                found = ", ".join(sorted(model.version_labels)) or "none"
                raise ValueError(f"{self._name!r} has no label {label!r}. There are: {found}.")
            del model.version_labels[label]

    def serve(self, numbers: Sequence[int]) -> None:
        """Serves versions in addition to those already served."""
        self._check(*numbers)
        with self._repository.edited_model(self._name) as model:
            _serve(model, {*served_versions(model, self._existing()), *numbers})

    def pin(self, numbers: Sequence[int]) -> None:
        """Serves exactly these versions, even when others are exported later.

        Raises:
          ValueError: a version does not exist, or another version has a label.
        """
        self._check(*numbers)
        with self._repository.edited_model(self._name) as model:
            _check_labels(model, numbers)
            _serve(model, set(numbers))

    def unpin(self) -> None:
        """Serves the latest version again, and each later one as soon as it is exported.

        Raises:
          ValueError: there are labels, whose versions must stay.
        """
        with self._repository.edited_model(self._name) as model:
            if model.version_labels:
                raise ValueError(
                    f"{self._name!r} has the labels {', '.join(sorted(model.version_labels))}, "
                    "whose versions must stay; take them away first with --unlabel."
                )
            model.ClearField("model_version_policy")

    def rollback(self) -> tuple[int, int]:
        """Replaces the latest served version by the one before it.

        Labels of the former are moved to the latter.

        Returns:
          The withdrawn version, and the version that is the latest served now.

        Raises:
          ValueError: there is no earlier version; or labels would move to one that is not served
            yet.
        """
        existing = self._existing()
        with self._repository.edited_model(self._name) as model:
            served = served_versions(model, existing)
            latest = max(served, default=None)
            earlier = [number for number in existing if latest is not None and number < latest]
            if not earlier:
                raise ValueError(f"{self._name!r} has no version before {latest} to go back to.")
            before = earlier[-1]
            labels = sorted(k for k, v in model.version_labels.items() if v == latest)
            if labels and before not in served:
                raise ValueError(
                    f"The labels {', '.join(labels)} would move to version {before}, which is not "
                    f"served yet. First --serve={before}; once the server reports it as AVAILABLE, "
                    "--rollback."
                )
            for label in labels:
                model.version_labels[label] = before
            _serve(model, {*served, before} - {latest})
        return latest, before

    def remove(self, number: int) -> None:
        """Deletes a version.

        Raises:
          ValueError: the version does not exist, or is served.
        """
        self._check(number)
        with self._repository.edited_model(self._name) as model:
            if number in served_versions(model, self._existing()):
                raise ValueError(
                    f"Version {number} of {self._name!r} is served. First withdraw it: --rollback,"
                    " or --pin others."
                )
            self._repository.remove_version(self._name, number)


def _serve(model: ModelConfig, numbers: set[int]) -> None:
    model.model_version_policy.specific.versions[:] = sorted(numbers)


def _check_labels(model: ModelConfig, numbers: Sequence[int]) -> None:
    for label, number in sorted(model.version_labels.items()):
        if number not in numbers:
            raise ValueError(
                f"Version {number} has the label {label!r} and must be served. Move the label "
                "first, or take it away with --unlabel."
            )


def parse_labels(texts: Sequence[str]) -> dict[str, int]:
    """Parses texts "NAME=VERSION".

    Raises:
      ValueError: a text has another form.
    """
    labels = {}
    for text in texts:
        match = re.fullmatch(r"([^=]+)=(\d+)", text)
        if not match:
            raise ValueError(f"--label takes NAME=VERSION, such as stable=3. Received: {text!r}")
        labels[match[1]] = int(match[2])
    return labels


def _parse_versions(texts: Sequence[str]) -> list[int]:
    wrong = [text for text in texts if not text.isdecimal()]
    if wrong:
        raise ValueError(f"Expected version numbers, such as 3 or 3,4. Received: {wrong[0]!r}")
    return [int(text) for text in texts]


def main() -> None:
    args = flags.FLAGS
    given = [name for name in _ACTIONS if getattr(args, name)]
    versions = Versions(Repository(args.repository), check_name(args.name))
    actions: dict[str, Callable[[], object]] = {
        "label": lambda: versions.label(parse_labels(args.label)),
        "unlabel": lambda: versions.unlabel(args.unlabel),
        "serve": lambda: versions.serve(_parse_versions(args.serve)),
        "pin": lambda: versions.pin(_parse_versions(args.pin)),
        "unpin": versions.unpin,
        "rollback": versions.rollback,
        "remove": lambda: versions.remove(*_parse_versions([args.remove])),
    }
    for name in given:
        actions[name]()
    print("\n".join(versions.listing()))


def define_flags() -> None:
    flags.DEFINE_string("repository", None, "Folder of models.")
    flags.DEFINE_string("name", None, "Name of the model.")
    flags.DEFINE_list("label", [], "NAME=VERSION,...: assign labels to versions, and serve these.")
    flags.DEFINE_string("unlabel", None, "NAME: remove a label.")
    flags.DEFINE_list("serve", [], "VERSION,...: serve these, too.")
    flags.DEFINE_list("pin", [], "VERSION,...: serve only these, even if others are exported.")
    flags.DEFINE_bool("unpin", False, "Serve the latest version again.")
    flags.DEFINE_bool(
        "rollback", False, "Go back from the latest served version to the one before."
    )
    flags.DEFINE_string("remove", None, "VERSION: delete a version that is not served.")
    flags.mark_flags_as_required(["repository", "name"])


def check() -> None:
    args = flags.FLAGS
    given = [name for name in _ACTIONS if getattr(args, name)]
    if len(given) > 1:
        raise ValueError(f"One change at a time. Received: --{' --'.join(given)}")


COMMAND = cli.Command(main, define_flags, check, starts_keras=False)

if __name__ == "__main__":
    COMMAND.run()
