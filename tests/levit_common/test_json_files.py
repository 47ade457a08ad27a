import json

import pytest

from levit_common.json_files import write_json


@pytest.mark.parametrize("durable", [False, True])
def test_a_json_file_is_written_and_replaced_whole(tmp_path, durable):
    path = tmp_path / "new" / "file.json"
    write_json(path, {"a": 1}, durable=durable)
    write_json(path, ["é", 2], durable=durable)
    assert json.loads(path.read_text(encoding="utf-8")) == ["é", 2]
    assert [file.name for file in path.parent.iterdir()] == ["file.json"]


def test_what_json_cannot_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "file.json"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert json.loads(path.read_text()) == {"a": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["file.json"]
