"""One interface classifies with every file that is shipped; what cannot be read is refused."""

import functools
import zipfile

import keras
import numpy as np
import pytest

import levit_tf
from levit_common.arrays import luma
from levit_common.regular_files import ModelFileError
from levit_common.shipped_names import INPUT, LOGITS, PROBABILITIES, SIGNATURE
from levit_lite.class_names import imagenet_class_names
from levit_lite.prediction.predictor import BATCH_SIZE
from levit_tf.prediction.predictor import load_predictor
from levit_tf.preprocessing import IMAGENET_MEAN, IMAGENET_STD, preprocess_input
from tests.support.cases import slow
from tests.support.export_cases import answers
from tests.support.randomize import random_images

tf = pytest.importorskip("tensorflow")
pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="makes the SavedModels that it reads"
)

SIZE = (32, 48)
CLASSES = 7


def pictures():
    """uint8 RGB."""
    pixels = random_images(SIZE, 5, seed=7) * IMAGENET_STD + IMAGENET_MEAN
    return (255 * pixels).clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def images():
    return pictures()


def linear(*last):
    """The smallest network: where only what is around it is tested."""
    dense = keras.layers.Dense(CLASSES)
    parts = [keras.Input((*SIZE, 3)), keras.layers.Flatten(), dense, *last]
    return levit_tf.with_properties(keras.Sequential(parts), input_range="normalized")


def build(heads="average", activation=None, **options):
    keras.utils.set_random_seed(0)
    model = levit_tf.LeViT(
        "LeViTTiny",
        input_shape=(*SIZE, 3),
        classes=CLASSES,
        heads=heads,
        classifier_activation=activation,
        **options,
    )
    # Weights for which probabilities lie well between 0 and 1 and differ between pictures, and
    # rounding errors stay small: `randomize_keras` magnifies them in a network as small as this.
    rng = np.random.default_rng(0)
    for weight in model.weights:
        if weight.path.endswith(("gamma", "attention_biases")):
            weight.assign(rng.uniform(1, 2, weight.shape))
    features = keras.Model(model.input, model.get_layer("pre_logits").output)
    pooled = answers(features, preprocess_input(pictures()))
    classifier = model.get_layer("classifier")
    for head in (classifier.head, classifier.head_dist):
        head.bn.moving_mean.assign(pooled.mean(axis=0))
        head.bn.moving_variance.assign(pooled.var(axis=0))
        head.linear.kernel.assign(rng.normal(0, 0.2, head.linear.kernel.shape))
    return model


shared = functools.cache(build)  # not to be changed


@pytest.fixture(scope="module")
def model():
    """Train form, logits."""
    return shared()


@pytest.fixture(scope="module")
def expected(model, images):
    """Probabilities of the images, by the definition."""
    logits = answers(model, preprocess_input(images))
    probabilities = keras.ops.convert_to_numpy(keras.ops.softmax(logits))
    # They differ between images and classes, or nothing would be tested.
    assert np.ptp(probabilities, axis=0).max() > 0.1
    assert 0.01 < probabilities.max(axis=1).min() < 0.9
    return probabilities


def export(model, path, batch=None, inputs=INPUT, outputs=(LOGITS, PROBABILITIES)):
    """Writes a SavedModel of plain RGB with the given names."""

    def serve(pixels):
        logits = model(preprocess_input(pixels), training=False)
        values = {LOGITS: logits, PROBABILITIES: tf.nn.softmax(logits), "other": logits}
        return {name: values[name] for name in outputs}

    module = tf.Module()
    module.saved = [variable.value for variable in model.variables]
    specs = [tf.TensorSpec([batch, *SIZE, 3], tf.float32, name=inputs)]
    function = tf.function(serve, input_signature=specs, autograph=False)
    tf.saved_model.save(module, str(path), signatures={SIGNATURE: function})
    return path


def convert(saved_model, path, images=None, dtype=None):
    """Writes a `.tflite` file; with `images` in full int8 with an input and output of `dtype`."""
    converter = tf.lite.TFLiteConverter.from_saved_model(str(saved_model))
    if images is not None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: (
            {INPUT: image[None].astype(np.float32)} for image in images
        )
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = dtype
    path.write_bytes(converter.convert())
    return path


