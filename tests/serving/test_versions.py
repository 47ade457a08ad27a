"""Labels, pins and rollbacks: what models.config says afterwards, and what is refused."""

import subprocess
import sys

import pytest

from serving.repository import Repository
from serving.versions import Versions, parse_labels, served_versions


@pytest.fixture
def repository(tmp_path):
    repository = Repository(tmp_path)
    for number in (1, 2, 3, 4):
        with repository.new_version("levit", number) as draft:
            (draft.path / "saved_model.pb").touch()
    with repository.edited_model("levit"):
        pass
    return repository


@pytest.fixture
def versions(repository):
    return Versions(repository, "levit")


def state(repository):
    """What is served, and the labels."""
    (model,) = repository.read_config().model_config_list.config
    served = served_versions(model, list(repository.versions("levit")))
    return served, dict(model.version_labels)


def test_the_latest_version_is_served_by_default(repository):
    assert state(repository) == ([4], {})


def test_what_is_labelled_is_served(repository, versions):
    versions.label({"stable": 3, "canary": 4})
    assert state(repository) == ([3, 4], {"stable": 3, "canary": 4})


def test_a_new_export_is_not_served_while_there_are_labels(repository, versions):
    versions.label({"stable": 4})
    with repository.new_version("levit"):
        pass
    assert state(repository) == ([4], {"stable": 4})


def test_a_label_moves_to_a_version_that_is_served(repository, versions):
    versions.label({"stable": 3, "canary": 4})
    versions.label({"stable": 4})
    # Version 3 stays, so that going back needs no loading.
    assert state(repository) == ([3, 4], {"stable": 4, "canary": 4})


def test_a_label_does_not_move_to_a_version_that_is_not_loaded(repository, versions):
    versions.label({"stable": 3})
    before = repository.config_path.read_text()
    with pytest.raises(ValueError, match=r"First --serve=2; .* --label=stable=2"):
        versions.label({"stable": 2})
    assert repository.config_path.read_text() == before
    versions.serve([2])
    versions.label({"stable": 2})
    assert state(repository) == ([2, 3, 4], {"stable": 2})


def test_pinned_versions_are_served_alone_until_unpinned(repository, versions):
    versions.pin([2])
    with repository.new_version("levit"):
        pass
    assert state(repository) == ([2], {})
    versions.unpin()
    assert state(repository) == ([5], {})


def test_labels_hold_their_versions(repository, versions):
    versions.label({"stable": 3})
    with pytest.raises(ValueError, match="Version 3 has the label 'stable'"):
        versions.pin([4])
    with pytest.raises(ValueError, match="has the labels stable"):
        versions.unpin()
    versions.unlabel("stable")
    versions.unpin()
    assert state(repository) == ([4], {})


def test_a_rollback_serves_the_version_before(repository, versions):
    assert versions.rollback() == (4, 3)
    assert state(repository) == ([3], {})
    assert versions.rollback() == (3, 2)
    assert state(repository) == ([2], {})


def test_a_rollback_skips_numbers_that_do_not_exist(repository, versions):
    versions.remove(3)
    assert versions.rollback() == (4, 2)


def test_a_rollback_takes_labels_along(repository, versions):
    versions.label({"stable": 3, "canary": 4})
    assert versions.rollback() == (4, 3)
    assert state(repository) == ([3], {"stable": 3, "canary": 3})


def test_a_rollback_of_labels_needs_the_version_before_loaded(repository, versions):
    versions.label({"stable": 4})
    with pytest.raises(ValueError, match="First --serve=3"):
        versions.rollback()


def test_there_is_nothing_before_the_first_version(repository, versions):
    versions.pin([1])
    with pytest.raises(ValueError, match="no version before 1"):
        versions.rollback()


def test_versions_that_are_served_are_not_removed(repository, versions):
    versions.label({"stable": 2})
    for number in (2, 4):
        with pytest.raises(ValueError, match=f"Version {number} of 'levit' is served"):
            versions.remove(number)
    versions.remove(1)
    assert list(repository.versions("levit")) == [2, 3, 4]


@pytest.mark.parametrize(
    "change",
    [
        lambda v: v.label({"stable": 9}),
        lambda v: v.pin([3, 9]),
        lambda v: v.serve([9]),
        lambda v: v.remove(9),
    ],
)
def test_versions_that_do_not_exist_are_refused(repository, versions, change):
    before = repository.config_path.read_text()
    with pytest.raises(ValueError, match=r"no version 9\. There are: 1, 2, 3, 4\."):
        change(versions)
    assert repository.config_path.read_text() == before


def test_labels_are_checked(versions):
    with pytest.raises(ValueError, match="A label's name consists of"):
        versions.label({"a/b": 3})
    with pytest.raises(ValueError, match=r"no label 'canary'\. There are: none"):
        versions.unlabel("canary")


def test_a_model_without_versions_is_refused(repository):
    with pytest.raises(ValueError, match="no versions of a model 'levitt'"):
        Versions(repository, "levitt")


def test_the_listing_says_what_is_served_and_by_what_labels(versions):
    versions.label({"stable": 3, "canary": 4})
    assert versions.listing() == [
        "1  not served",
        "2  not served",
        "3  served  stable",
        "4  served  canary",
    ]


def test_other_policies_are_understood(repository, versions):
    with repository.edited_model("levit") as model:
        model.model_version_policy.latest.num_versions = 2
    assert state(repository)[0] == [3, 4]
    with repository.edited_model("levit") as model:
        model.model_version_policy.all.SetInParent()
    assert state(repository)[0] == [1, 2, 3, 4]


def test_the_command_changes_and_lists(repository):
    def run(*arguments):
        command = [sys.executable, "-m", "serving.versions", "--name=levit", *arguments]
        command.append(f"--repository={repository.path}")
        return subprocess.run(command, capture_output=True, text=True)

    done = run("--label=stable=3,canary=4")
    assert done.stdout.splitlines()[2:] == ["3  served  stable", "4  served  canary"]
    done = run("--unpin", "--rollback")
    assert (done.returncode, done.stdout) == (1, "")
    assert "error: One change at a time. Received: --unpin --rollback" in done.stderr


@pytest.mark.parametrize("text", ["stable", "stable=", "=3", "stable=x", "stable=-1"])
def test_labels_are_given_as_name_and_version(text):
    with pytest.raises(ValueError, match="--label takes NAME=VERSION, such as stable=3"):
        parse_labels([text])
