"""Devices as the stages prepare them."""

import pytest
import torch

from stages.common.params import Runtime
from stages.modelling.devices import prepare_torch
from tests.toy import RUNTIME, needs_cuda


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=needs_cuda)])
def device(request):
    return prepared(request.param, request)


@pytest.fixture
def gpu(request):
    """For a test that is marked with needs_cuda."""
    return prepared("cuda", request)


def prepared(kind, request):
    before = torch.get_deterministic_debug_mode()
    request.addfinalizer(lambda: torch.set_deterministic_debug_mode(before))
    # torch warns of some kernels by their names, of which our layers use what is deterministic.
    request.node.add_marker(pytest.mark.filterwarnings("ignore:.*does not have a deterministic implementation"))
    return prepare_torch(Runtime.model_validate(RUNTIME | {"device": kind}))
