"""Data sets of joints are read as they were written, and augmentation moves joints with pixels."""

import dataclasses
import json
import re

import h5py
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from levit_tf.keypoints.skeletons import COCO, DHP19, LSP
from levit_tf.preprocessing import denormalize
from training.keypoints.augment import Ranges, moved
from training.keypoints.evaluation import in_pictures, inputs_of
from training.keypoints.people import Person, cut_out, fingerprints
from training.keypoints.sources import load_joint_set

COUNT = 20
NOTHING = Ranges(rotation=0.0, scale=(1.0, 1.0), shift=0.0, flip=0.0, brightness=0.0)


def _pictures(folder, count=COUNT, size=(60, 80)):
    folder.mkdir(parents=True, exist_ok=True)
    for n in range(count):
        Image.new("RGB", size[::-1], (n, 100, 100)).save(folder / f"im{n + 1:05d}.jpg")


def _joints(count, joints=14, seed=0):
    rng = np.random.default_rng(seed)
    found = np.ones((count, joints, 3))
    found[..., 0] = rng.uniform(5, 75, (count, joints))
    found[..., 1] = rng.uniform(5, 55, (count, joints))
    return found


def _write_mat(folder, array):
    import scipy.io

    scipy.io.savemat(folder / "joints.mat", {"joints": array})


@pytest.mark.parametrize("order", [(1, 2, 0), (2, 1, 0)], ids=["LSPET", "LSP"])
def test_both_layouts_of_lsp_are_read(order, tmp_path):
    joints = _joints(COUNT)
    if order == (2, 1, 0):
        joints[..., 2] = 0  # which says there that a joint can be seen
    _pictures(tmp_path / "images")
    _write_mat(tmp_path, joints.transpose(order))
    data = load_joint_set(f"lsp:{tmp_path}")
    assert [len(part) for part in (data.train, data.validation, data.test)] == [16, 2, 2]
    np.testing.assert_allclose(data.train[3].joints[:, :2], joints[3, :, :2])
    assert (data.train[3].joints[:, 2] == 1).all()
    assert data.train[3].source.endswith("im00004.jpg")


def test_the_fixed_split_of_lspet_has_no_picture_twice():
    from training.keypoints.lsp import SPLIT

    split = json.loads(SPLIT.read_text())
    validation, test = set(split["validation"]), set(split["test"])
    assert len(validation) == len(test) == 1000
    assert not validation & test
    assert min(validation | test) >= 0
    assert max(validation | test) < 10000


def test_people_who_cannot_be_used_are_skipped_and_named(tmp_path):
    joints = _joints(COUNT)
    joints[2, 5, 0] = np.nan
    joints[4, :, 2] = 0
    joints[6, 5] = (np.nan, np.nan, 0)  # not labelled, so it may be anything
    _pictures(tmp_path / "images")
    _write_mat(tmp_path, joints.transpose(1, 2, 0))
    data = load_joint_set(f"lsp:{tmp_path}")
    assert len(data.train) == 14
    assert "im00003.jpg: a labelled joint is not a number" in data.skipped[0]
    assert "im00005.jpg: no joint is labelled" in data.skipped[1]


def test_labels_and_pictures_of_other_numbers_are_refused(tmp_path):
    _pictures(tmp_path / "images", COUNT - 1)
    _write_mat(tmp_path, _joints(COUNT).transpose(1, 2, 0))
    with pytest.raises(ValueError, match="labels of 20 people, but 19 pictures"):
        load_joint_set(f"lsp:{tmp_path}")
    _write_mat(tmp_path, _joints(COUNT, 13).transpose(1, 2, 0))
    with pytest.raises(ValueError, match="expected joints of shape"):
        load_joint_set(f"lsp:{tmp_path}")


def _coco(folder, joints_of, box=lambda n: [1, 2, 30, 40], **category):
    _pictures(folder / "images")
    content = {
        "images": [{"id": n, "file_name": f"im{n + 1:05d}.jpg"} for n in range(COUNT)],
        "annotations": [
            {"image_id": n, "keypoints": joints_of(n), "bbox": box(n)} for n in range(COUNT)
        ],
        "categories": [{"name": "person", "keypoints": list(COCO.joints), **category}],
    }
    (folder / "people.json").write_text(json.dumps(content))
    return f"coco:{folder / 'people.json'}"


