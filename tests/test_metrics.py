"""Metrics: their values, weights and shapes; the numbers were observed in Keras 3.15."""

import functools
import math
import pickle

import numpy as np
import pytest

from minicnn import losses, metrics
from minicnn.errors import ConfigError, ShapeError

NAN, INF = math.nan, math.inf
SCORES = np.array([[0.1, 0.9, 0.8], [0.05, 0.95, 0]], np.float32)
ONE_HOT = np.array([[0, 0, 1], [0, 1, 0]])
CLASSES = np.array([2, 1])


@pytest.mark.parametrize(
    ("metric", "y_true", "y_pred", "plain", "weighted"),
    [
        (metrics.Accuracy(), [[1], [2]], [[0], [2]], 0.5, 0.3),
        (metrics.BinaryAccuracy(), [[1], [0]], [[0.4], [0.3]], 0.5, 0.3),
        (metrics.CategoricalAccuracy(), ONE_HOT, SCORES, 0.5, 0.3),
        (metrics.SparseCategoricalAccuracy(), CLASSES, SCORES, 0.5, 0.3),
        (metrics.SparseCategoricalAccuracy(), CLASSES[:, None], SCORES, 0.5, 0.3),
        (metrics.TopKCategoricalAccuracy(k=1), ONE_HOT, SCORES, 0.5, 0.3),
        (metrics.TopKCategoricalAccuracy(k=2), ONE_HOT, SCORES, 1.0, 1.0),
        (metrics.SparseTopKCategoricalAccuracy(k=1), CLASSES, SCORES, 0.5, 0.3),
        (metrics.SparseTopKCategoricalAccuracy(k=1), CLASSES[:, None], SCORES, 0.5, 0.3),
        (metrics.SparseTopKCategoricalAccuracy(), CLASSES, SCORES, 1.0, 1.0),
        (metrics.MeanSquaredError(), [[0, 1], [0, 0]], [[3, 1], [1, 0]], 2.5, 3.3),
        (metrics.MeanAbsoluteError(), [[0, 1], [0, 0]], [[3, 1], [1, 0]], 1.0, 1.2),
    ],
)
def test_value_and_weighted_value(metric, y_true, y_pred, plain, weighted):
    assert metric(y_true, y_pred) == plain
    metric.reset_state()
    assert metric(y_true, y_pred, sample_weight=[0.7, 0.3]) == pytest.approx(weighted, abs=1e-15)
    assert type(metric.result()) is float


def test_batches_count_by_their_samples():
    metric = metrics.SparseCategoricalAccuracy()
    metric.update_state([0, 1, 2], np.eye(3))
    metric.update_state([1], np.eye(3)[:1])
    assert metric.result() == 0.75
    metric.update_state(np.zeros(0, int), np.zeros((0, 3)))
    assert metric.result() == 0.75
    metric.reset_state()
    assert metric.result() == 0.0


def test_weights_of_ten_samples():
    weights = [1, 2, 0.5, 0, 1, 3, 1, 1, 0.25, 2]
    hits = [1, 0, 1, 1, 0, 1, 1, 0, 1, 0]
    metric = metrics.Mean()
    metric.update_state(hits[:4], sample_weight=weights[:4])
    metric.update_state(hits[4:], sample_weight=weights[4:])
    assert metric.result() == (1 + 0.5 + 3 + 1 + 0.25) / 11.75


def test_sums_are_float64():
    metric = metrics.Mean()
    for _ in range(16):
        metric.update_state(np.full(2**20, 0.1, np.float32))
    assert metric.result() == pytest.approx(np.float32(0.1), rel=1e-12)


