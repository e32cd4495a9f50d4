"""What an engine computes per second is measured, not believed."""

from pathlib import Path

from aiohttp import ClientSession

from tests.support.lab import Lab, started
from tests.support.until import until

_CONFIGURED, _TRUE = 20_000.0, 2_000.0


async def test_a_wrong_rate_is_replaced_by_a_measured_one(tmp_path: Path) -> None:
    """The file says ten times what the engines do: the first idle look at each of them puts it right."""
    options = ("--prefill-rate", str(_TRUE))
    with started(tmp_path / "lab", 2, *options, lab_options=("--calibrate",)) as report:
        async with ClientSession() as client:
            lab = Lab(tmp_path / "lab", report, client)

            async def measured() -> bool:
                rates = [one["prefill_tokens_per_second"] for one in (await lab.fleet()).values()]
                return all(rate < _CONFIGURED / 2 for rate in rates)

            await until(measured, "both engines are measured", 60)
            rates = [one["prefill_tokens_per_second"] for one in (await lab.fleet()).values()]
            # A busy machine makes an engine look slower, nothing makes it look faster.
            assert all(0 < rate <= _TRUE * 1.05 for rate in rates)
            await until(lab.idle, "nothing is counted", 10)