def test_coco_is_read_with_boxes_and_its_pixels(tmp_path):
    data = load_joint_set(_coco(tmp_path, lambda n: [10, 20, 2, 5, 6, 1, *[0] * 45]))
    person = data.train[0]
    assert person.box == (1, 2, 30, 40)
    np.testing.assert_array_equal(person.joints[:3], [(9.5, 19.5, 1), (4.5, 5.5, 1), (0, 0, 0)])
    assert len({p.source for part in (data.train, data.validation, data.test) for p in part}) == 20


def test_coco_of_another_number_of_joints_is_named(tmp_path):
    with pytest.raises(ValueError, match="16 joints, expected 17"):
        load_joint_set(_coco(tmp_path, lambda n: [1, 1, 2] * 16))


def test_coco_with_a_number_too_many_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"people\.json: annotation None: .* Found 52 keypoints"):
        load_joint_set(_coco(tmp_path, lambda n: [1, 1, 2] * 17 + [1]))


@pytest.mark.parametrize(
    "box",
    [[1, 2, 0, 40], [1, 2, 30, -4], [1, 2, float("inf"), 40], [1, None, 30, 40], [1, 2, 30], ["a"]],
    ids=str,
)
def test_people_whose_box_is_none_are_skipped_and_named(box, tmp_path):
    def box_of(n):
        return box if n == 3 else [1, 2, 30, 40]

    data = load_joint_set(_coco(tmp_path, lambda n: [10, 20, 2, 5, 6, 1] + [0] * 45, box_of))
    assert len(data.skipped) == 1
    text = ", ".join(map(str, box))
    assert data.skipped[0].endswith(
        f"im00004.jpg: the box is no left, top, width and height with a size: {text}"
    )


@pytest.mark.parametrize(
    ("skeleton", "limbs"),
    [
        ([], [("left_hip", "left_knee"), ("neck", "head_top")]),
        ([[1, 2]], [("neck", "head_top")]),
    ],
    ids=["without limbs", "with its own"],
)
def test_coco_of_other_joints_has_their_limbs_torso_and_head(skeleton, limbs, tmp_path):
    joints = ["neck", "head_top", "left_hip", "left_knee", "tail"]
    path = _coco(tmp_path, lambda n: [10, 20, 2] * 5, keypoints=joints, skeleton=skeleton)
    found = load_joint_set(path).skeleton
    assert found.name == "person"
    assert list(found.limbs) == limbs
    assert found.head == ("neck", "head_top")


@pytest.mark.parametrize("box", ["1,2,0,40", "1,2,30,-1", "1,2,inf,40"])
def test_the_line_of_a_table_whose_box_has_no_size_is_named(box, tmp_path):
    path = tmp_path / "joints.csv"
    lines = [f"im{n + 1:05d}.jpg,1,2,{box if n == 4 else '1,2,30,40'}" for n in range(COUNT)]
    path.write_text("\n".join(["file,eye_x,eye_y,left,top,width,height", *lines]))
    with pytest.raises(ValueError, match=r"joints\.csv, line 6: left, top, width, height are four"):
        load_joint_set(f"csv:{path}")
    path.write_text(path.read_text().replace(f"{box}\n", ",,,\n"))
    assert not load_joint_set(f"csv:{path}").skipped


def test_a_line_of_a_table_with_a_part_of_a_box_is_skipped_and_named(tmp_path):
    path = tmp_path / "joints.csv"
    lines = [f"im{n + 1:05d}.jpg,1,2,{'1,2,30,' if n == 4 else '1,2,30,40'}" for n in range(COUNT)]
    path.write_text("\n".join(["file,eye_x,eye_y,left,top,width,height", *lines]))
    (skipped,) = load_joint_set(f"csv:{path}").skipped
    assert re.search(
        r"im00005\.jpg: the box is no left, top, width and height .*30.0, nan", skipped
    )


