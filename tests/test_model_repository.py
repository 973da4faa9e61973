"""``models/`` is a model repository of the Triton Inference Server."""

from pathlib import Path

import pytest

from contract.bundle import load
from tests.paths import ROOT
from training.export import triton

MODELS = ROOT / "models"


@pytest.mark.parametrize("folder", sorted(path.name for path in MODELS.iterdir() if path.is_dir()))
def test_each_model_has_a_configuration_that_triton_understands(folder: str) -> None:
    pytest.importorskip("tritonclient", reason="tritonclient[http] is not installed")
    pytest.importorskip("grpc", reason="grpcio is not installed")
    from google.protobuf import text_format
    from tritonclient.grpc import model_config_pb2

    text = (MODELS / folder / triton.FILE_NAME).read_text(encoding="utf-8")
    config = text_format.Parse(text, model_config_pb2.ModelConfig())
    assert config.name == folder
    assert config.backend == "onnxruntime"
    assert config.max_batch_size > 0
    (image,) = config.input
    assert (image.name, image.data_type, list(image.dims)) == ("image", model_config_pb2.TYPE_UINT8, [256, 256, 3])
    outputs = {output.name: list(output.dims) for output in config.output}
    assert outputs == {"logits": [20], "embedding": [2048], "middle_flow": [728]}
    assert config.dynamic_batching.max_queue_delay_microseconds == 0
    versions = [path for path in (MODELS / folder).iterdir() if path.is_dir()]
    for version in versions:
        assert version.name.isdigit()
        assert (version / config.default_model_filename).is_file()


@pytest.mark.parametrize("folder", sorted(path.name for path in MODELS.iterdir() if path.is_dir()))
def test_the_configuration_is_the_one_that_the_export_writes_for_the_newest_version(folder: str) -> None:
    newest = max((path for path in (MODELS / folder).iterdir() if path.is_dir()), key=lambda path: int(path.name))
    text = (MODELS / folder / triton.FILE_NAME).read_text(encoding="utf-8")
    assert text == triton.config(load(newest).description)


def test_folders_of_another_layout_get_no_configuration(tmp_path: Path) -> None:
    description = load(MODELS / "hal-c" / "3").description
    (tmp_path / "out").mkdir()
    assert triton.write(tmp_path / "out", description) is None
    assert triton.write(tmp_path / "other" / "1", description) is None
    assert list(tmp_path.rglob(triton.FILE_NAME)) == []