@pytest.mark.parametrize(
    ("values", "weights", "mean"),
    [
        ([1, 3, 5, 7], None, 4.0),
        ([1, 3, 5, 7], [1, 1, 0, 0], 2.0),
        ([1, 3, 5, 7], [0, 0, 0, 0], 0.0),
        (6.0, None, 6.0),
        ([[1, 3], [5, 7]], None, 4.0),
        ([[1, 3], [5, 7]], [1, 3], 5.0),  # of the means 2 and 6
        ([[1, 3], [5, 7]], [[1], [3]], 5.0),
        ([[1, 3], [5, 7]], [[1, 0], [0, 1]], 4.0),
        ([[1, 3], [5, 7]], [[3, 0], [1, 0]], 2.0),
        ([[1], [5]], [1, 3], 4.0),
        ([1, 5], [[1], [3]], 4.0),
        ([[[1, 3], [5, 7]]], [[1, 3]], 5.0),
    ],
)
def test_mean(values, weights, mean):
    metric = metrics.Mean()
    metric.update_state(values, weights)
    assert metric.result() == mean


def test_spatial_outputs_count_each_pixel():
    classes = np.array([[[0, 1], [1, 1]], [[0, 0], [0, 0]]])  # (2, 2, 2)
    scores = np.zeros((2, 2, 2, 2), np.float32)
    scores[..., 0] = 1  # always class 0
    assert metrics.sparse_categorical_accuracy(classes, scores).tolist() == [[[1, 0], [0, 0]], [[1, 1], [1, 1]]]
    assert metrics.SparseCategoricalAccuracy()(classes, scores) == 5 / 8
    assert metrics.SparseCategoricalAccuracy()(classes[..., None], scores) == 5 / 8
    assert metrics.CategoricalAccuracy()(np.eye(2)[classes], scores) == 5 / 8
    assert metrics.SparseCategoricalAccuracy()(classes, scores, sample_weight=[3, 1]) == (3 * 0.25 + 1) / 4
    assert metrics.SparseTopKCategoricalAccuracy(1)(classes, scores) == 5 / 8


@pytest.mark.parametrize(
    ("scores", "predicted"),
    [
        ([0.5, 0.5, 0], 0),  # the first of equals
        ([0, 1, 1], 1),
        ([NAN, 1, 2], 2),
        ([1, NAN, 2], 2),
        ([2, NAN, 1], 0),
        ([NAN, -INF, -INF], 0),
        ([NAN, NAN, NAN], 0),
    ],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_predicted_class(scores, predicted, dtype):
    hits = metrics.sparse_categorical_accuracy([0, 1, 2], np.array([scores] * 3, dtype))
    assert hits.tolist() == [float(c == predicted) for c in range(3)]


@pytest.mark.parametrize(
    ("scores", "hits"),  # hits: for each class 0 to 3, whether it is among the 1, 2, 3 best
    [
        ([0.1, 0.3, 0.3, 0.2], ["000", "111", "111", "001"]),
        ([0.5, 0.5, 0.5, 0.5], ["111", "111", "111", "111"]),
        ([0.4, 0.3, 0.2, 0.1], ["111", "011", "001", "000"]),
        ([NAN, 0.3, 0.2, 0.1], ["000", "000", "000", "000"]),
        ([0.9, 0.3, 0.2, -INF], ["000", "000", "000", "000"]),
        ([0.9, 0.3, 0.2, INF], ["000", "000", "000", "000"]),
    ],
)
def test_the_k_best(scores, hits):
    for k in (1, 2, 3):
        found = metrics.sparse_top_k_categorical_accuracy([0, 1, 2, 3], np.array([scores] * 4, np.float32), k)
        assert found.tolist() == [float(h[k - 1]) for h in hits]
        found = metrics.top_k_categorical_accuracy(np.eye(4), np.array([scores] * 4, np.float32), k)
        assert found.tolist() == [float(h[k - 1]) for h in hits]


def test_a_class_that_does_not_exist_is_never_among_the_best():
    assert metrics.sparse_top_k_categorical_accuracy([-1, 3, 0], np.ones((3, 3)), 5).tolist() == [0, 0, 1]


@pytest.mark.parametrize(
    ("threshold", "hits"), [(0.5, [1, 1, 1, 0, 1, 0]), (0.25, [0, 1, 1, 0, 1, 0]), (0.75, [1, 0, 1, 0, 1, 0])]
)
def test_binary_threshold_is_not_passed_by_equality(threshold, hits):
    y_true = np.array([0, 1, 0, 1, 0, 0.5])
    y_pred = np.array([0.5, 0.75, 0.25, NAN, NAN, 0.9], np.float32)
    assert metrics.binary_accuracy(y_true, y_pred, threshold).tolist() == hits


def test_binary_threshold_has_the_dtype_of_the_predictions():
    assert metrics.binary_accuracy([0], np.array([0.3], np.float32), 0.3).tolist() == [
        1
    ]  # float32(0.3) > 0.3 in float64


@pytest.mark.parametrize(("true_shape", "pred_shape"), [((4,), (4, 1)), ((4, 1), (4,)), ((4, 1), (4, 1)), ((4,), (4,))])
def test_a_trailing_axis_of_one_may_be_missing(true_shape, pred_shape):
    y_true = np.array([1, 0, 1, 1]).reshape(true_shape)
    y_pred = np.array([0.9, 0.1, 0.2, 0.8]).reshape(pred_shape)
    assert metrics.BinaryAccuracy()(y_true, y_pred) == 0.75
    assert metrics.Accuracy()(y_true, y_pred > 0.5) == 0.75
    assert metrics.MeanAbsoluteError()(y_true, y_pred) == pytest.approx(0.3, abs=1e-15)


@pytest.mark.parametrize(("true_shape", "pred_shape"), [((2,), (2, 1)), ((2, 1), (2,)), ((2, 1), (2, 1))])
def test_samples_stay_samples_where_a_trailing_axis_of_one_is_missing(true_shape, pred_shape):
    y_true, y_pred = np.reshape([1.0, 2.0], true_shape), np.reshape([2.0, 5.0], pred_shape)
    assert metrics.mean_squared_error(y_true, y_pred).tolist() == [1, 9]
    assert metrics.MeanAbsoluteError()(y_true, y_pred, sample_weight=[3, 1]) == 1.5


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32, bool])
def test_labels_of_any_dtype(dtype):
    assert metrics.BinaryAccuracy()(np.array([[1], [0]], dtype), np.array([[0.75], [0.5]], np.float32)) == 1.0
    assert metrics.CategoricalAccuracy()(np.eye(2, dtype=dtype), np.eye(2, dtype=np.float32)) == 1.0
    assert metrics.SparseCategoricalAccuracy()(np.array([0, 1], dtype), np.eye(2, dtype=np.float32)) == 1.0


