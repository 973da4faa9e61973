"""What a served model makes of a batch's rows."""

import numpy as np

from contract.bundle import Bundle
from contract.decision import decide
from service.engine.thread import EngineThread
from service.environment import load_settings
from service.serving.model import ServedModel
from service.settings import Device


def test_a_row_with_a_number_that_is_not_finite_gets_nothing_and_its_neighbours_what_they_get_without_it(
    bundle: Bundle,
) -> None:
    model = ServedModel(bundle, load_settings({"bundle": bundle.root}), Device.CPU, EngineThread())
    rows = np.random.default_rng(1).normal(size=(4, 20 + 2048)).astype(np.float32)
    rows[1, 7], rows[3, 0] = np.nan, np.inf
    first, second, third, fourth = model.results(rows)
    assert second is fourth is None
    for judged, row in ((first, rows[0]), (third, rows[2])):
        assert judged is not None
        np.testing.assert_array_equal(judged[0], row)
        assert [judged[1]] == decide(row[np.newaxis, :20], bundle.description)


def test_a_batch_without_a_single_finite_row_gets_nothing_where_novelty_is_told(familiar: Bundle) -> None:
    settings = load_settings({"bundle": familiar.root})
    model = ServedModel(familiar, settings, Device.CPU, EngineThread(), familiar.novelty())
    assert model.results(np.full((2, 20 + 2048), np.nan, np.float32)) == [None, None]
