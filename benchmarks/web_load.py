"""Loads `atdsr web` with many clients, and attacks it, and counts what is lost or wrong.

    python benchmarks/web_load.py --clients 50 --pictures 500

First many clients send small pictures; half of them wait for the result, the others ask for it.
Each result must have the bytes that `batch.run` makes in this process. Then, one after another:
clients that send a byte at a time, requests that are cut off, jobs that are cancelled, bombs,
bodies of 10 GB, headers of 100,000 bytes, names that are paths, and a worker that is killed again
and again. After each of them an ordinary picture must be enlarged, every job must have ended with
a result or a reason, and there must be no answer with status 500. At the end there must be no file
left.

It exits with 1 if something is lost, wrong or left.
"""

import argparse
import asyncio
import io
import json
import random
import struct
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx
import numpy as np
from PIL import Image

from atdsr import batch
from atdsr.inference import load
from script import run_script
from web_service import WebService, started

MODEL = "atd-light-x2"
_DISTINCT = 20
_REASONS = frozenset({"failed", "cancelled"})


class Attack:
    """One service under attack.

    Args:
        service: the service.
        picture: an ordinary picture.
        result: what it becomes.
    """

    def __init__(self, service: WebService, picture: bytes, result: bytes) -> None:
        self.service = service
        self.picture, self.result = picture, result
        self.failures: list[str] = []

    def client(self) -> httpx.AsyncClient:
        """Return a client with connections of its own."""
        limits = httpx.Limits(max_connections=100)
        return httpx.AsyncClient(
            base_url=self.service.url, timeout=600, trust_env=False, limits=limits
        )

    def expect(self, holds: bool, what: str) -> None:
        """Note a failure unless something holds."""
        if not holds:
            self.failures.append(what)

    async def run(self, name: str, attack: Callable[[], Awaitable[str]]) -> None:
        """Run one attack, and look afterwards whether the service still works."""
        begin = time.perf_counter()
        told = await attack()
        seconds = time.perf_counter() - begin
        async with self.client() as client:
            begin = time.perf_counter()
            answer = await client.post(
                "/v1/upscale", content=self.picture, headers={"Prefer": "wait=500"}
            )
            after = time.perf_counter() - begin
            self.expect(answer.content == self.result, f"{name}: no picture afterwards")
            metrics = (await client.get("/metrics")).text
        self.expect('status="500"' not in metrics, f"{name}: an answer with status 500")
        print(f"{name:16} {seconds:6.1f} s  {told}; an ordinary picture then took {after:.1f} s")

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open a connection to the service."""
        return await asyncio.open_connection("127.0.0.1", self.service.port)

    async def raw(self, *pieces: bytes) -> bytes:
        """Send some bytes and return the status line of the answer, which may come before all."""
        reader, writer = await self.connect()
        answer = asyncio.create_task(reader.read(200))
        try:
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                if answer.done():
                    break
            return (await asyncio.wait_for(answer, 60)).split(b"\r\n")[0]
        except (ConnectionError, TimeoutError):
            return b"closed"
        finally:
            writer.close()

    async def ended(self, client: httpx.AsyncClient, job: str) -> str:
        """The state of a job when it has ended."""
        while True:
            answer = await client.get(f"/v1/jobs/{job}")
            if answer.status_code == 404:
                return "expired"
            told = answer.json()
            if told["expires"] is not None:
                with_reason = told["state"] == "cancelled" or told["problem"]
                self.expect(told["state"] == "done" or bool(with_reason), f"{job}: no reason")
                return told["state"]
            await asyncio.sleep(1)

    # ------------------------------------------------------------------------------- the attacks

    async def slow_senders(self) -> str:
        """Send a byte a second, of a body or of headers."""
        head = b"POST /v1/upscale HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9999\r\n\r\n"

        async def dribble(start: bytes) -> bytes:
            reader, writer = await self.connect()
            writer.write(start)
            for _ in range(120):
                try:
                    writer.write(b"a")
                    await writer.drain()
                    line = await asyncio.wait_for(reader.read(100), 1)
                    return line.split(b"\r\n")[0] or b"closed"
                except TimeoutError:
                    continue
                except ConnectionError:
                    return b"closed"
            writer.close()
            return b"never answered"

        starts = [head] * 50 + [b"GET / HTTP/1.1\r\nhost: localhost\r\nx: "] * 50
        answers = Counter(await asyncio.gather(*map(dribble, starts)))
        self.expect(not answers[b"never answered"], "a slow sender was never answered")
        return ", ".join(f"{count} {line.decode()!r}" for line, count in answers.items())

    async def half_requests(self) -> str:
        """Cut requests off anywhere."""
        whole = (
            b"POST /v1/upscale HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n"
            % len(self.picture)
        ) + self.picture
        rng = random.Random(0)
        for _ in range(300):
            _, writer = await self.connect()
            writer.write(whole[: rng.randrange(1, len(whole))])
            await writer.drain()
            writer.transport.abort() if rng.random() < 0.5 else writer.close()
        return "300 requests cut off"

    async def cancels(self) -> str:
        """Send 1,000 pictures and cancel each at once."""
        states: Counter[str] = Counter()
        gate = asyncio.Semaphore(20)

        async def cancel(client: httpx.AsyncClient) -> None:
            async with gate:
                answer = await client.post("/v1/upscale", content=self.picture)
                if answer.status_code != 202:
                    states[f"{answer.status_code}"] += 1
                    return
                job = answer.json()["id"]
                await client.delete(f"/v1/jobs/{job}")
                states[await self.ended(client, job)] += 1

        async with self.client() as client:
            await asyncio.gather(*(cancel(client) for _ in range(1000)))
        self.expect(states.total() == 1000, "a cancelled job was lost")
        self.expect(states.keys() <= {"done", "expired", "cancelled"}, f"cancels: {states}")
        return ", ".join(f"{count} {state}" for state, count in states.items())

    async def bombs(self) -> str:
        """Send small files that stand for large pictures."""
        statuses: Counter[int] = Counter()
        async with self.client() as client:
            for content in bombs():
                answer = await client.post(
                    "/v1/upscale", content=content, headers={"Prefer": "wait=300"}
                )
                statuses[answer.status_code] += 1
                self.expect(answer.status_code in (413, 415, 422), f"bomb: {answer.text[:200]}")
        return ", ".join(f"{count} with {status}" for status, count in statuses.items())

    async def huge_bodies(self) -> str:
        """Send bodies of 10 GB, announced and not."""
        head = b"POST /v1/upscale HTTP/1.1\r\nhost: localhost\r\n"
        announced = head + b"content-length: 10000000000\r\n\r\n"
        chunked = head + b"transfer-encoding: chunked\r\n\r\n"
        block = bytes(2**20)
        chunk = b"%x\r\n%s\r\n" % (len(block), block)
        lines = Counter(
            await asyncio.gather(
                *(self.raw(announced, *([block] * 10_000)) for _ in range(5)),
                *(self.raw(chunked, *([chunk] * 10_000)) for _ in range(5)),
            )
        )
        allowed = {b"HTTP/1.1 413 Content Too Large", b"HTTP/1.1 413 Request Entity Too Large"}
        self.expect(lines.keys() <= allowed | {b"closed"}, f"huge bodies: {lines}")
        return ", ".join(f"{count} {line.decode()!r}" for line, count in lines.items())

    async def headers(self) -> str:
        """Send headers of 100,000 bytes, at once and in pieces."""
        start = b"GET / HTTP/1.1\r\nhost: localhost\r\n"
        long = [b"x%d: %s\r\n" % (number, b"a" * 1000) for number in range(100)]
        lines = Counter(
            [
                await self.raw(start + b"".join(long) + b"\r\n"),
                await self.raw(start, *long, b"\r\n"),
                await self.raw(start + b"x: " + b"a" * 100_000 + b"\r\n\r\n"),
                await self.raw(b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nhost: a\r\n\r\n"),
            ]
        )
        self.expect(all(b" 4" in line or line == b"closed" for line in lines), f"headers: {lines}")
        return ", ".join(f"{count} {line.decode()!r}" for line, count in lines.items())

    async def paths(self) -> str:
        """Give pictures names that are paths, or strange."""
        names = [
            *("../../../../tmp/evil.png", "/etc/cron.d/evil.png", "..\\..\\evil.png", "~/evil.png"),
            *("a\0.png", "\u202egnp.exe", "con.png", "." * 200, "-rf", "$(touch evil).png"),
        ]
        async with self.client() as client:
            for name in names:
                answer = await client.post(
                    "/v1/upscale",
                    params={"filename": name},
                    content=self.picture,
                    headers={"Prefer": "wait=300"},
                )
                self.expect(answer.content == self.result, f"{name!r}: {answer.text[:100]}")
        strange = list(self.service.folder.parent.rglob("*evil*"))
        places = (Path("/tmp/evil.png"), Path("/etc/cron.d/evil.png"), Path.home() / "evil.png")
        strange += [place for place in (*places, Path("evil")) if place.exists()]
        self.expect(not strange, f"written: {strange}")
        return f"{len(names)} names, none of them a path"

    async def killed_workers(self) -> str:
        """Kill all child processes again and again while they work."""
        states: Counter[str] = Counter()

        async def follow(client: httpx.AsyncClient, content: bytes) -> None:
            job = (await client.post("/v1/upscale", content=content)).json()["id"]
            states[await self.ended(client, job)] += 1

        large = encode(np.random.default_rng(9).integers(0, 255, (200, 200, 3), np.uint8))
        async with self.client() as client:
            jobs = [asyncio.create_task(follow(client, large)) for _ in range(12)]
            kills = 0
            while not all(job.done() for job in jobs) and kills < 4:
                await asyncio.sleep(4)
                for child in self.service.children():
                    if "forkserver" not in " ".join(child.cmdline()) or child.ppid() != (
                        self.service.process.pid
                    ):
                        child.kill()
                kills += 1
            await asyncio.gather(*jobs)
        self.expect(states.total() == 12, "a job was lost")
        told = ", ".join(f"{count} {state}" for state, count in states.items())
        return f"all child processes killed {kills} times; 12 jobs: {told}"


def bombs() -> list[bytes]:
    """Small files that stand for large pictures."""

    def chunk(name: bytes, data: bytes) -> bytes:
        crc = struct.pack(">I", zlib.crc32(name + data))
        return struct.pack(">I", len(data)) + name + data + crc

    def png(width: int, height: int, data: bytes) -> bytes:
        head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
        parts = chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
        return b"\x89PNG\r\n\x1a\n" + parts

    text = chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(200_000_000), 9))
    ordinary = png(4, 4, zlib.compress(bytes(4 * 13)))
    return [
        png(100_000, 100_000, zlib.compress(bytes(1000))),
        png(2**31 - 1, 1, zlib.compress(bytes(1000))),
        png(8, 8, zlib.compress(bytes(300_000_000), 9))[:-40],
        ordinary[:33] + text * 3 + b"broken" + ordinary[33:],
        b"GIF89a\xff\xff\xff\xff\0\0\0" + bytes(1000),
        b"RIFF\xff\xff\xff\xffWEBPVP8X" + bytes(100),
    ]


def encode(samples: np.ndarray) -> bytes:
    """Return samples as a PNG file."""
    file = io.BytesIO()
    Image.fromarray(samples).save(file, "PNG")
    return file.getvalue()


def expected(folder: Path) -> list[tuple[bytes, bytes]]:
    """Small pictures, and what `atdsr upscale` makes of them."""
    rng = np.random.default_rng(0)
    for number in range(_DISTINCT):
        height, width = rng.integers(16, 49, 2)
        samples = rng.integers(0, 255, (height, width, 3), np.uint8)
        (folder / f"{number:02}.png").write_bytes(encode(samples))
    upscaler = load(MODEL, "cpu")
    config = batch.BatchConfig(batch.Factor(upscaler.scale))
    plan = batch.plan([str(folder)], f"{folder / 'out'}/", config)
    return [
        (Path(result.source).read_bytes(), Path(result.target or "").read_bytes())
        for result in batch.run(plan, upscaler)
    ]


async def load_test(attack: Attack, pairs: list[tuple[bytes, bytes]], clients: int, count: int):
    """Many clients at once; half of them wait for their results, the others ask for them."""
    numbers = iter(range(count))
    outcomes: Counter[str] = Counter()
    memory: list[dict[str, int]] = []

    async def one(client: httpx.AsyncClient, number: int) -> bytes:
        picture, _ = pairs[number % len(pairs)]
        while True:
            headers = {"Prefer": "wait=600"} if number % 2 else {}
            answer = await client.post("/v1/upscale", content=picture, headers=headers)
            if answer.status_code != 503:
                break
            outcomes["sent again"] += 1
            await asyncio.sleep(int(answer.headers["retry-after"]))
        if answer.status_code == 202:
            job = answer.json()
            await attack.ended(client, job["id"])
            answer = await client.get(job["url"] + "/result")
        return answer.content if answer.status_code == 200 else b""

    async def work() -> None:
        async with attack.client() as client:
            for number in numbers:
                content = await one(client, number)
                right = content == pairs[number % len(pairs)][1]
                outcomes["right" if right else "wrong" if content else "lost"] += 1
                if (outcomes["right"] + 1) % max(1, count // 5) == 0:
                    memory.append(attack.service.memory())

    begin = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(clients)))
    seconds = time.perf_counter() - begin
    attack.expect(outcomes["right"] == count, f"load: {outcomes}")
    told = ", ".join(
        f"{outcomes[kind]} {kind}" for kind in ("right", "wrong", "lost", "sent again")
    )
    print(f"{clients} clients, {count} pictures in {seconds:.1f} s: {told}")
    for name in ("server", "worker"):
        print(f"memory of the {name}, MiB:", *(each[name] // 2**20 for each in memory))
    if len(memory) > 2:
        grown = memory[-1]["server"] / memory[1]["server"]
        attack.expect(grown < 1.1, f"the memory of the server grew {grown:.2f} times")


async def run(service: WebService, pairs: list[tuple[bytes, bytes]], clients: int, count: int):
    """Run all of it, and return what failed."""
    attack = Attack(service, *pairs[0])
    await load_test(attack, pairs, clients, count)
    await attack.run("slow senders", attack.slow_senders)
    await attack.run("half requests", attack.half_requests)
    await attack.run("1,000 cancels", attack.cancels)
    await attack.run("bombs", attack.bombs)
    await attack.run("10 GB bodies", attack.huge_bodies)
    await attack.run("headers", attack.headers)
    await attack.run("paths", attack.paths)
    await attack.run("killed workers", attack.killed_workers)
    print("memory, MiB:", {name: size // 2**20 for name, size in service.memory().items()})
    return attack.failures


def main() -> None:
    """Run the load test and the attacks."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--pictures", type=int, default=500)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "pictures").mkdir()
        (folder / "tmp").mkdir()
        pairs = expected(folder / "pictures")
        with started(folder / "tmp", f"--model={MODEL}", "--max-megabytes=20") as service:
            failures = asyncio.run(run(service, pairs, options.clients, options.pictures))
            assert service.process.poll() is None, "the service has ended"
        left = list((folder / "tmp").glob("atdsr-web-*"))
        failures += [f"left: {path}" for path in left]
        if "Traceback" in (folder / "tmp/errors").read_text():
            failures.append((folder / "tmp/errors").read_text())
        for line in (folder / "tmp/log").read_text().splitlines():
            json.loads(line)
    for failure in failures:
        print("FAILED:", failure)
    print("nothing lost, wrong or left" if not failures else f"{len(failures)} failures")
    raise SystemExit(bool(failures))


if __name__ == "__main__":
    run_script(main)
