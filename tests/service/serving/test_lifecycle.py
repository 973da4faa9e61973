import asyncio
from typing import Any

from contract.bundle import Bundle
from service.serving.service import Service
from service.serving.states import State
from service.settings import Settings
from tests.service.slow_device import SlowDevice
from tests.service.tiny_bundle import TinyNetwork, encoded


def hal_on(bundle: Bundle, device: Any) -> Service:
    return Service(Settings(bundle=bundle.root), bundle, open_engine=lambda *_: device)


def test_an_engine_that_hangs_is_given_up_at_the_end(bundle: Bundle, network: TinyNetwork) -> None:
    device = SlowDevice(held=True)

    async def live_and_end() -> Service:
        hal = hal_on(bundle, device)
        await hal.open()
        request = asyncio.create_task(hal.classify([encoded(network.cell(0))]))
        await asyncio.to_thread(device.wait_until_busy)
        request.cancel()
        await asyncio.wait([request])
        assert hal.batcher.admission.taken == 0
        await hal.close()
        return hal

    hal = asyncio.run(live_and_end())
    device.let_go()
    assert hal.abandoned


def test_an_engine_that_is_free_is_not_given_up(bundle: Bundle, network: TinyNetwork) -> None:
    async def live_and_end() -> Service:
        hal = hal_on(bundle, SlowDevice())
        await hal.open()
        assert hal.state is State.READY
        (answer,) = (await hal.classify([encoded(network.cell(0))])).results
        assert answer.index == 0
        await hal.close()
        return hal

    hal = asyncio.run(live_and_end())
    assert not hal.abandoned
    assert hal.state is State.DRAINING


def test_a_service_that_stops_while_it_opens_never_says_ready(bundle: Bundle) -> None:
    async def live_and_end() -> Service:
        hal = hal_on(bundle, SlowDevice())
        opening = asyncio.create_task(hal.open())
        hal.begin_drain()
        await opening
        await hal.close()
        return hal

    assert asyncio.run(live_and_end()).state is State.DRAINING
