"""The repository folder: all or nothing, numbers that do not collide, and models.config."""

import os
import stat
import threading

import pytest
from google.protobuf import text_format

from serving.repository import ModelServerConfig, Repository, check_name


@pytest.fixture
def repository(tmp_path):
    return Repository(tmp_path / "models")


def add_version(repository, name="levit", number=None, content="", **kwargs):
    with repository.new_version(name, number, **kwargs) as draft:
        (draft.path / "saved_model.pb").write_text(content)
    return draft


@pytest.mark.parametrize("name", ["levit256", "a.b-c_D", "0"])
def test_plain_names_are_accepted(name):
    assert check_name(name) == name


@pytest.mark.parametrize(
    "name", ["", "..", ".", "a/b", "../a", "/a", "a:b", "a b", "-a", ".a", "a\n", "ä", "a" * 101]
)
def test_names_that_are_no_part_of_a_url_are_refused(repository, name):
    with pytest.raises(ValueError, match="A model's name consists of"):
        add_version(repository, name)
    assert not repository.path.exists()


def test_versions_are_numbered_from_one_on(repository):
    assert [add_version(repository).number for _ in range(3)] == [1, 2, 3]
    assert add_version(repository, number=7).number == 7
    assert add_version(repository).number == 8
    assert list(repository.versions("levit")) == [1, 2, 3, 7, 8]


def test_versions_are_sorted_as_numbers_and_the_rest_is_overlooked(repository):
    for name in ("10", "9", "00000011", "x", ".export-1", "-3"):
        (repository.path / "levit" / name).mkdir(parents=True)
    (repository.path / "levit" / "12").write_text("a file")
    assert list(repository.versions("levit")) == [9, 10, 11]
    assert add_version(repository, number=11, overwrite=True).path.name == "00000011"


def test_a_version_is_there_only_when_it_is_whole(repository):
    with repository.new_version("levit") as draft:
        (draft.path / "saved_model.pb").write_text("half")
        assert repository.versions("levit") == {}
        assert not draft.path.parent.name.isdecimal()
    assert draft.path == repository.path / "levit" / "1"
    assert os.listdir(repository.path / "levit") == ["1"]


def test_a_version_can_be_read_by_other_users(repository):
    mode = add_version(repository).path.stat().st_mode
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(mode) == 0o777 & ~umask


def test_a_failure_leaves_nothing(repository, tmp_path):
    with pytest.raises(ZeroDivisionError), repository.new_version("levit") as draft:
        (draft.path / "saved_model.pb").write_text(str(1 / 0))
    assert os.listdir(tmp_path) == []


def test_a_failure_leaves_what_was_there(repository):
    add_version(repository, content="old")
    with pytest.raises(ZeroDivisionError), repository.new_version("levit", 1, overwrite=True):
        1 // 0  # noqa: B018
    assert os.listdir(repository.path / "levit") == ["1"]
    assert (repository.path / "levit/1/saved_model.pb").read_text() == "old"


def test_an_existing_version_is_kept_unless_overwriting(repository):
    add_version(repository, number=3, content="old")
    with pytest.raises(FileExistsError, match="3 exists already; --overwrite"):
        add_version(repository, number=3)
    add_version(repository, number=3, content="new", overwrite=True)
    assert (repository.path / "levit/3/saved_model.pb").read_text() == "new"
    assert os.listdir(repository.path / "levit") == ["3"]


def test_the_slower_of_two_exports_of_one_number_is_refused(repository):
    with pytest.raises(FileExistsError), repository.new_version("levit", 1):
        add_version(repository, number=1, content="faster")
    assert (repository.path / "levit/1/saved_model.pb").read_text() == "faster"


def test_concurrent_exports_get_numbers_of_their_own(repository):
    numbers, barrier = [], threading.Barrier(8)

    def run():
        barrier.wait()
        for _ in range(5):
            numbers.append(add_version(repository, content="x").number)

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(numbers) == list(range(1, 41))


@pytest.mark.parametrize("number", [0, -1, 2**63])
def test_numbers_that_are_no_versions_are_refused(repository, number):
    with pytest.raises(ValueError, match="positive integer"):
        add_version(repository, number=number)


def test_a_repository_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "models").write_text("")
    with pytest.raises(NotADirectoryError, match="expected a model repository"):
        Repository(tmp_path / "models")


def test_a_model_cannot_have_the_name_of_a_file(repository):
    with repository.edited_model("levit"):
        pass
    with pytest.raises(ValueError, match=r"models\.config is a file"):
        add_version(repository, "models.config")


CONFIG = """
model_config_list {
  config {
    name: "other"
    base_path: "s3://bucket/other"
    model_platform: "tensorflow"
    model_version_policy { latest { num_versions: 2 } }
    version_labels { key: "stable" value: 4 }
    logging_config { sampling_config { sampling_rate: 0.5 } }
  }
}
"""


def test_what_models_config_says_of_other_models_is_kept(repository):
    repository.path.mkdir()
    repository.config_path.write_text(CONFIG)
    for _ in range(2):
        with repository.edited_model("levit") as model:
            model.version_labels["canary"] = 2
    expected = text_format.Parse(CONFIG, ModelServerConfig())
    expected.model_config_list.config.add(
        name="levit",
        base_path=str(repository.path / "levit"),
        model_platform="tensorflow",
        version_labels={"canary": 2},
    )
    assert repository.read_config() == expected


def test_an_edit_that_fails_changes_nothing(repository):
    repository.path.mkdir()
    repository.config_path.write_text(CONFIG)
    with pytest.raises(ZeroDivisionError), repository.edited_model("other") as model:
        model.version_labels["stable"] = 1 // 0
    assert repository.config_path.read_text() == CONFIG
    assert os.listdir(repository.path) == ["models.config"]


def test_concurrent_edits_are_all_kept(repository):
    def run(name):
        with repository.edited_model(name):
            pass

    threads = [threading.Thread(target=run, args=[f"model{n}"]) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(repository.read_config().model_config_list.config) == 16


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model_config_list {", "no ModelServerConfig"),
        ("modell_config_list {}", "no ModelServerConfig"),
        ("custom_model_config {}", "expected a model_config_list"),
        ("", "expected a model_config_list"),
    ],
)
def test_a_damaged_models_config_is_refused_and_kept(repository, text, message):
    repository.path.mkdir()
    repository.config_path.write_text(text)
    with pytest.raises(ValueError, match=message), repository.edited_model("levit"):
        pass
    assert repository.config_path.read_text() == text


def test_a_removed_version_is_gone_and_an_unknown_one_an_error(repository):
    add_version(repository)
    with pytest.raises(ValueError, match=r"no version 5\. There are: 1\."):
        repository.remove_version("levit", 5)
    repository.remove_version("levit", 1)
    assert os.listdir(repository.path / "levit") == []
