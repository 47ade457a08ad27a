"""Teachers: every kind of file gives the logits of its network, and a misfit is refused."""

import subprocess
import sys
import textwrap

import keras
import numpy as np
import pytest
import tensorflow as tf
from safetensors.numpy import save_file

import levit_tf
from converters.to_pytorch import convert as to_pytorch_file
from converters.to_saved_model import to_saved_model
from levit_common.shipped_names import INPUT, LOGITS, PROBABILITIES, SIGNATURE
from levit_tf.teachers.regnet import REGNETY_TINY, RegNetY
from levit_tf.teachers.regnet_weights import pytorch_key
from levit_tf.weights.pytorch_names import Layout, to_pytorch
from tests.support.export_cases import CLASSES, make_model, relative_error
from tests.support.randomize import random_images
from training.teachers.teacher import find_teacher, load_teacher

SIZE = (32, 32)
IMAGES = random_images(SIZE, 4)


@pytest.fixture(scope="module")
def regnet():
    model = RegNetY(REGNETY_TINY, (None, None, 3), CLASSES)
    rng = np.random.default_rng(0)
    for weight in model.weights:
        low, high = (0.5, 1.5) if weight.path.endswith(("gamma", "variance")) else (-0.5, 0.5)
        weight.assign(rng.uniform(low, high, weight.shape))
    return model


@pytest.fixture(scope="module")
def levit():
    return make_model("both")


@pytest.fixture(scope="module")
def saved_model(levit, tmp_path_factory):
    path = tmp_path_factory.mktemp("teacher") / "saved_model"
    to_saved_model(levit, path)
    return path


def saved(model, folder):
    path = folder / "teacher.keras"
    model.save(path)
    return path


def saved_foreign(model, folder, input_range="normalized"):
    """A network of others, which does not say by itself what it takes."""
    return saved(levit_tf.with_properties(model, input_range=input_range), folder)


def state_dict(regnet):
    """The weights of a Keras RegNetY as timm would store them."""
    layouts = {4: Layout.CONV, 2: Layout.DENSE, 1: Layout.VECTOR}
    return {
        pytorch_key(w.path): to_pytorch(np.array(w), layouts[len(w.shape)], "timm")
        for w in regnet.weights
    }


def mean_logits(levit):
    heads = levit(IMAGES)
    return (heads["head"] + heads["head_dist"]) / 2


def assert_same_softmax(found, expected):
    """Equal up to a constant for each image, which no softmax sees."""
    found, expected = tf.nn.log_softmax(found), tf.nn.log_softmax(expected)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_saved_regnet_gives_its_logits(regnet, tmp_path):
    teacher = load_teacher(saved(regnet, tmp_path), SIZE, CLASSES)
    np.testing.assert_allclose(teacher(IMAGES), regnet(IMAGES), rtol=1e-5, atol=1e-6)


def test_a_regnet_checkpoint_is_converted_in_memory(regnet, tmp_path):
    save_file(state_dict(regnet), tmp_path / "teacher.safetensors")
    teacher = load_teacher(f"regnety_tiny:{tmp_path}/teacher.safetensors", SIZE, CLASSES)
    np.testing.assert_allclose(teacher(IMAGES), regnet(IMAGES), rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".keras", ".weights.h5"])
