"""The contact sheet of augmented pictures."""

import numpy as np
import pytest
from PIL import Image

from tests.support.training.augment_cases import picture
from training.config import load_config, override
from training.show_augmentation import augmented_sheet, load_pictures, show_run


def test_a_command_draws_a_folder(tmp_path, run_command):
    for number in range(3):
        Image.fromarray(picture(80, 60, number)).save(tmp_path / f"{number}.png")
    output = tmp_path / "sheets" / "sheet.png"
    files = f"--images={tmp_path}", f"--output={output}"
    result = run_command("training.show_augmentation", *files, "--rows=2", "--columns=3")
    assert result.returncode == 0, result.stderr
    with Image.open(output) as sheet:
        assert sheet.size[0] > sheet.size[1]  # the pictures and three versions of each


def test_a_config_shows_what_its_run_sees(tmp_path, capsys):
    def sheet(name, *settings):
        path = tmp_path / f"{name}.png"
        config = override(load_config("digits"), ["batch_size=8", *settings])
        show_run(config, rows=2, columns=3, output=path)
        with Image.open(path) as image:
            return np.asarray(image)

    taught = ("distillation=soft", "distillation_tau=3", "teacher=t.onnx", "teacher_classes=c.json")
    plain = sheet("plain", *taught, "crop_padding=0", "mixup=0", "erasing=0", "rand_augment=none")
    shifted = sheet("shifted", "crop_padding=8", "mixup=0", "erasing=0", "rand_augment=none")
    assert plain.shape == shifted.shape
    assert (plain != shifted).any()  # the settings of the run, not a recipe of its own
    assert "10 classes" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--config=digits", "--images=digits"), "give one of them"),
        (("--set=crop_scale=0.6",), "name it by --config"),
        (("--config=digits", "--seed=3"), "--set=seed=N"),
        (("--config=keypoints",), "only classifiers"),
        (("--config=digit",), "digits"),
    ],
)
def test_settings_that_would_have_no_effect_are_refused(words, message, tmp_path, run_command):
    result = run_command("training.show_augmentation", f"--output={tmp_path}/x.png", *words)
    assert result.returncode == 1
    assert message in result.stderr
    assert not list(tmp_path.iterdir())


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
