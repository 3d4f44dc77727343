"""What the tests of WinogradStep and ToeplitzStep share: passes of a step, problems for it, and what both must do."""

import os
import subprocess
import sys

import numpy as np

from minicnn.differences import Variable, compare
from minicnn.kernels import NUMPY, _assemble
from minicnn.kernels.tiles import tiling_for
from minicnn.layers import Run
from minicnn.steps.plan import LayerStep

LOOPS = _assemble("loops")
TOLERANCES = {"float64": 1e-10, "float32": 1e-5}
LANES = {dtype: getattr(tiling_for(np.dtype(dtype).itemsize), "lanes", 1) for dtype in ("float32", "float64")}


def passes(step, x, dy, run=None, need_dx=True):
    """y, dx and the gradients."""
    run = run or Run(NUMPY, training=True)
    y, saved = step.forward(x, run)
    y = y.copy()
    dx = step.backward(dy.copy(), saved, run, need_dx)
    return y, dx, *(gradient.copy() for gradient in step.layers[0].grads.values())


def problem(layer, n, seed=3):
    """x and dy. dy is 0 where relu is so close to its kink that rounding decides on which side."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, *layer.input_shape)).astype(layer.dtype)
    z = layer.linear(x, Run(NUMPY))[0]
    dy = rng.standard_normal(z.shape).astype(layer.dtype)
    return x, np.where(np.abs(z) > 1e-4 * np.abs(z).max(initial=0), dy, layer.dtype.type(0))


def assert_same(got, wanted, tolerance):
    for ours, theirs in zip(got, wanted, strict=True):
        assert ours.shape == theirs.shape
        assert ours.dtype == theirs.dtype
        assert np.abs(ours - theirs).max(initial=0) <= tolerance * np.abs(theirs).max(initial=0)


def assert_gradients_are_differences(steps, images):
    """Every entry of dx, dkernel and dbias of two steps, one on the other."""
    run, rng = Run(NUMPY, training=True), np.random.default_rng(4)
    layers = [step.layers[0] for step in steps]
    x = rng.standard_normal((images, *layers[0].input_shape))

    def forward():
        h, first_saved = steps[0].forward(x, run)
        y, second_saved = steps[1].forward(h, run)
        return y, first_saved, second_saved

    y, first_saved, second_saved = forward()
    y, r = y.copy(), rng.standard_normal(y.shape)
    dx = steps[0].backward(steps[1].backward(r.copy(), second_saved, run), first_saved, run)
    variables = [Variable("x", x, dx)]
    for name, layer in zip(("first", "second"), layers, strict=True):
        variables += [Variable(f"{name}/{key}", layer.params[key], layer.grads[key].copy()) for key in layer.params]
    report = compare("two steps", lambda: float(np.sum(r * (forward()[0] - y))), variables, None, rng)
    report.assert_ok()
    assert len(report.not_differentiable) <= report.checked // 50


def assert_a_fixed_gradient_is_copied(step):
    """One that is read-only, and one that is not contiguous."""
    (layer,) = step.layers
    x, dy = problem(layer, 2)
    wanted = passes(step, x, dy)
    fixed = dy.copy()
    fixed.flags.writeable = False
    spread = np.zeros((*dy.shape[:3], 2 * dy.shape[3]))[..., ::2]
    spread[...] = dy
    for gradient in (fixed, spread):
        _, saved = step.forward(x, Run(NUMPY))
        dx = step.backward(gradient, saved, Run(NUMPY))
        assert_same((dx, *layer.grads.values()), wanted[1:], 0)
        np.testing.assert_array_equal(gradient, dy)


def assert_goes_without_dx_and_frozen(step):
    (layer,) = step.layers
    x, dy = problem(layer, 2)
    wanted = passes(LayerStep(layer, 0), x, dy)
    y, dx, *gradients = passes(step, x, dy, need_dx=False)
    assert dx is None
    assert_same((y, *gradients), (wanted[0], *wanted[2:]), 1e-10)
    assert_same(passes(step, x, dy)[1:2], wanted[1:2], 1e-10)


def assert_one_version_a_dtype(kernels, steps, images):
    """After passes of steps of both dtypes, and of several sizes."""
    for step in steps:
        passes(step, *problem(step.layers[0], images))
    assert [len(kernel.signatures) for kernel in kernels] == [2] * len(kernels)


def assert_another_process_finds_all_in_the_cache(step, shape, count, cache):
    """A model of one Conv2D of 3x3 that the named step takes, trained on `count` images in two processes."""
    code = (
        "import numpy as np; from minicnn import Sequential; from minicnn.layers import Conv2D, Flatten, Dense, Input;"
        f"model = Sequential([Input({shape}), Conv2D(48, 3, padding='same'), Flatten(), Dense(2)], seed=1);"
        f"model.compile('sgd', 'mse'); print('{step}' in str(model.plan()));"
        f"print(model.train_on_batch(np.ones(({count}, *{shape}), 'float32'), np.zeros(({count}, 2))))"
    )
    assert_a_second_process_says_the_same(code, cache)


def assert_a_second_process_says_the_same(code, cache):
    """The first begins with True, and finds no kernels in the cache."""
    said = []
    for _ in range(2):
        settings = {**os.environ, "NUMBA_CACHE_DIR": str(cache)}
        done = subprocess.run([sys.executable, "-c", code], env=settings, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        said.append(done.stdout)
    assert said[0].startswith("True")
    assert said[0] == said[1]