def test_a_regnet_saved_for_one_size_serves_another(regnet, tmp_path, suffix):
    fixed = RegNetY(REGNETY_TINY, (64, 96, 3), CLASSES)
    fixed.set_weights(regnet.get_weights())
    path = tmp_path / f"teacher{suffix}"
    fixed.save(path) if suffix == ".keras" else fixed.save_weights(path)
    teacher = load_teacher(f"regnety_tiny:{path}", SIZE, CLASSES)
    np.testing.assert_allclose(teacher(IMAGES), regnet(IMAGES), rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_the_two_heads_of_a_levit_are_averaged(levit, tmp_path):
    teacher = load_teacher(saved(levit, tmp_path), SIZE, CLASSES)
    np.testing.assert_allclose(teacher(IMAGES), mean_logits(levit), rtol=1e-6, atol=1e-6)


@pytest.mark.slow
def test_a_teacher_gets_what_it_takes(levit, tmp_path):
    pixels = keras.Input((*SIZE, 3))
    model = keras.Model(
        pixels, levit_tf.with_heads(levit, "single")(levit_tf.preprocess_input(pixels))
    )
    teacher = load_teacher(saved(model, tmp_path), SIZE, CLASSES)
    expected = levit_tf.with_heads(levit, "single", None)(IMAGES)
    assert_same_softmax(teacher(IMAGES), expected)


def test_a_teacher_that_does_not_say_what_it_takes_is_not_guessed_at(tmp_path):
    layers = [keras.layers.Flatten(), keras.layers.Dense(CLASSES)]
    model = keras.Sequential([keras.Input((*SIZE, 3)), *layers])
    with pytest.raises(ValueError, match=r"teacher\.keras: nothing in the model says"):
        load_teacher(saved(model, tmp_path), SIZE, CLASSES)


@pytest.mark.slow
def test_a_softmax_at_the_end_is_undone(levit, tmp_path):
    average = levit_tf.with_heads(levit, "average")
    teacher = load_teacher(saved(average, tmp_path), SIZE, CLASSES)
    assert_same_softmax(teacher(IMAGES), mean_logits(levit))


@pytest.mark.slow
def test_a_fused_levit_teaches_as_its_train_form(levit, tmp_path):
    fused = levit_tf.fuse(levit_tf.with_heads(levit, "average"))
    assert_same_softmax(
        load_teacher(saved(fused, tmp_path), SIZE, CLASSES)(IMAGES), mean_logits(levit)
    )


@pytest.mark.parametrize("activation", ["linear", "softmax"])
def test_any_keras_classifier_teaches(tmp_path, activation):
    layers = [keras.layers.Flatten(), keras.layers.Dense(CLASSES, activation=activation)]
    model = keras.Sequential([keras.Input((*SIZE, 3)), *layers])
    teacher = load_teacher(saved_foreign(model, tmp_path), SIZE, CLASSES)
    output = model(IMAGES)
    expected = output if activation == "linear" else tf.math.log(output)
    np.testing.assert_allclose(teacher(IMAGES), expected, rtol=1e-5)


def test_logits_that_look_like_probabilities_stay_as_they_are(tmp_path):
    inputs = keras.Input((*SIZE, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(inputs)
    logits = keras.layers.Dense(2, kernel_initializer="zeros", bias_initializer="ones")(pooled)
    logits = keras.layers.Rescaling(0.5)(logits)  # 0.5 and 0.5 for every image
    model = keras.Model(inputs, keras.layers.Activation("linear")(logits))
    teacher = load_teacher(saved_foreign(model, tmp_path), SIZE, 2)
    np.testing.assert_array_equal(teacher(IMAGES), np.full((4, 2), 0.5))


def test_probabilities_that_underflowed_stay_finite(tmp_path):
    inputs = keras.Input((*SIZE, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(inputs)
    scale = keras.initializers.Constant([[0, 1e4]] * 3)
    model = keras.Model(
        inputs, keras.layers.Dense(2, activation="softmax", kernel_initializer=scale)(pooled)
    )
    assert float(tf.reduce_min(model(IMAGES))) == 0
    assert np.isfinite(load_teacher(saved_foreign(model, tmp_path), SIZE, 2)(IMAGES)).all()


@pytest.mark.slow
def test_a_saved_model_gets_plain_rgb_and_gives_logits(levit, saved_model):
    teacher = load_teacher(saved_model, SIZE, CLASSES)
    assert relative_error(teacher(IMAGES).numpy(), mean_logits(levit).numpy()) < 1e-5


def test_a_saved_model_with_probabilities_alone_teaches_too(tmp_path):
    dense = keras.layers.Dense(CLASSES)
    logits = keras.Sequential([keras.Input((*SIZE, 3)), keras.layers.Flatten(), dense])
    archive = keras.export.ExportArchive()
    archive.track(logits)
    spec = keras.InputSpec(shape=(None, *SIZE, 3), dtype="float32", name=INPUT)
    archive.add_endpoint(
        SIGNATURE,
        lambda images: {
            PROBABILITIES: keras.ops.softmax(logits(levit_tf.preprocess_input(images)))
        },
        input_signature=[spec],
    )
    archive.write_out(str(tmp_path / "teacher"), verbose=False)
    assert_same_softmax(load_teacher(tmp_path / "teacher", SIZE, CLASSES)(IMAGES), logits(IMAGES))
    names = [f"class {number}" for number in range(CLASSES)]
    (tmp_path / "teacher" / "assets").mkdir(exist_ok=True)
    (tmp_path / "teacher" / "assets" / "labels.txt").write_text("\n".join(names))
    students = [(name,) for name in names[::-1]]
    named = load_teacher(tmp_path / "teacher", SIZE, CLASSES, class_names=students)
    assert_same_softmax(named(IMAGES), logits(IMAGES)[:, ::-1])


@pytest.mark.parametrize(
    ("kind", "jit_compile"),
    [
        ("regnet", False),
        ("saved_model", False),
        pytest.param("regnet", True, marks=pytest.mark.slow),
        pytest.param("levit", False, marks=pytest.mark.slow),
        pytest.param("levit", True, marks=pytest.mark.slow),
        pytest.param("saved_model", True, marks=pytest.mark.slow),
    ],
)
def test_it_is_the_same_inside_a_function_and_lets_no_gradient_through(
    kind, jit_compile, regnet, levit, saved_model, tmp_path
):
    path = saved_model
    if kind != "saved_model":
        path = saved({"regnet": regnet, "levit": levit}[kind], tmp_path)
    teacher = load_teacher(path, SIZE, CLASSES)

    @tf.function(jit_compile=jit_compile)
    def step(images):
        with tf.GradientTape() as tape:
            tape.watch(images)
            logits = teacher(images)
            loss = tf.reduce_sum(logits) + tf.reduce_sum(images)
        return logits, tape.gradient(loss, images)

    logits, gradient = step(tf.constant(IMAGES))
    np.testing.assert_allclose(logits, teacher(IMAGES), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(gradient, np.ones_like(IMAGES))


@pytest.mark.slow
def test_replicas_of_a_strategy_see_the_logits_of_one_device(regnet, saved_model, tmp_path):
    paths = [saved(regnet, tmp_path), saved_model]
    np.save(tmp_path / "images.npy", IMAGES)
    code = f"""
        import numpy as np, tensorflow as tf
        cpu = tf.config.list_physical_devices("CPU")[0]
        logical = tf.config.LogicalDeviceConfiguration
        tf.config.set_logical_device_configuration(cpu, [logical(), logical()])
        from training.teachers.teacher import find_teacher, load_teacher

        strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
        images = np.load({str(tmp_path / "images.npy")!r})
        halves = iter(strategy.experimental_distribute_dataset(
            tf.data.Dataset.from_tensors(images).unbatch().batch(len(images)).repeat()))
        for n, path in enumerate({[str(path) for path in paths]!r}):
            with strategy.scope():
                teacher = load_teacher(path, {SIZE}, {CLASSES})
            run = tf.function(lambda x: strategy.run(teacher, args=(x,)))
            found = tf.concat(strategy.experimental_local_results(run(next(halves))), 0)
            np.save({str(tmp_path)!r} + f"/{{n}}.npy", found)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True)
    for n, path in enumerate(paths):
        expected = load_teacher(path, SIZE, CLASSES)(IMAGES).numpy()
        found = np.load(tmp_path / f"{n}.npy")
        assert found.shape == expected.shape
        assert relative_error(found, expected) < 1e-5, path


def test_a_teacher_of_other_classes_is_refused(regnet, saved_model, tmp_path):
    path = saved(regnet, tmp_path)
    save_file(state_dict(regnet), tmp_path / "teacher.safetensors")
    for spec in (path, saved_model, f"regnety_tiny:{tmp_path}/teacher.safetensors"):
        with pytest.raises(ValueError, match=r"\(None, 7\); the student's .* \(None, 10\)"):
            load_teacher(spec, SIZE, 10)
    with pytest.raises(ValueError, match=r"head_fc/bias: \(7,\), the model needs \(10,\)"):
        load_teacher(f"regnety_tiny:{path}", SIZE, 10)


@pytest.mark.slow
def test_a_teacher_sees_images_in_its_own_size(levit, saved_model, tmp_path):
    larger = random_images((64, 48), 4)
    resized = tf.image.resize(larger, SIZE, "bicubic", antialias=True)
    expected = load_teacher(saved(levit, tmp_path), SIZE, CLASSES)(resized)
    for path in (saved(levit, tmp_path), saved_model):
        teacher = load_teacher(path, (64, 48), CLASSES)
        assert relative_error(teacher(larger).numpy(), expected.numpy()) < 1e-5
        assert any("resized to 32x32" in note for note in teacher.notes)


def test_a_teacher_of_other_channels_is_refused(levit, saved_model, tmp_path):
    for path in (saved(levit, tmp_path), saved_model):
        with pytest.raises(ValueError, match=r"the student's are \(None, 32, 32, 1\)"):
            load_teacher(path, SIZE, CLASSES, channels=1)


def test_a_network_without_its_classifier_is_refused(tmp_path):
    features = levit_tf.LeViT("LeViTTiny", include_top=False)
    with pytest.raises(ValueError, match=r"(last layer, 'stages_2', must|output of shape)"):
        load_teacher(saved(features, tmp_path), SIZE, CLASSES)


def test_another_activation_is_refused(tmp_path):
    dense = keras.layers.Dense(CLASSES, activation="sigmoid")
    model = keras.Sequential([keras.Input((*SIZE, 3)), keras.layers.Flatten(), dense])
    with pytest.raises(ValueError, match=r"activation softmax .* or linear .* Found: sigmoid"):
        load_teacher(saved_foreign(model, tmp_path), SIZE, CLASSES)


def test_a_saved_model_of_a_fixed_batch_or_another_signature_is_refused(tmp_path):
    class Plain(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec((2, *SIZE, 3), tf.float32, INPUT)])
        def __call__(self, images):
            return {LOGITS: tf.zeros((2, CLASSES)) + images[0, 0, 0, 0]}

    module = Plain()
    tf.saved_model.save(module, str(tmp_path / "fixed"), signatures={SIGNATURE: module.__call__})
    with pytest.raises(ValueError, match=r"fixed: takes batches of 2 images only"):
        load_teacher(tmp_path / "fixed", SIZE, CLASSES)
    tf.saved_model.save(module, str(tmp_path / "other"), signatures={"other": module.__call__})
    with pytest.raises(
        ValueError, match=r"other: expected a signature 'serving_default'.*'other': \['images'\]"
    ):
        load_teacher(tmp_path / "other", SIZE, CLASSES)


def test_the_folder_of_a_run_is_the_network_of_the_run(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ValueError, match="the folder of a run that is not finished"):
        find_teacher(tmp_path)
    (tmp_path / "final.keras").write_bytes(b"")
    assert find_teacher(tmp_path) == str(tmp_path / "final.keras")


def test_files_that_are_no_teacher_are_named(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"'nowhere.keras': no such file. Expected a .keras"
    ):
        load_teacher("nowhere.keras", SIZE, CLASSES)
    with pytest.raises(FileNotFoundError, match=r"'resnet:x.pth': no such file.*regnety_160"):
        load_teacher("resnet:x.pth", SIZE, CLASSES)
    for name, message in (
        ("text.keras", r"text.keras: truncated, or not a .keras file"),
        ("text.onnx", r"text.onnx: "),
        ("text.txt", r"text.txt: not a kind of file that is known. Expected a .keras"),
        ("text.pth", r"text.pth: a text file"),
    ):
        (tmp_path / name).write_text("hello")
        with pytest.raises(ValueError, match=message):
            load_teacher(tmp_path / name, SIZE, CLASSES)
    with pytest.raises(ValueError, match=r"a directory without saved_model.pb"):
        load_teacher(tmp_path, SIZE, CLASSES)
    with pytest.raises(FileNotFoundError, match="the weights of a variant, save its network"):
        load_teacher("LeViTMini", SIZE, CLASSES)


def test_a_checkpoint_of_a_levit_is_told_how_to_become_a_teacher(levit, tmp_path):
    levit.save(tmp_path / "levit.keras")
    path = tmp_path / "levit of mine.safetensors"
    to_pytorch_file(tmp_path / "levit.keras", path, "timm")
    with pytest.raises(ValueError, match=r"a checkpoint of a LeViT\. python -m") as error:
        load_teacher(path, SIZE, CLASSES)
    assert f"from_pytorch --checkpoint='{path}' --output=FILE.keras" in str(error.value)


def test_a_checkpoint_of_another_network_is_not_listed_as_a_whole(tmp_path):
    arrays = {f"layer.{n}.weight": np.zeros(3, np.float32) for n in range(50)}
    save_file(arrays, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match=r"probably another network\. Of .* 0 are") as error:
        load_teacher(tmp_path / "other.safetensors", SIZE, CLASSES)
    assert len(str(error.value)) < 500


@pytest.mark.slow
def test_a_checkpoint_without_a_name_is_read_as_regnety_160(regnet, tmp_path):
    save_file(state_dict(regnet), tmp_path / "teacher.safetensors")
    with pytest.raises(ValueError, match=r"teacher.safetensors does not fit regnety_160"):
        load_teacher(tmp_path / "teacher.safetensors", SIZE, CLASSES)
