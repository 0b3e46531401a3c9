"""What `atdsr web` costs beside the work itself: CPU time for a picture, the page, and the start.

    python benchmarks/web_overhead.py --rounds 15

A picture of 512x512 is enlarged by the service (the CPU time of all its processes counts) and by
`batch.run` in this process, which is what `atdsr upscale` does once it has started, one after the
other and again. The table has the median of the ratios of neighbours. Set OMP_NUM_THREADS=1 and
OMP_WAIT_POLICY=PASSIVE where the machine has other work.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import httpx
import numpy as np
from PIL import Image

from atdsr import batch
from atdsr.base.memory import keep_freed_memory
from atdsr.inference import Upscaler, load
from script import run_script
from web_service import WebService, started

MODEL = "atd-light-x2"


def by_service(service: WebService, client: httpx.Client, picture: bytes) -> tuple[float, bytes]:
    """Return the CPU seconds of the service for a picture, and the result."""
    before = service.cpu_seconds()
    answer = client.post(
        "/v1/upscale",
        params={"filename": "a.png"},
        content=picture,
        headers={"Prefer": "wait=600"},
    )
    answer.raise_for_status()
    return service.cpu_seconds() - before, answer.content


def by_command(upscaler: Upscaler, source: Path) -> tuple[float, bytes]:
    """Return the CPU seconds of `batch.run` for a picture, and the result."""
    config = batch.BatchConfig(batch.Factor(upscaler.scale), overwrite=True)
    before = time.process_time()
    (result,) = batch.run(batch.plan([str(source)], None, config), upscaler)
    assert result.target is not None, result.message
    return time.process_time() - before, Path(result.target).read_bytes()


def page_milliseconds(client: httpx.Client) -> list[float]:
    """Return how long the page takes, again and again."""
    times = []
    for _ in range(30):
        begin = time.perf_counter()
        client.get("/").raise_for_status()
        times.append(1000 * (time.perf_counter() - begin))
    return times


def main() -> None:
    """Measure, and print what came out."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--side", type=int, default=512)
    options = parser.parse_args()
    keep_freed_memory()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = folder / "a.png"
        y, x = np.mgrid[: options.side, : options.side]
        waves = (
            128
            + 60 * np.sin(x / 9) * np.cos(y / 7)
            + np.random.default_rng(0).normal(0, 9, x.shape)
        )
        Image.fromarray(waves.clip(0, 255).astype(np.uint8)).convert("RGB").save(source)
        upscaler = load(MODEL, "cpu")
        with (
            started(folder, f"--model={MODEL}", "--quiet", "--device=cpu") as service,
            httpx.Client(base_url=service.url, timeout=600, trust_env=False) as client,
        ):
            page = page_milliseconds(client)
            ratios, seconds = [], []
            for number in range(options.rounds + 1):
                there, file = by_service(service, client, source.read_bytes())
                here, same = by_command(upscaler, source)
                assert file == same, "the service makes another file"
                if number:  # the first one warms both up
                    ratios.append(there / here)
                    seconds.append(here)
    print(f"until the server answers: {service.up_seconds:.2f} s")
    print(f"page: first {page[0]:.1f} ms, median {statistics.median(page):.1f} ms")
    print(
        f"a picture of {options.side}x{options.side}: {statistics.median(seconds):.2f} s of CPU "
        f"by itself; by the service {100 * (statistics.median(ratios) - 1):+.1f}% "
        f"(median of {len(ratios)}, from {100 * (min(ratios) - 1):+.1f}% "
        f"to {100 * (max(ratios) - 1):+.1f}%)"
    )


if __name__ == "__main__":
    run_script(main)