def test_arrays_are_not_changed():
    y_true, y_pred, weights = np.eye(3), np.full((3, 3), NAN, np.float32), np.ones(3)
    copies = [a.copy() for a in (y_true, y_pred, weights)]
    for metric in (metrics.CategoricalAccuracy(), metrics.TopKCategoricalAccuracy(), metrics.MeanSquaredError()):
        metric.update_state(y_true, y_pred, weights)
    for array, copy in zip((y_true, y_pred, weights), copies, strict=True):
        np.testing.assert_array_equal(array, copy)


@pytest.mark.parametrize(
    ("metric", "y_true", "y_pred", "message"),
    [
        (
            metrics.CategoricalAccuracy(),
            (4,),
            (4, 3),
            "categorical_accuracy: y_true (4,) must be one-hot of y_pred's shape (4, 3); "
            "for class numbers use sparse_categorical_accuracy.",
        ),
        (
            metrics.SparseCategoricalAccuracy(),
            (4, 3),
            (4, 3),
            "sparse_categorical_accuracy: y_pred (4, 3) needs class numbers of shape (4,), got y_true (4, 3); "
            "for one-hot labels use categorical_accuracy.",
        ),
        (
            metrics.SparseTopKCategoricalAccuracy(),
            (5,),
            (4, 3),
            "sparse_top_k_categorical_accuracy: y_pred (4, 3) needs class numbers of shape (4,), got y_true (5,); "
            "for one-hot labels use top_k_categorical_accuracy.",
        ),
        (
            metrics.MeanSquaredError(),
            (4, 2),
            (4, 3),
            "mean_squared_error: y_true (4, 2) and y_pred (4, 3) differ; give labels of the output's shape.",
        ),
    ],
)
def test_shapes_that_do_not_fit(metric, y_true, y_pred, message):
    with pytest.raises(ShapeError) as error:
        metric.update_state(np.zeros(y_true), np.zeros(y_pred))
    assert str(error.value) == message
    assert metric.result() == 0.0


