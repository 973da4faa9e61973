"""What a bundle declares about its training images."""

from dataclasses import replace
from pathlib import Path

from contract.classes import CLASS_NAMES
from contract.description import Evidence
from training.data.manifest import LabelledImage
from training.evaluation.evidence import attributions, class_evidence, limits


def images(label: str, source: str, count: int, evidence: str = "real", split: str = "train") -> list[LabelledImage]:
    return [
        LabelledImage(Path(f"{index}.jpg"), label, "", source, split, {"evidence": evidence}) for index in range(count)
    ]


def test_a_class_is_as_good_as_its_weakest_images() -> None:
    mixed = images("Hairy cell", "mll23", 90) + images("Hairy cell", "made", 1, "composite")
    found = {entry.name: entry for entry in class_evidence(mixed + images("Lymphocyte", "pbc", 5, split="val"))}
    assert found["Hairy cell"].evidence is Evidence.COMPOSITE
    assert found["Hairy cell"].training_images == 91
    assert found["Lymphocyte"].evidence is Evidence.NONE, "validation images alone are no evidence"
    assert list(found) == list(CLASS_NAMES)


def test_unseen_rare_and_single_source_classes_are_named() -> None:
    data = images("Lymphocyte", "pbc", 60) + images("Lymphocyte", "matek-marrow", 40)
    data += images("Blast (no lineage spec)", "matek-marrow", 30)
    text = " ".join(limits(class_evidence(data), data))
    assert "suppressed in every answer: Segmented neutrophil, Eosinophil" in text
    assert "Fewer than 50 training images: Blast (no lineage spec) (30)" in text
    assert "may name them: Blast (no lineage spec) (matek-marrow)." in text


def test_images_without_slide_or_patient_are_counted() -> None:
    known = [replace(image, slide_id="7") for image in images("Lymphocyte", "ours", 60)]
    assert not any("No slide" in limit for limit in limits(class_evidence(known), known))
    mixed = [*known, *images("Lymphocyte", "pbc", 4)]
    assert any("known for 4 of 64 images" in limit for limit in limits(class_evidence(mixed), mixed))


def test_with_one_data_set_its_look_separates_nothing() -> None:
    data = images("Lymphocyte", "pbc", 60)
    assert not any("look" in limit for limit in limits(class_evidence(data), data))


def test_every_source_is_attributed_and_an_unknown_one_says_so() -> None:
    data = images("Lymphocyte", "pbc", 3) + images("Monocyte", "our lab", 2)
    ours, pbc = attributions([*data, replace(data[0], split="val")])
    assert ours.licence == "unknown"
    assert "add its attribution" in ours.citation
    assert pbc.licence == "CC BY 4.0"
    assert "4 images" in pbc.changes
