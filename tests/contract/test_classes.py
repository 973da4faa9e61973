"""The class table against the thesis, and against rules that any such table must follow."""

import re
from dataclasses import FrozenInstanceError

import pytest

from contract.classes import BY_ID, BY_NAME, CELL_CLASSES, CLASS_COUNT, CLASS_NAMES, HAIRY_CELL, CellClass, Lineage

THESIS_TABLE_4_1 = (
    "Segmented neutrophil",
    "Eosinophil",
    "Basophil",
    "Lymphocyte",
    "Monocyte",
    "Band neutrophil",
    "Promyelocyte",
    "Myelocyte",
    "Metamyelocyte",
    "Blast (no lineage spec)",
    "Plasma cell",
    "Hairy cell",
    "Smudge cell",
    "Erythroblast (NRBC)",
    "Artefact",
    "Giant thrombocyte",
    "Thrombocyte aggregation",
    "Reactive lymphocyte",
    "Abnormal lymphocyte",
    "Large thrombocyte",
)
WITH_LOINC = [cell for cell in CELL_CLASSES if cell.loinc is not None]


def class_id(cell: CellClass) -> str:
    return cell.id


def loinc_check_digit(number: str) -> int:
    """LOINC Users' Guide, appendix on the mod 10 check digit: from the right, every other digit counts double."""
    doubled = int("".join(reversed(number[::-1][::2]))) * 2
    untouched = number[::-1][1::2]
    return -sum(map(int, f"{doubled}{untouched}")) % 10


def test_classes_stand_in_the_order_of_table_4_1() -> None:
    assert CLASS_NAMES == THESIS_TABLE_4_1


def test_index_is_the_position_in_the_table() -> None:
    assert [cell.index for cell in CELL_CLASSES] == list(range(20))
    assert CLASS_COUNT == 20


def test_ids_are_fit_for_file_names_labels_and_urls() -> None:
    assert [cell.id for cell in CELL_CLASSES if not re.fullmatch(r"[a-z]+(-[a-z]+)*", cell.id)] == []


def test_every_class_is_found_by_its_name_and_by_its_id() -> None:
    assert list(BY_NAME.values()) == list(CELL_CLASSES)
    assert list(BY_ID.values()) == list(CELL_CLASSES)
    assert all(BY_NAME[cell.name] is cell and BY_ID[cell.id] is cell for cell in CELL_CLASSES)


def test_the_hairy_cell_is_the_twelfth_class() -> None:
    assert (HAIRY_CELL.name, HAIRY_CELL.index) == ("Hairy cell", 11)


def test_erythroblasts_smudges_artefacts_and_thrombocytes_are_not_white_blood_cells() -> None:
    assert {cell.name for cell in CELL_CLASSES if not cell.is_wbc} == {
        "Erythroblast (NRBC)",
        "Smudge cell",
        "Artefact",
        "Giant thrombocyte",
        "Large thrombocyte",
        "Thrombocyte aggregation",
    }


def test_the_lymphocyte_matrix_has_four_classes_all_of_them_lymphoid_white_cells() -> None:
    lymphocytes = [cell for cell in CELL_CLASSES if cell.is_lymphocyte]
    assert {cell.name for cell in lymphocytes} == {
        "Lymphocyte",
        "Reactive lymphocyte",
        "Abnormal lymphocyte",
        "Hairy cell",
    }
    assert all(cell.is_wbc and cell.lineage is Lineage.LYMPHOID for cell in lymphocytes)


def test_thrombocyte_findings_share_a_lineage() -> None:
    assert {cell.name for cell in CELL_CLASSES if cell.lineage is Lineage.THROMBOCYTIC} == {
        cell.name for cell in CELL_CLASSES if "thrombocyte" in cell.id
    }


def test_every_white_blood_cell_has_a_loinc_code() -> None:
    assert [cell.name for cell in CELL_CLASSES if cell.is_wbc and cell.loinc is None] == []


def test_no_two_classes_share_a_loinc_code() -> None:
    codes = [cell.loinc for cell in WITH_LOINC]
    assert len(set(codes)) == len(codes) == 18


@pytest.mark.parametrize("cell", WITH_LOINC, ids=class_id)
def test_loinc_codes_carry_their_check_digit(cell: CellClass) -> None:
    match = re.fullmatch(r"(\d{3,6})-(\d)", cell.loinc or "")
    assert match is not None
    assert int(match[2]) == loinc_check_digit(match[1])


@pytest.mark.parametrize(("number", "digit"), [("2345", 7), ("718", 7), ("6690", 2), ("777", 3)])
def test_the_check_digit_rule_agrees_with_codes_that_everybody_knows(number: str, digit: int) -> None:
    """Glucose, haemoglobin, leukocytes and platelets."""
    assert loinc_check_digit(number) == digit


def test_the_table_cannot_be_changed_while_the_program_runs() -> None:
    with pytest.raises(TypeError):
        BY_NAME["Hairy cell"] = CELL_CLASSES[0]  # type: ignore[index]
    with pytest.raises(FrozenInstanceError):
        HAIRY_CELL.index = 0  # type: ignore[misc]