def test_weights_that_do_not_fit():
    with pytest.raises(ShapeError, match=r"Mean 'mean': sample_weight \(3,\) does not fit values \(2,\)"):
        metrics.Mean().update_state([1, 2], [1, 1, 1])


# -- names, configs, choice


@pytest.mark.parametrize(
    ("cls", "name"),
    [
        (metrics.Mean, "mean"),
        (metrics.Accuracy, "accuracy"),
        (metrics.BinaryAccuracy, "binary_accuracy"),
        (metrics.CategoricalAccuracy, "categorical_accuracy"),
        (metrics.SparseCategoricalAccuracy, "sparse_categorical_accuracy"),
        (metrics.TopKCategoricalAccuracy, "top_k_categorical_accuracy"),
        (metrics.SparseTopKCategoricalAccuracy, "sparse_top_k_categorical_accuracy"),
        (metrics.MeanSquaredError, "mean_squared_error"),
        (metrics.MeanAbsoluteError, "mean_absolute_error"),
        (metrics.BinaryCrossentropy, "binary_crossentropy"),
        (metrics.CategoricalCrossentropy, "categorical_crossentropy"),
        (metrics.SparseCategoricalCrossentropy, "sparse_categorical_crossentropy"),
    ],
)
def test_names_are_keras_names(cls, name):
    assert cls().name == name
    assert cls(name="mine").name == "mine"
    assert type(metrics.get(name)) is type(metrics.get(cls.__name__)) is type(metrics.get(cls)) is cls


@pytest.mark.parametrize(
    ("metric", "config"),
    [
        (metrics.Mean("m", dtype="float64"), {"name": "m", "dtype": "float64"}),
        (metrics.BinaryAccuracy(threshold=0.25), {"name": "binary_accuracy", "dtype": None, "threshold": 0.25}),
        (metrics.TopKCategoricalAccuracy(3), {"name": "top_k_categorical_accuracy", "dtype": None, "k": 3}),
        (
            metrics.SparseTopKCategoricalAccuracy(np.int64(3), "top3"),
            {"name": "top3", "dtype": None, "k": 3},
        ),
        (
            metrics.BinaryCrossentropy("b", label_smoothing=0.25),
            {"name": "b", "dtype": None, "from_logits": False, "label_smoothing": 0.25},
        ),
        (
            metrics.CategoricalCrossentropy(from_logits=True),
            {
                "name": "categorical_crossentropy",
                "dtype": None,
                "from_logits": True,
                "label_smoothing": 0.0,
                "axis": -1,
            },
        ),
        (
            metrics.SparseCategoricalCrossentropy(dtype="float32"),
            {
                "name": "sparse_categorical_crossentropy",
                "dtype": "float32",
                "from_logits": False,
                "ignore_class": None,
                "axis": -1,
            },
        ),
    ],
)
def test_config_there_and_back(metric, config):
    assert metric.get_config() == config
    for copy in (metrics.get(metrics.serialize(metric)), metrics.deserialize(metrics.serialize(metric))):
        assert type(copy) is type(metric)
        assert copy.get_config() == config


LOGITS = np.array([[2.0, -1.0, 0.5], [0.0, 3.0, -2.0]], np.float32)
PROBABILITIES = np.exp(LOGITS) / np.exp(LOGITS).sum(axis=1, keepdims=True)
OF_CLASSES = -np.log(PROBABILITIES[[0, 1], CLASSES])
YES = np.array([[0.9], [0.2]], np.float32)


