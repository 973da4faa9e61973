from tests.service.conftest import _no_settings_from_outside, bundle, network, write_bundle  # noqa: F401
