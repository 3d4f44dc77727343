"""TerminateOnNaN: training ends at the batch whose loss is not finite."""

import math

import pytest

from minicnn.callbacks import TerminateOnNaN
from minicnn.errors import MinicnnError, NonFiniteLossError


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_stops_at_once(fit, capsys, loss):
    result = fit(TerminateOnNaN(), [{"loss": 1.0}, {"loss": loss}, {"loss": 1.0}], batches=3)
    assert result.epochs == 2
    assert capsys.readouterr().out == "Batch 0: Invalid loss, terminating training\n"


def test_leaves_a_finite_loss_alone(fit):
    assert fit(TerminateOnNaN(), [{"loss": 1e300}, {"acc": 1.0}]).epochs == 2


def test_raises_on_request(fit):
    with pytest.raises(NonFiniteLossError, match="TerminateOnNaN: the loss is nan after batch 0") as error:
        fit(TerminateOnNaN(raise_error=True), [{"loss": math.nan}])
    assert isinstance(error.value, RuntimeError)
    assert isinstance(error.value, MinicnnError)
