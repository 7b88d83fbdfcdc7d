"""Dimensions of the models whose costs are published."""

from __future__ import annotations

import pytest

from domadapt.planning.known import model_shape
from domadapt.planning.shapes import ModelShape


@pytest.fixture(scope="session")
def llama3_70b() -> ModelShape:
    return model_shape("meta-llama/Meta-Llama-3-70B", lambda reference: None)


@pytest.fixture(scope="session")
def llama3_8b() -> ModelShape:
    return model_shape("meta-llama/Meta-Llama-3-8B", lambda reference: None)


@pytest.fixture(scope="session")
def llama2_7b() -> ModelShape:
    return model_shape("meta-llama/Llama-2-7b-hf", lambda reference: None)