@pytest.fixture(scope="module")
def saved_model(model, tmp_path_factory):
    """SavedModel of the deploy form for any batch."""
    return export(levit_tf.fuse(model), tmp_path_factory.mktemp("export") / "saved_model")


@pytest.fixture(scope="module")
def single_image_saved_model(model, tmp_path_factory):
    """SavedModel of the deploy form for batches of one."""
    path = tmp_path_factory.mktemp("single") / "saved_model"
    return export(levit_tf.fuse(model), path, batch=1)


@pytest.fixture(scope="module")
def tflite(single_image_saved_model, tmp_path_factory):
    return convert(single_image_saved_model, tmp_path_factory.mktemp("tflite") / "levit.tflite")


def check(predictor, images, expected, tolerance=1e-4):
    assert predictor.input_size == SIZE
    assert predictor.classes == CLASSES
    assert predictor.class_names == [f"class {n}" for n in range(CLASSES)]
    for batch in (images, images.astype(np.float64), images[:1]):
        probabilities = predictor.predict(batch)
        assert probabilities.dtype == np.float32
        np.testing.assert_allclose(probabilities, expected[: len(batch)], atol=tolerance)


@pytest.mark.parametrize(
    ("activation", "form"),
    [(None, "train"), slow("softmax", "deploy"), slow(None, "deploy"), slow("softmax", "train")],
)
def test_keras_files_give_probabilities_from_logits_or_softmax(
    images, expected, tmp_path, form, activation
):
    with_activation = shared(activation=activation)
    if form == "deploy":
        with_activation = levit_tf.fuse(with_activation)
    with_activation.save(tmp_path / "levit.keras")
    check(load_predictor(tmp_path / "levit.keras"), images, expected)


def test_logits_that_look_like_probabilities_are_still_logits(images, tmp_path):
    constant = linear()
    kernel, bias = constant.get_weights()
    constant.set_weights([np.zeros_like(kernel), np.eye(CLASSES)[2]])
    assert bias.shape == (CLASSES,)
    constant.save(tmp_path / "levit.keras")
    probabilities = load_predictor(tmp_path / "levit.keras").predict(images[:1])
    np.testing.assert_allclose(probabilities[0, 2], np.e / (np.e + CLASSES - 1), rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["train", slow("deploy")])
def test_the_logits_of_two_heads_are_averaged(images, expected, tmp_path, form):
    both = shared(heads="both")
    if form == "deploy":
        both = levit_tf.fuse(both)
    both.save(tmp_path / "levit.keras")
    check(load_predictor(str(tmp_path / "levit.keras")), images, expected)


@pytest.mark.parametrize(
    "last",
    [
        lambda: keras.layers.Dense(CLASSES, activation="softmax"),
        lambda: keras.layers.Softmax(),
        lambda: keras.layers.Activation("softmax"),
        lambda: keras.Sequential([keras.layers.Dense(CLASSES), keras.layers.Softmax()]),
    ],
)
def test_every_way_to_end_in_softmax_is_recognised(images, tmp_path, last):
    network = linear(last())
    network.save(tmp_path / "other.keras")
    expected = answers(network, preprocess_input(images))
    check(load_predictor(tmp_path / "other.keras"), images, expected)


@pytest.mark.slow
def test_saved_models_are_read(saved_model, single_image_saved_model, images, expected):
    check(load_predictor(saved_model), images, expected)
    check(load_predictor(single_image_saved_model), images, expected)


def test_tflite_files_are_read(tflite, images, expected):
    check(load_predictor(tflite), images, expected)


# TensorFlow's own calibration still uses the interpreter that it warns of.
@pytest.mark.filterwarnings(r"ignore:\s*Warning. tf.lite.Interpreter is deprecated:UserWarning")
@pytest.mark.parametrize("dtype", [tf.uint8, slow(tf.int8)])
def test_quantised_inputs_and_outputs_are_scaled(images, tmp_path, dtype):
    network = linear()
    path = convert(
        export(network, tmp_path / "saved_model", batch=1), tmp_path / "int8.tflite", images, dtype
    )
    logits = answers(network, preprocess_input(images))
    expected = keras.ops.convert_to_numpy(keras.ops.softmax(logits))
    check(load_predictor(path), images, expected, tolerance=0.05)