def test_a_table_is_read_and_its_faults_are_named(tmp_path):
    _pictures(tmp_path)
    lines = [f"im{n + 1:05d}.jpg,{n + 1},2.5,," for n in range(COUNT)]
    path = tmp_path / "joints.csv"
    path.write_text("\n".join(["file,left_eye_x,left_eye_y,right_eye_x,right_eye_y", *lines]))
    data = load_joint_set(f"csv:{path}")
    assert data.skeleton.joints == ("left_eye", "right_eye")
    assert data.skeleton.mirrored == [1, 0]
    assert data.train[0].joints[0, 1:].tolist() == [2.5, 1]
    assert not data.train[0].joints[1].any()
    path.write_text(path.read_text().replace("im00002.jpg,2,2.5", "im00002.jpg,2,"))
    with pytest.raises(ValueError, match="line 3: left_eye has one coordinate of two"):
        load_joint_set(f"csv:{path}")
    path.write_text("file,a_x\nx.jpg,1\n")
    with pytest.raises(ValueError, match="Missing: a_y"):
        load_joint_set(f"csv:{path}")


def _dhp19(folder, frames=2):
    rng = np.random.default_rng(0)
    (folder / "P_matrices").mkdir()
    for camera in range(1, 5):
        projection = np.array([[100.0, 0, 0, 173], [0, 100, 0, 130], [0, 0, 0, 1]])
        projection[0, 3] += camera
        np.save(folder / "P_matrices" / f"P{camera}.npy", projection)
    points = rng.uniform(-1, 1, (frames, 3, 13))
    for subject in (*range(1, 13), 13):
        name = f"S{subject}_session1_mov1_7500events"
        with h5py.File(folder / f"{name}.h5", "w") as file:
            events = np.zeros((frames, 260, 346, 4), np.uint8)
            events[..., :] = [40, 10, 30, 20]  # of cameras 4, 1, 3, 2
            file["DVS"] = events
        with h5py.File(folder / f"{name}_label.h5", "w") as file:
            file["XYZ"] = points
    return points


def test_dhp19_is_split_by_subject_and_projected_by_camera(tmp_path):
    points = _dhp19(tmp_path)
    data = load_joint_set(f"dhp19:{tmp_path}")
    assert (len(data.train), len(data.validation), len(data.test)) == (11 * 4, 4, 4)
    assert "S13_" in data.test[0].source
    cameras = {p.source[-1]: p for p in data.train}
    for camera in (2, 3):
        person = cameras[str(camera)]
        assert np.unique(person.read()).tolist() == [10 * camera]
        frame = int(person.source.split("frame ")[1].split()[0])
        expected = 173 + camera + 100 * points[frame, 0], 260 - (130 + 100 * points[frame, 1])
        np.testing.assert_allclose(person.joints[:, :2].T, expected, rtol=1e-6)
    crops, _ = cut_out(data.test, (64, 96))
    found = in_pictures(crops.joints - [16 + 8, 16, 0], crops, (64, 96))
    assert len(DHP19.joints) == found.shape[1]


def test_another_recording_is_another_picture(tmp_path):
    _dhp19(tmp_path)
    before = fingerprints(load_joint_set(f"dhp19:{tmp_path}").test)
    with h5py.File(tmp_path / "S13_session1_mov1_7500events.h5", "a") as file:
        file["more"] = np.zeros(1000)
    after = fingerprints(load_joint_set(f"dhp19:{tmp_path}").test)
    assert [name for name in before if before[name] != after[name]] == ["pictures"]


def test_dhp19_of_other_numbers_is_refused(tmp_path):
    _dhp19(tmp_path)
    with h5py.File(tmp_path / "S3_session1_mov1_7500events_label.h5", "w") as file:
        file["XYZ"] = np.zeros((3, 3, 13))
    with pytest.raises(ValueError, match=r"S3_session1.*expected XYZ of shape"):
        load_joint_set(f"dhp19:{tmp_path}")


def test_unknown_kinds_of_data_are_refused():
    for text in ("mpii:folder", "lsp", "lsp:"):
        with pytest.raises(ValueError, match="expected KIND:PATH"):
            load_joint_set(text)


