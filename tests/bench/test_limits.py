"""Operations and bytes of layers and steps, counted by hand on small ones."""

import pytest
from limits import Peaks, Work, backward_work, forward_work, penalty_work, product_flops, taps_on_map, update_work

from minicnn.layers import BatchNormalization, Conv2D, Dense, Dropout, Flatten, Input, MaxPooling2D
from minicnn.models import Sequential
from minicnn.regularizers import l2

N = 10


def built(*layers, shape=(6, 6, 3)):
    return Sequential([Input(shape), *layers], seed=0).layers


def test_a_convolution_multiplies_each_tap_of_each_window():
    (layer,) = built(Conv2D(4, 3))
    assert product_flops(layer, N) == 2 * N * (4 * 4) * (3 * 3) * 3 * 4


def test_taps_on_padding_do_not_count():
    assert taps_on_map(windows=6, taps=3, stride=1, dilation=1, before=1, size=6) == 6 * 3 - 2
    assert taps_on_map(windows=2, taps=5, stride=1, dilation=1, before=2, size=2) == 4
    assert taps_on_map(windows=2, taps=2, stride=1, dilation=3, before=0, size=5) == 4
    (layer,) = built(Conv2D(4, 3, padding="same"))
    assert product_flops(layer, N) == 2 * N * 16 * 16 * 3 * 4


def test_a_dense_layer():
    (layer,) = built(Dense(5), shape=(7,))
    assert forward_work([layer], N) == Work(2 * N * 7 * 5, 4 * (N * 7 + N * 5 + 7 * 5 + 5))
    parameters = 7 * 5 + 5
    assert backward_work([layer], N, need_dx=True) == Work(4 * N * 35, 4 * (2 * N * 7 + N * 5 + 2 * parameters))
    assert backward_work([layer], N, need_dx=False) == Work(2 * N * 35, 4 * (N * 7 + N * 5 + 2 * parameters))


def test_a_step_of_several_layers_moves_its_ends_alone():
    layers = built(Conv2D(4, 3), MaxPooling2D(2))
    parameters = 3 * 3 * 3 * 4 + 4
    assert forward_work(layers, N).bytes == 4 * (N * 6 * 6 * 3 + N * 2 * 2 * 4 + parameters)


def test_only_the_first_convolution_can_do_without_dx():
    layers = built(Conv2D(4, 3), MaxPooling2D(2))
    assert backward_work(layers, N, need_dx=False).flops == product_flops(layers[0], N)
    assert backward_work(layers, N, need_dx=True).flops == 2 * product_flops(layers[0], N)


def test_batch_normalization_sees_its_input_twice():
    alone = built(BatchNormalization())
    size, parameters = 4 * N * 6 * 6 * 3, 4 * 2 * 3
    assert forward_work(alone, N) == Work(0, 3 * size + parameters)
    assert forward_work(alone, N, training=False) == Work(0, 2 * size + parameters)
    conv, norm = built(Conv2D(3, 1), BatchNormalization())
    together, apart = forward_work([conv, norm], N).bytes, forward_work([conv], N).bytes + forward_work([norm], N).bytes
    assert apart - together == size  # z is written and read twice, instead of written, read twice and read again


def test_what_hands_its_input_on_moves_nothing():
    flatten, dropout = built(Flatten(), Dropout(0.5))
    assert forward_work([flatten], N) == backward_work([flatten], N, need_dx=True) == Work()
    assert forward_work([dropout], N, training=False) == Work()
    size = 4 * N * 6 * 6 * 3
    assert forward_work([dropout], N).bytes == backward_work([dropout], N, need_dx=True).bytes == 2 * size


def test_penalties_count_regularized_parameters_alone():
    assert penalty_work(built(Conv2D(4, 3, kernel_regularizer=l2(0.01)))) == Work(0, 3 * 4 * 108)


def test_adam_reads_four_arrays_and_writes_three():
    assert update_work(100, slots=2) == Work(0, 100 * 4 * 7)


@pytest.mark.parametrize(("work", "seconds"), [(Work(100, 4), 10.0), (Work(20, 8), 4.0), (Work(), 0.0)])
def test_the_limit_is_the_larger_part(work, seconds):
    assert Peaks(flops=10.0, bandwidth=2.0).seconds(work) == seconds
