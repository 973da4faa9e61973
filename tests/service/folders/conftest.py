from tests.client.conftest import road  # noqa: F401