def _marked(size=(120, 160)):
    """A black picture with a white square around each joint, which are far from each other."""
    picture = np.zeros((*size, 3), np.uint8)
    joints = np.zeros((14, 3))
    for n in range(4):
        x, y = 45 + 22 * n, (40, 75, 50, 85)[n]
        joints[n] = (x, y, 1)
        picture[y - 2 : y + 3, x - 2 : x + 3] = 255 - 40 * n
    return Person("marked", joints, (30, 30, 90, 65), lambda: picture)


def _centres(image, level):
    """The middle of what is about as bright as `level`."""
    grey = image.mean(axis=-1)
    ys, xs = np.nonzero(np.abs(grey - level) < 18)
    return np.array([xs.mean(), ys.mean()])


def test_what_is_cut_out_and_found_there_comes_back_to_its_place():
    person = _marked()
    crops, _ = cut_out([person], (64, 96))
    image = inputs_of(crops.pixels, (64, 96))[0]
    middles = np.array([_centres(image, 255 - 40 * n) for n in range(1)])
    found = np.zeros((1, 14, 3), np.float32)
    found[0, :1, :2] = middles
    places = in_pictures(found, crops, (64, 96))
    np.testing.assert_allclose(places[0, 0, :2], person.joints[0, :2], atol=1)


@pytest.mark.parametrize(
    "ranges",
    [
        NOTHING,
        Ranges(rotation=0, scale=(1, 1), shift=0, flip=1, brightness=0),
        Ranges(rotation=30, scale=(0.8, 1.2), shift=0.1, flip=0.5, brightness=0),
    ],
    ids=["nothing", "mirror", "all"],
)
def test_joints_move_with_their_pixels(ranges):
    crops, _ = cut_out([_marked()] * 6, (64, 96))
    images, joints = moved(
        tf.constant(crops.pixels),
        tf.constant(crops.joints),
        (64, 96),
        LSP,
        ranges,
        tf.constant([1, 2]),
    )
    images, joints = denormalize(images).numpy(), joints.numpy()
    seen = 0
    for image, found in zip(images, joints, strict=True):
        for n in (0, LSP.mirrored[0]):
            x, y, there = found[n]
            if not there or not (3 < x < 92 and 3 < y < 60):
                continue
            patch = image[round(y) - 1 : round(y) + 2, round(x) - 1 : round(x) + 2].mean()
            seen += 1
            assert patch > 150
    assert seen >= 4


def test_a_mirror_image_has_the_left_joint_where_the_right_one_was():
    crops, _ = cut_out([_marked()], (64, 96))
    mirror = Ranges(rotation=0, scale=(1, 1), shift=0, flip=1, brightness=0)
    plain, flipped = (
        moved(
            tf.constant(crops.pixels),
            tf.constant(crops.joints),
            (64, 96),
            LSP,
            ranges,
            tf.constant([1, 2]),
        )[1].numpy()[0]
        for ranges in (NOTHING, mirror)
    )
    here, there = LSP.joints.index("right_ankle"), LSP.joints.index("left_ankle")
    assert flipped[there, 2] == plain[here, 2] == 1
    np.testing.assert_allclose(flipped[there, 0], 95 - plain[here, 0], atol=1e-3)
    np.testing.assert_allclose(flipped[there, 1], plain[here, 1], atol=1e-3)


def test_joints_outside_of_their_picture_do_not_count():
    person = _marked()
    person.joints[1] = (1e6, 5, 1)
    crops, skipped = cut_out([person], (64, 96))
    assert crops.joints[0, :, 2].tolist() == [1, 0, 1, 1, *[0] * 10]
    assert not skipped
    person.joints[:, 0] = -50
    with pytest.raises(ValueError, match="marked: no labelled joint lies in its picture"):
        cut_out([person], (64, 96))


@pytest.mark.parametrize(
    ("box", "fault"),
    [
        ((500, 30, 90, 65), "lies outside of its picture"),
        (None, "joints in its picture are at one"),
    ],
)
def test_people_of_whom_no_region_can_be_cut_out_are_named(box, fault):
    person = _marked()
    person.joints[1:] = 0
    _, skipped = cut_out([person, dataclasses.replace(person, source="other", box=box)], (64, 96))
    (text,) = skipped
    assert text.startswith("other: ")
    assert fault in text