@pytest.mark.parametrize(
    ("metric", "y_true", "y_pred", "values"),
    [
        (metrics.CategoricalCrossentropy(), ONE_HOT, PROBABILITIES, OF_CLASSES),
        (metrics.CategoricalCrossentropy(from_logits=True), ONE_HOT, LOGITS, OF_CLASSES),
        (metrics.SparseCategoricalCrossentropy(), CLASSES, PROBABILITIES, OF_CLASSES),
        (metrics.SparseCategoricalCrossentropy(from_logits=True), CLASSES[:, None], LOGITS, OF_CLASSES),
        (metrics.BinaryCrossentropy(), [[1], [1]], YES, -np.log(YES[:, 0])),
        (metrics.BinaryCrossentropy(), [1, 1], YES, -np.log(YES[:, 0])),
        (
            metrics.BinaryCrossentropy(label_smoothing=0.5),
            [[1], [1]],
            YES,
            -0.75 * np.log(YES[:, 0]) - 0.25 * np.log(1 - YES[:, 0]),
        ),
    ],
)
def test_cross_entropies(metric, y_true, y_pred, values):
    assert metric(y_true, y_pred) == pytest.approx(values.mean(), rel=1e-6)
    metric.reset_state()
    assert metric(y_true, y_pred, sample_weight=[0.7, 0.3]) == pytest.approx(values @ [0.7, 0.3], rel=1e-6)
    metric.update_state(y_true[:1], y_pred[:1])
    assert metric.result() == pytest.approx((values @ [0.7, 0.3] + values[0]) / 2, rel=1e-6)
    assert metric.direction == "min"


@pytest.mark.parametrize(
    ("alias", "cls"),
    [("mse", metrics.MeanSquaredError), ("MAE", metrics.MeanAbsoluteError), ("bce", metrics.BinaryCrossentropy)],
)
def test_short_names(alias, cls):
    assert type(metrics.get(alias)) is cls


@pytest.mark.parametrize(
    ("y_true", "y_pred", "cls"),
    [
        ((8,), (8, 1), metrics.BinaryAccuracy),
        ((8, 1), (8, 1), metrics.BinaryAccuracy),
        ((8,), (8, 10), metrics.SparseCategoricalAccuracy),
        ((8, 1), (8, 10), metrics.SparseCategoricalAccuracy),
        ((8, 10), (8, 10), metrics.CategoricalAccuracy),
        ((8, 2), (8, 2), metrics.CategoricalAccuracy),
        ((8, 4, 4), (8, 4, 4, 3), metrics.SparseCategoricalAccuracy),
        ((8, 4, 4, 1), (8, 4, 4, 3), metrics.SparseCategoricalAccuracy),
        ((8, 4, 4, 3), (8, 4, 4, 3), metrics.CategoricalAccuracy),
        ((8, 4, 4, 1), (8, 4, 4, 1), metrics.BinaryAccuracy),
    ],
)
@pytest.mark.parametrize("word", ["accuracy", "acc", "Accuracy"])
def test_accuracy_is_chosen_by_the_shapes(y_true, y_pred, cls, word):
    metric = metrics.metric_for(word, y_true, y_pred)
    assert type(metric) is cls
    assert metric.name == word


def test_accuracy_needs_a_batch_axis():
    with pytest.raises(ShapeError, match=r"accuracy: labels \(8,\) and output \(8,\) must have the batch in front"):
        metrics.accuracy_for((8,), (8,))


def test_a_string_is_also_the_name():
    assert metrics.metric_for("mse", (8, 3), (8, 3)).name == "mse"
    assert metrics.metric_for("MeanSquaredError", (8, 3), (8, 3)).name == "MeanSquaredError"
    assert metrics.metric_for(metrics.MeanSquaredError, (8, 3), (8, 3)).name == "mean_squared_error"
    mine = metrics.CategoricalAccuracy(name="hits")
    assert metrics.metric_for(mine, (8, 3), (8, 3)) is mine
    assert mine.name == "hits"


def test_a_plain_function_is_averaged_under_its_name():
    def error_rate(y_true, y_pred, scale=1):
        return scale * (y_true != y_pred.argmax(axis=-1))

    metric = metrics.get(error_rate)
    assert metric.name == "error_rate"
    assert metric(CLASSES, SCORES, sample_weight=[0.75, 0.25]) == 0.75
    metric = metrics.MeanMetricWrapper(error_rate, name="percent", scale=100)
    assert metric(CLASSES, SCORES) == 50.0
    assert metric.get_config() == {"name": "percent", "dtype": None, "fn": "error_rate", "scale": 100}
    with pytest.raises(ConfigError, match=r"MeanMetricWrapper: fn must be a function of .*, got 'error_rate'"):
        metrics.MeanMetricWrapper.from_config(metric.get_config())


