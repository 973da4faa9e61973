"""A small valid bundle for tests: its description as JSON, and a folder of stand-in files that agrees with it."""

import json
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from contract.bundle import MANIFEST_NAME
from contract.classes import BY_NAME, CLASS_COUNT, CLASS_NAMES
from contract.description import BundleDescription

GOLDEN_IMAGES = 2
PRECISIONS = ("float32", "int8")
Description = dict[str, Any]
"""``bundle.json`` as parsed JSON, valid or not."""


def description(evidence: Mapping[str, str] | None = None, temperature: float = 1.0, **policy: Any) -> Description:
    """A valid ``bundle.json`` as parsed JSON.

    Args:
        evidence: id to evidence of the classes that differ from "real".
        temperature: of the calibration.
        policy: fields of the decision policy that differ from one that flags at 0.5 and asks for no review.
    """
    differing = evidence or {}
    hairy_known = differing.get("hairy-cell") != "none"
    return {
        "format": 1,
        "name": "hal-c",
        "version": "1.0.0",
        "intended_use": "For research use; assists a qualified technologist.",
        "limits": ["peripheral blood only"],
        "classes": [_class_evidence(name, differing.get(BY_NAME[name].id, "real")) for name in CLASS_NAMES],
        "files": [_model_file(precision) for precision in PRECISIONS],
        "golden": {"path": "golden.npz", "sha256": "0" * 64, "images": GOLDEN_IMAGES},
        "calibration": {
            "id": "temperature-1",
            "temperature": temperature,
            "fitted_on": "validation",
            "images": 100,
            "ece_before": 0.05,
            "ece_after": 0.01,
        },
        "policy": {
            "version": "1",
            "hairy_threshold": 0.5 if hairy_known else None,
            "hairy_threshold_basis": "example",
            "hairy_advice": "Confirm by flow cytometry."
            if hairy_known
            else "Not answered: no hairy cells were learned.",
            "review_below_probability": 0.0,
            "review_below_margin": 0.0,
            "always_review": [],
        }
        | policy,
        "metrics": [
            {
                "name": "accuracy",
                "value": 0.93,
                "interval95": [0.91, 0.95],
                "images": 600,
                "data": "Hospital Clínic, Barcelona",
                "split": "validation",
                "precision": "int8",
                "command": "hal evaluate runs/example",
            }
        ],
        "provenance": {
            "run": "example",
            "recipe": {"name": "hal_c3003", "learning_rate": 1e-5},
            "manifest_sha256": "1" * 64,
            "initial_weights_sha256": None,
            "seed": 1,
            "libraries": {"tensorflow": "2.20.0"},
            "source_revision": "0" * 40,
            "created": "2026-01-02T03:04:05Z",
        },
        "attributions": [
            {
                "source": "pbc",
                "title": "A dataset of microscopic peripheral blood cell images",
                "licence": "CC BY 4.0",
                "citation": "Acevedo et al. 2020",
                "changes": "centre crop",
            }
        ],
    }


def describe(evidence: Mapping[str, str] | None = None, temperature: float = 1.0, **policy: Any) -> BundleDescription:
    """:func:`description` as the typed model."""
    return BundleDescription.model_validate(description(evidence, temperature, **policy))


def lay_files(root: Path, described: Description) -> Description:
    """Put stand-ins for the files of ``described`` into ``root`` and return it with their sizes and hashes."""
    random = np.random.default_rng(7)
    arrays: dict[str, Any] = {"images": random.integers(0, 256, (GOLDEN_IMAGES, 256, 256, 3), dtype=np.uint8)}
    files = []
    for file in described["files"]:
        content = f"stand-in for an ONNX graph in {file['precision']}".encode()
        (root / file["path"]).write_bytes(content)
        files.append(file | {"sha256": sha256(content).hexdigest(), "bytes": len(content)})
        arrays[f"logits_{file['precision']}"] = random.normal(size=(GOLDEN_IMAGES, CLASS_COUNT)).astype(np.float32)
    return described | {"files": files, "golden": lay_golden(root, arrays)}


def lay_golden(root: Path, arrays: Mapping[str, Any]) -> dict[str, Any]:
    """Store ``arrays`` as the golden sample and return its part of the description."""
    path = root / "golden.npz"
    np.savez(path, **arrays)
    return {"path": path.name, "sha256": sha256(path.read_bytes()).hexdigest(), "images": GOLDEN_IMAGES}


def describe_in(root: Path, described: Any) -> None:
    """Write ``described`` as ``root/bundle.json``, valid or not."""
    (root / MANIFEST_NAME).write_text(json.dumps(described), encoding="utf-8")


def _class_evidence(name: str, evidence: str) -> dict[str, Any]:
    count = 0 if evidence == "none" else 80
    return {"name": name, "evidence": evidence, "training_images": count, "validation_images": count // 4}


def _model_file(precision: str) -> dict[str, Any]:
    return {
        "path": f"model.{precision}.onnx",
        "precision": precision,
        "sha256": "0" * 64,
        "bytes": 1,
        "parity": {"batch_sizes": [1, 7, 32], "images": 32, "max_abs_logit_difference": 1e-4},
        "golden_tolerance": 0.01,
    }
