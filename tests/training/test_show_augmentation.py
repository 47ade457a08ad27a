"""The contact sheet of augmented pictures."""

import numpy as np
import pytest
from PIL import Image

from tests.support.training.augment_cases import picture
from training.show_augmentation import augmented_sheet, load_pictures


def test_a_command_draws_a_folder(tmp_path, run_command):
    for number in range(3):
        Image.fromarray(picture(80, 60, number)).save(tmp_path / f"{number}.png")
    output = tmp_path / "sheets" / "sheet.png"
    files = f"--images={tmp_path}", f"--output={output}"
    result = run_command("training.show_augmentation", *files, "--rows=2", "--columns=3")
    assert result.returncode == 0, result.stderr
    with Image.open(output) as sheet:
        assert sheet.size[0] > sheet.size[1]  # the pictures and three versions of each


@pytest.mark.slow
def test_rows_begin_with_the_picture_and_show_a_different_epoch_in_each_column():
    pictures, size = load_pictures("digits", 2)
    assert size == (32, 32)
    rows = augmented_sheet(pictures, size, columns=3, seed=0)
    for shown, original in zip(rows, pictures, strict=True):
        np.testing.assert_array_equal(shown[0], original)
        assert len({image.tobytes() for image in shown}) == 4
        assert {image.shape for image in shown} == {(32, 32, 3)}


def test_a_folder_without_pictures_is_refused(tmp_path):
    with pytest.raises(ValueError, match="--images: no pictures in"):
        load_pictures(str(tmp_path), 3)