def test_logits_alone_are_enough(images, tmp_path):
    network = linear()
    path = export(network, tmp_path / "logits", outputs=[LOGITS])
    logits = answers(network, preprocess_input(images))
    check(load_predictor(path), images, keras.ops.convert_to_numpy(keras.ops.softmax(logits)))


def test_more_images_than_a_batch_and_none_at_all(tmp_path):
    network = linear()
    network.save(tmp_path / "linear.keras")
    many = np.random.default_rng(1).integers(0, 256, (BATCH_SIZE + 3, *SIZE, 3))
    for path in (tmp_path / "linear.keras", export(network, tmp_path / "three", batch=3)):
        predictor = load_predictor(path)
        whole = predictor.predict(many)
        one_by_one = [predictor.predict(image[None])[0] for image in many]
        np.testing.assert_allclose(whole, one_by_one, atol=1e-5)
        assert predictor.predict(many[:0]).shape == (0, CLASSES)


def test_a_variant_stands_for_its_released_weights(monkeypatch):
    asked = {}

    def fake_levit(variant, weights):
        asked.update(variant=variant.name, weights=weights)
        return levit_tf.LeViT("LeViTNano")

    monkeypatch.setattr("levit_tf.applications.LeViT", fake_levit)
    predictor = load_predictor("levit_256")
    assert asked == {"variant": "LeViT256", "weights": "imagenet"}
    assert predictor.input_size == (64, 64)
    assert predictor.class_names == imagenet_class_names()


def test_an_input_range_that_contradicts_the_packaged_weights_is_refused():
    with pytest.raises(ValueError, match=r"LeViTMini: .*pixels"):
        load_predictor("LeViTMini", input_range="pixels")


class TestClassNames:
    names = tuple(f"name {n}" for n in range(CLASSES))

    def test_labels_beside_or_in_the_model_are_found(self, saved_model, tflite, tmp_path):
        labels = "\n".join(self.names)
        linear().save(tmp_path / "levit.keras")
        for path, folder in (
            (tmp_path / "levit.keras", tmp_path),
            (tflite, tflite.parent),
            (saved_model, saved_model),
            (saved_model, saved_model.parent),
        ):
            (folder / "labels.txt").write_text(labels)
            try:
                assert load_predictor(path).class_names == list(self.names)
            finally:
                (folder / "labels.txt").unlink()

    def test_labels_beside_a_network_with_names_of_its_own(self, tmp_path):
        own = levit_tf.with_properties(linear(), class_names=self.names)
        own.save(tmp_path / "levit.keras")
        beside = tmp_path / "labels.txt"
        for of_others in ("a\nb", "\n".join(self.names)):  # another network's; the same names
            beside.write_text(of_others)
            assert load_predictor(tmp_path / "levit.keras").class_names == list(self.names)
        beside.write_text("\n".join(["dog", *self.names[1:]]))
        with pytest.raises(ValueError, match=r"labels.txt: class 0 is 'dog', and 'name 0' in"):
            load_predictor(tmp_path / "levit.keras")
        assert load_predictor(tmp_path / "levit.keras", beside).class_names[0] == "dog"

    def test_given_names_come_first(self, tflite, tmp_path):
        (tmp_path / "mine.txt").write_text("\n".join(self.names))
        for given in (self.names, tmp_path / "mine.txt", str(tmp_path / "mine.txt")):
            assert load_predictor(tflite, given).class_names == list(self.names)

    def test_another_number_of_names_is_refused(self, tflite, tmp_path):
        with pytest.raises(ValueError, match="class_names: 2 class names for a model of 7 classes"):
            load_predictor(tflite, ["a", "b"])
        linear().save(tmp_path / "levit.keras")
        (tmp_path / "labels.txt").write_text("a\nb\nc")
        with pytest.raises(ValueError, match=r"labels.txt: 3 class names for a model of 7 classes"):
            load_predictor(tmp_path / "levit.keras")