def test_functions_have_keras_names_in_the_logs():
    """As Keras 3.15 spells them; a loss has a name of its own."""

    def PSNR(y_true, y_pred):
        return np.zeros(len(y_true))

    def IoU_of3(y_true, y_pred):
        return np.zeros(len(y_true))

    assert metrics.get(PSNR).name == "psnr"
    assert metrics.get(IoU_of3).name == "io_u_of3"
    assert metrics.get(lambda t, p: np.zeros(len(t))).name == "lambda"
    assert metrics.get(functools.partial(PSNR)).name == "partial"
    assert metrics.get(losses.BinaryCrossentropy(name="bce")).name == "bce"


class Largest(metrics.Metric):
    direction = "max"

    def __init__(self, name=None, dtype=None):
        super().__init__(dtype, name)
        self.reset_state()

    def reset_state(self):
        self.largest = -INF

    def update_state(self, y_true, y_pred, sample_weight=None):
        self.largest = max(self.largest, float(np.max(y_pred)))

    def result(self):
        return self.largest


def test_the_callers_own_metric():
    metric = metrics.get({"class_name": "Largest", "config": {"name": "top"}}, custom_objects={"Largest": Largest})
    assert metric(CLASSES, SCORES) == pytest.approx(0.95)
    assert metric.name == "top"
    metric.reset_state()
    assert metric.result() == -INF
    assert Largest().name == "largest"
    assert pickle.loads(pickle.dumps(metric)).get_config() == {"name": "top", "dtype": None}


class Counting:
    """A metric of another library, Keras's for instance."""

    def __call__(self, y_true, y_pred):
        return 0.0

    update_state = __call__

    def __repr__(self):
        return "<Counting>"


def silent(y_true, y_pred):
    """Forgot to return anything."""


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: metrics.get("acuracy"), "metric: unknown name 'acuracy'; did you mean 'accuracy'?"),
        (lambda: metrics.get(3), "metric: expected a name, a Metric or its class, got 3."),
        (lambda: metrics.get(None), "metric: expected a name, a Metric or its class, got None."),
        (lambda: metrics.get(Counting()), f"metric: <Counting> is a {__name__}.Counting, which counts by itself;"),
        (
            lambda: metrics.get(silent).update_state([0.0], [0.0]),
            "metric silent: the function returned None; return a value for each sample.",
        ),
        (lambda: metrics.Mean(name=""), "Mean: name must be a string that is not empty, got ''."),
        (lambda: metrics.Mean(dtype="int8"), 'Mean: dtype must be None, "float32" or "float64", got \'int8\'.'),
        (lambda: metrics.TopKCategoricalAccuracy(0), "TopKCategoricalAccuracy: k must be a positive integer, got 0."),
        (
            lambda: metrics.SparseTopKCategoricalAccuracy(2.5),
            "SparseTopKCategoricalAccuracy: k must be a positive integer, got 2.5.",
        ),
        (
            lambda: metrics.SparseTopKCategoricalAccuracy(from_sorted_ids=True),
            "SparseTopKCategoricalAccuracy: from_sorted_ids=True is not supported by minicnn; leave it at False.",
        ),
        (
            lambda: metrics.sparse_top_k_categorical_accuracy([0], [[1.0]], 1, True),
            "sparse_top_k_categorical_accuracy: from_sorted_ids=True is not supported by minicnn; leave it at False.",
        ),
        (lambda: metrics.Mean(nam="m"), "Mean: unknown argument 'nam'; see help(Mean)."),
        (
            lambda: metrics.BinaryAccuracy(threshold="x"),
            "BinaryAccuracy: threshold must be a finite number, got 'x'.",
        ),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ConfigError) as error:
        make()
    assert str(error.value).startswith(message)
