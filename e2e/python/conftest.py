"""One model and one gateway for the whole run."""

from collections.abc import Iterator

import pytest
from keeptrusts_e2e import Gateway, Model, running_gateway, running_model


@pytest.fixture(scope="session")
def model() -> Iterator[Model]:
    with running_model() as model:
        yield model


@pytest.fixture(scope="session")
def gateway(model: Model) -> Iterator[Gateway]:
    with running_gateway(model) as gateway:
        yield gateway
