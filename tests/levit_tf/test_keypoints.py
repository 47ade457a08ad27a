"""Joints: decoding reads what a head says, measures are those of the definition."""

import functools
import subprocess
import sys

import keras
import numpy as np
import pytest

import levit_tf
from levit_tf.keypoints.decoding import DecodeHeatmap, DecodeSimCC, places
from levit_tf.keypoints.drawing import draw_skeleton
from levit_tf.keypoints.finding import load_finder
from levit_tf.keypoints.measures import measure
from levit_tf.keypoints.network import keypoint_network, logits_of
from levit_tf.keypoints.skeletons import COCO, DHP19, LSP, Skeleton, skeleton_of
from levit_tf.keypoints.whole_picture import fit_picture, fit_whole
from tests.support.cases import slow
from tests.support.parity import relative_error
from tests.support.randomize import random_images, randomize_keras

SIZE = (48, 64)
SIGMA = 3.0


@functools.cache
def _network(head):
    backbone = levit_tf.LeViT("LeViTNano", include_top=False, input_shape=64)
    model = keypoint_network(backbone, LSP, head)
    randomize_keras(logits_of(model))
    return model


def _gaussian(place, middle):
    return -((place - middle) ** 2) / (2 * SIGMA**2)


POINTS = [(0.0, 0.0), (31.5, 20.25), (63.0, 47.0), (10.3, 40.8)]


@pytest.mark.parametrize("point", POINTS, ids=str)
def test_a_gaussian_over_each_side_is_read_where_its_middle_is(point):
    x, y = (
        _gaussian(places(side, 2 * side), middle)
        for side, middle in zip((64, 48), point, strict=True)
    )
    decode = DecodeSimCC(SIZE, SIGMA)
    logits = {"x": x[None, None].astype(np.float32), "y": y[None, None].astype(np.float32)}
    found = keras.ops.convert_to_numpy(decode(logits))[0, 0]
    is_inside = all(SIGMA < p < side - SIGMA for p, side in zip(point, (64, 48), strict=True))
    np.testing.assert_allclose(found[:2], point, atol=0.1 if is_inside else SIGMA)
    assert found[2] == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("point", POINTS, ids=str)
def test_a_gaussian_over_cells_is_read_where_its_middle_is(point):
    grid = (12, 16)
    square = _gaussian(places(48, 12), point[1])[:, None] + _gaussian(places(64, 16), point[0])
    decode = DecodeHeatmap(SIZE, grid, SIGMA)
    found = keras.ops.convert_to_numpy(decode(square.reshape(1, 1, -1).astype(np.float32)))[0, 0]
    is_inside = all(2 * SIGMA < p < side - 6 for p, side in zip(point, (64, 48), strict=True))
    np.testing.assert_allclose(found[:2], point, atol=0.7 if is_inside else SIGMA)
    assert 0.6 < found[2] <= 1


def test_of_two_equal_peaks_one_is_taken_and_not_their_middle():
    logits = np.zeros((1, 1, 128), np.float32)
    logits[..., [10, 100]] = 50
    found = DecodeSimCC((64, 64), SIGMA)({"x": logits, "y": logits})
    assert keras.ops.convert_to_numpy(found)[0, 0, 0] == pytest.approx(places(64, 128)[10])


def test_what_is_nowhere_likely_has_little_confidence():
    logits = np.zeros((1, 1, 128), np.float32)
    found = DecodeSimCC((64, 64), SIGMA)({"x": logits, "y": logits})
    assert keras.ops.convert_to_numpy(found)[0, 0, 2] < 0.15


@pytest.mark.parametrize("head", ["simcc", slow("heatmap")])
def test_a_network_finds_all_joints_and_keeps_its_answers_when_fused_and_saved(head, tmp_path):
    model = _network(head)
    levit_tf.fuse(model).save(tmp_path / "fused.keras")
    fused = keras.models.load_model(tmp_path / "fused.keras")
    assert levit_tf.model_properties(fused).class_names == LSP.joints
    images = random_images((64, 64))
    expected = keras.ops.convert_to_numpy(model(images, training=False)["keypoints"])
    assert expected.shape == (2, 14, 3)
    found = keras.ops.convert_to_numpy(fused(images, training=False)["keypoints"])
    assert relative_error(found, expected) <= 1e-3
    logits = [logits_of(model), logits_of(fused)]
    for name in logits[0].output:
        pair = [keras.ops.convert_to_numpy(m(images, training=False)[name]) for m in logits]
        assert relative_error(pair[1], pair[0]) <= 1e-5