@pytest.mark.parametrize("shape", [(1, 48, 32, 3), (*SIZE, 3), (1, *SIZE, 1)])
def test_images_of_another_shape_are_refused(tflite, shape):
    with pytest.raises(ValueError, match=r"images of shape \(n, 32, 48, 3\). Received: shape \("):
        load_predictor(tflite).predict(np.zeros(shape))


@pytest.mark.parametrize("name", ["nothing", "levit256.keras", "runs/LeViT256", "LeViT_999", ""])
def test_neither_a_file_nor_a_variant(name):
    with pytest.raises((ModelFileError, ValueError), match=r"LeViT256|not a model|saved_model.pb"):
        load_predictor(name)


def test_files_that_are_no_models_are_refused_by_name(model, tflite, tmp_path):
    model.save(tmp_path / "whole.keras")
    whole = (tmp_path / "whole.keras").read_bytes()
    with zipfile.ZipFile(tmp_path / "archive.keras", "w") as archive:
        archive.writestr("readme", "a zip archive of something else")
    flatbuffer = tflite.read_bytes()
    bad = {
        "archive.keras": (
            (tmp_path / "archive.keras").read_bytes(),
            "not a .keras file",
        ),
        "half.keras": (whole[: len(whole) // 2], "truncated, or not a .keras file"),
        "text.keras": (b"no model", "truncated, or not a .keras file"),
        "empty.keras": (b"", "truncated, or not a .keras file"),
        "text.tflite": (b"no model" * 100, "cannot be loaded as a TFLite file"),
        "half.tflite": (flatbuffer[: len(flatbuffer) // 2], "cannot be loaded as a TFLite file"),
        "empty.tflite": (b"", "cannot be loaded as a TFLite file"),
        "levit.pth": (b"PK", "not a model that can be read. Expected a .keras file, a .tflite"),
    }
    for name, (content, reason) in bad.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ModelFileError, match=f"{name}: {reason}"):
            load_predictor(tmp_path / name)


def test_directories_that_are_no_saved_models_are_refused(saved_model, tmp_path):
    with pytest.raises(ModelFileError, match=r"without saved_model.pb, so no SavedModel"):
        load_predictor(tmp_path)
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "saved_model.pb").write_bytes((saved_model / "saved_model.pb").read_bytes()[:1000])
    with pytest.raises(ModelFileError, match="broken: cannot be loaded as a SavedModel"):
        load_predictor(broken)


def test_models_of_other_tools_are_refused_with_what_they_have(tmp_path):
    small = linear()
    other_input = export(small, tmp_path / "input", inputs="x")
    with pytest.raises(ModelFileError, match=r"input 'images'.*'serving_default': \['x'\] -> \["):
        load_predictor(other_input)
    other_output = convert(export(small, tmp_path / "o", outputs=["other"]), tmp_path / "o.tflite")
    with pytest.raises(ModelFileError, match=r"o.tflite: expected a classifier.* Found: other"):
        load_predictor(other_output)
    double = tf.function(lambda x: {"y": 2 * x}, input_signature=[tf.TensorSpec([1], name="x")])
    tf.saved_model.save(tf.Module(), tmp_path / "name", signatures={"predict": double})
    with pytest.raises(
        ModelFileError, match=r"signature 'serving_default'.*'predict': \['x'\] -> \['y'\]"
    ):
        load_predictor(tmp_path / "name")


def linear_of_channels(channels):
    dense = keras.layers.Dense(CLASSES, "softmax")
    model = keras.Sequential([keras.Input((*SIZE, channels)), keras.layers.Flatten(), dense])
    return levit_tf.with_properties(model, input_range="unit")


def test_networks_of_two_channels_are_refused(tmp_path):
    linear_of_channels(2).save(tmp_path / "two.keras")
    with pytest.raises(ModelFileError, match=r"two\.keras: takes 2 channels"):
        load_predictor(tmp_path / "two.keras")


def test_a_network_of_one_channel_gets_the_brightness(images, tmp_path):
    model = linear_of_channels(1)
    model.save(tmp_path / "grey.keras")
    predictor = load_predictor(tmp_path / "grey.keras")
    grey = luma(images)
    expected = model(grey / 255, training=False)
    for given in (images, grey):
        np.testing.assert_allclose(predictor.predict(given), expected, atol=1e-5)


def keras_models_that_do_not_classify():
    image = keras.Input((*SIZE, 3))
    flat = keras.layers.Flatten()(image)
    grey = keras.Input((*SIZE, 1))
    no_classifier = "expected a classifier, .* Found: {}"
    return {
        "features": (
            levit_tf.LeViT("LeViTTiny", include_top=False),
            no_classifier.format("stages_2"),
        ),
        "pooled": (
            keras.Model(image, keras.layers.GlobalAveragePooling2D()(image)),
            no_classifier.format("global_average_pooling2d"),
        ),
        "two": (
            keras.Model([image, grey], keras.layers.Concatenate()([image, grey])),
            "expected one input",
        ),
        "list": (keras.Model(image, [flat, flat]), no_classifier.format("flatten")),
        "maps": (keras.Model(image, {"a": flat, "b": flat}), no_classifier.format("a ")),
    }


def test_keras_models_that_do_not_classify_pictures_are_refused(tmp_path):
    for name, (model, reason) in keras_models_that_do_not_classify().items():
        model.save(tmp_path / f"{name}.keras")
        with pytest.raises(ModelFileError, match=rf"{name}\.keras: .*{reason}"):
            load_predictor(tmp_path / f"{name}.keras", input_range="normalized")


def test_a_network_of_unknown_input_is_not_guessed_at(images, tmp_path):
    image = keras.Input((*SIZE, 3))
    flat = keras.layers.Flatten()(image)
    network = keras.Model(image, keras.layers.Dense(CLASSES, activation="softmax")(flat))
    network.save(tmp_path / "foreign.keras")
    with pytest.raises(ValueError, match=r"foreign\.keras: nothing .* says .*--input_range=pixels"):
        load_predictor(tmp_path / "foreign.keras")
    found = load_predictor(tmp_path / "foreign.keras", input_range="unit").predict(images)
    np.testing.assert_allclose(found, answers(network, images / 255), atol=1e-5)


def test_a_sigmoid_gives_a_score_for_each_class_or_for_yes_and_no(images, tmp_path):
    image = keras.Input((*SIZE, 3))
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(image))
    for units, classes in ((CLASSES, CLASSES), (1, 2)):
        network = keras.Model(image, keras.layers.Dense(units, activation="sigmoid")(x))
        network.save(tmp_path / "sigmoid.keras")
        predictor = load_predictor(tmp_path / "sigmoid.keras")
        expected = answers(network, images.astype(np.float32))
        assert predictor.classes == len(predictor.class_names) == classes
        np.testing.assert_allclose(predictor.predict(images)[:, -units:], expected, atol=1e-6)


def test_code_in_a_keras_file_is_not_run(tmp_path):
    marker = tmp_path / "was run"
    network = keras.Sequential(
        [
            keras.Input((*SIZE, 3)),
            keras.layers.Lambda(lambda x, path=str(marker): (open(path, "w").close(), x)[1]),
            keras.layers.Flatten(),
        ]
    )
    marker.unlink()
    network.save(tmp_path / "lambda.keras")
    with pytest.raises(ModelFileError, match=r"lambda.keras: .*(Lambda|lambda|unsafe)"):
        load_predictor(tmp_path / "lambda.keras")
    assert not marker.exists()


@pytest.mark.parametrize(
    ("module", "fixture", "message"),
    [
        ("ai_edge_litert.interpreter", "tflite", "pip install ai-edge-litert"),
        ("tensorflow", "saved_model", "needs TensorFlow: pip install tensorflow"),
    ],
)
def test_a_missing_package_is_named(request, monkeypatch, module, fixture, message):
    path = request.getfixturevalue(fixture)
    monkeypatch.setitem(__import__("sys").modules, module, None)
    with pytest.raises(ImportError, match=message):
        load_predictor(path)