def test_a_fresh_simcc_head_reads_a_joint_where_its_map_has_a_peak():
    backbone = levit_tf.LeViT("LeViTNano", include_top=False, input_shape=(64, 96, 3))
    model = keypoint_network(backbone, LSP, "simcc")
    head = keras.Model(model.get_layer("joints").output, model.output)
    maps = np.zeros((1, 8, 12, len(LSP.joints)), np.float32)  # cells of 8 x 8 pixels
    maps[0, 2, 9, 0] = maps[0, 7, 0, 5] = 50
    found = keras.ops.convert_to_numpy(head(maps)["keypoints"])[0]
    np.testing.assert_allclose(found[0, :2], [9.5 * 8 - 0.5, 2.5 * 8 - 0.5], atol=1)
    # At the border the map says the same from the middle of the last cell on.
    assert found[5, 0] < 4
    assert found[5, 1] > 60


def test_the_backbone_of_an_open_size_is_refused():
    backbone = levit_tf.LeViT("LeViTNano", include_top=False, input_shape=(None, None, 3))
    with pytest.raises(ValueError, match="with_input_size fixes it"):
        keypoint_network(backbone, LSP)


@pytest.mark.slow
def test_a_saved_network_loads_after_nothing_but_the_import_of_the_package(tmp_path):
    _network("simcc").save(tmp_path / "joints.keras")
    script = f"import keras, levit_tf; keras.models.load_model({str(tmp_path / 'joints.keras')!r})"
    subprocess.run([sys.executable, "-c", script], check=True, timeout=300)


def test_a_network_that_was_not_trained_for_int8_is_named(tmp_path):
    from converters.qat.qat_model import load_quantized

    _network("simcc").save(tmp_path / "joints.keras")
    with pytest.raises(ValueError, match=r"joints\.keras: holds no learned ranges, .*set=qat=int8"):
        load_quantized(tmp_path / "joints.keras")


@pytest.mark.slow
@pytest.mark.parametrize("head", ["simcc", "heatmap"])
@pytest.mark.parametrize("recipe", ["int8", "int8_full"])
def test_int8_files_read_places_and_confidence_off_in_float(head, recipe, tmp_path):
    from converters.tflite.conversion import to_tflite
    from levit_tf.prediction.network_files import read_network
    from levit_tf.preprocessing import preprocess_input

    images = np.clip(128 + 40 * random_images((64, 64), 8), 0, 255)
    model = _network(head)
    expected = keras.ops.convert_to_numpy(
        model(preprocess_input(images), training=False)["keypoints"]
    )
    path = tmp_path / "joints.tflite"
    options = {"calibration_images": images, "calibration_method": "min_max"}
    to_tflite(model, path, recipe=recipe, class_names=LSP.joints, **options)
    network = read_network(path)
    found = np.concatenate([network.outputs(image[None])["keypoints"] for image in images])
    difference = np.abs(found - expected)
    assert np.median(difference[..., :2]) < 0.1
    assert difference[..., 2].mean() < 0.02


@pytest.mark.slow
def test_a_classifier_finds_no_joints(tmp_path):
    levit_tf.LeViT("LeViTNano").save(tmp_path / "classifier.keras")
    with pytest.raises(ValueError, match="finds no joints"):
        load_finder(tmp_path / "classifier.keras")


def _people():
    labelled = np.zeros((2, 14, 3))
    labelled[..., :2] = np.random.default_rng(0).uniform(0, 100, (2, 14, 2))
    labelled[..., 2] = 1
    first, second = LSP.pair(LSP.torso)
    labelled[:, first, :2], labelled[:, second, :2] = (0, 0), (0, 50)  # 0.2 of it is 10 pixels
    return labelled


def test_pck_counts_what_is_within_a_fifth_of_the_torso():
    labelled = _people()
    found = labelled.copy()
    found[0, :7, 0] += 9.9
    found[1, :7, 0] += 10.1
    labelled[1, 0, 2] = 0  # not labelled, and not counted
    quality = measure(found, labelled, LSP)
    assert quality.pck == pytest.approx((14 + 7) / 27)
    assert quality.mpjpe == pytest.approx((7 * 9.9 + 6 * 10.1) / 27)
    assert (quality.joints, quality.people) == (27, 2)
    assert quality.by_joint["right_knee"] == 0.5


def test_people_without_a_torso_count_for_the_distance_only():
    labelled = _people()
    labelled[1, LSP.pair(LSP.torso)[0], 2] = 0
    quality = measure(labelled[..., :2], labelled, LSP)
    assert (quality.people, quality.joints) == (1, 27)
    assert measure(np.zeros((1, 13, 2)), np.ones((1, 13, 3)), DHP19).mpjpe == pytest.approx(2**0.5)


def test_measures_refuse_what_cannot_be_compared():
    with pytest.raises(ValueError, match=r"Received: .* and"):
        measure(np.zeros((1, 13, 3)), np.ones((1, 14, 3)), LSP)
    with pytest.raises(ValueError, match="None of the joints"):
        measure(np.zeros((1, 14, 3)), np.zeros((1, 14, 3)), LSP)
    with pytest.raises(ValueError, match="not numbers"):
        measure(np.full((1, 14, 3), np.nan), np.ones((1, 14, 3)), LSP)


@pytest.mark.parametrize("skeleton", [LSP, COCO, DHP19], ids=lambda s: s.name)
def test_mirroring_twice_is_nothing_and_changes_sides(skeleton):
    mirrored = skeleton.mirrored
    assert [mirrored[n] for n in mirrored] == list(range(len(skeleton.joints)))
    for here, there in zip(skeleton.joints, mirrored, strict=True):
        other = skeleton.joints[there]
        assert (here.split("_")[0], other.split("_")[0]) in {
            ("left", "right"),
            ("right", "left"),
            (here.split("_")[0], here.split("_")[0]),
        }
        if here.startswith(("left_", "right_")):
            assert other != here


@pytest.mark.parametrize(
    ("left", "right"),
    [
        *(("left_eye", "right_eye"), ("shoulder_left", "shoulder_right"), ("lefteye", "righteye")),
        *(("front left paw", "front right paw"), ("L_F_Paw", "R_F_Paw"), ("eye_l", "eye_r")),
        *(("hand.L", "hand.R"), ("LElbow", "RElbow"), ("lElbow", "rElbow"), ("l", "r")),
        *(("LeftEye", "RightEye"), ("eyeLeft", "eyeRight"), ("LEFT_EYE", "RIGHT_EYE")),
        ("left_eye_left_corner", "right_eye_right_corner"),
    ],
)
def test_the_sides_of_joints_are_known_by_their_names(left, right):
    skeleton = Skeleton("pair", (right, "nose", left))
    assert skeleton.mirrored == [2, 1, 0]
    assert skeleton.sides == [(right, left)]
    assert skeleton.one_sided == []
    assert Skeleton("half", ("nose", left, "leg")).one_sided == [left]
    assert Skeleton("half", ("nose", right, "leg")).one_sided == [right]


def test_names_without_a_side_are_left_alone():
    joints = ("upright", "cleft", "bright", "L1", "R1", "lip", "rib", "LH", "Rib", "tail", "ear")
    skeleton = Skeleton("none", joints)
    assert (skeleton.sides, skeleton.one_sided) == ([], [])
    assert Skeleton("mixed", ("left_eye", "eye_right")).one_sided == ["left_eye", "eye_right"]


def test_skeletons_are_checked():
    with pytest.raises(ValueError, match="no tail"):
        Skeleton("cat", ("head",), (("head", "tail"),))


@pytest.mark.parametrize("known", [LSP, COCO, DHP19], ids=lambda known: known.name)
def test_one_joint_more_or_less_keeps_the_limbs_between_the_others(known):
    assert skeleton_of(known.joints) == known
    more = skeleton_of((*known.joints, "tail"))
    assert (more.name, more.limbs) == ("joints", known.limbs)
    assert (more.torso, more.head) == (known.torso, known.head)
    less = skeleton_of([name for name in known.joints if name != "left_wrist"])
    assert less.limbs == tuple(limb for limb in known.limbs if "left_wrist" not in limb)
    assert skeleton_of(["nose", "left_shoulder"]).torso is None


def test_a_drawing_changes_pixels_at_the_joints_only_where_they_are_sure():
    picture = np.zeros((100, 100, 3), np.uint8)
    joints = np.zeros((14, 3))
    joints[:, :2] = 50
    joints[0] = (20, 30, 0.9)
    drawn = draw_skeleton(picture, joints, LSP)
    assert drawn[30, 20].any()
    assert not drawn[50, 50].any()


@pytest.mark.slow
def test_joints_are_found_in_pixels_of_the_picture_by_every_file(tmp_path):
    from converters.onnx.conversion import to_onnx
    from converters.tflite.conversion import to_tflite

    model = _network("simcc")
    model.save(tmp_path / "joints.keras")
    names = list(LSP.joints)
    to_tflite(model, tmp_path / "joints.tflite", class_names=names)
    to_onnx(model, tmp_path / "joints.onnx", class_names=names)
    picture = np.random.default_rng(0).integers(0, 255, (90, 150, 3)).astype(np.uint8)
    expected = load_finder(tmp_path / "joints.keras").find(picture, (30, 20, 60, 50))
    # The region is a square of 1.25 * 60 pixels around the box's middle.
    assert (np.abs(expected[:, 0] - 60) <= 38).all()
    assert (np.abs(expected[:, 1] - 45) <= 38).all()
    for name in ("joints.tflite", "joints.onnx"):
        finder = load_finder(tmp_path / name)
        assert finder.skeleton == LSP
        np.testing.assert_allclose(finder.find(picture, (30, 20, 60, 50)), expected, atol=0.01)


@pytest.mark.parametrize("shape", [(105, 157), (368, 349), (40, 300), (1, 7), (64, 64)])
def test_a_whole_picture_is_fitted_by_pillow_as_in_a_graph(shape):
    picture = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    expected = np.asarray(fit_whole(picture, (64, 96)))
    found = fit_picture(picture, (64, 96))
    assert np.abs(found - expected).max() <= 1  # Pillow rounds between its two passes
    assert np.mean(found != expected) < 0.05


@pytest.mark.slow
def test_maps_of_odd_sides_are_joined_in_onnx_too(tmp_path):
    from converters.onnx.conversion import to_onnx

    # Its maps have 10, 5 and 3 cells on a side, and 3 * (10 / 3) is 9 in float32, rounded down.
    backbone = levit_tf.LeViT("LeViTMini", include_top=False, input_shape=80)
    model = keypoint_network(backbone, LSP)
    randomize_keras(logits_of(model))
    assert to_onnx(model, tmp_path / "joints.onnx") <= 1e-4


@pytest.mark.slow
def test_the_command_prints_and_draws_the_joints(tmp_path, run_command):
    from PIL import Image

    _network("simcc").save(tmp_path / "joints.keras")
    Image.new("RGB", (80, 60)).save(tmp_path / "photo.jpg")
    model = f"--model={tmp_path}/joints.keras"
    done = run_command(
        "levit_tf.keypoints", model, f"--output={tmp_path}/drawn", str(tmp_path / "photo.jpg")
    )
    assert done.returncode == 0
    assert "right_ankle" in done.stdout
    with Image.open(tmp_path / "drawn" / "photo-joints.png") as drawn:
        assert drawn.size == (80, 60)
    photo = str(tmp_path / "photo.jpg")
    done = run_command("levit_tf.keypoints", model, "--box=90,0,5,5", photo)
    assert (done.returncode, "which has 80x60" in done.stderr) == (1, True)
    done = run_command("levit_tf.keypoints", model, "--box=1,2,3", photo)
    assert (done.returncode, "--box: expected LEFT" in done.stderr) == (1, True)
    done = run_command("levit_tf.keypoints", model, str(tmp_path / "none.jpg"))
    assert (done.returncode, "no such file" in done.stderr) == (1, True)
