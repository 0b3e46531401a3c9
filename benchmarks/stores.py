"""Time and memory of planning a bucket of a million pictures, which is listed but not read.

    python benchmarks/stores.py --objects 1000000

A server on this machine answers as S3 does, with pages of 1000 names in 1,000 folders. A process
plans the third of 64 shards, with outputs in another folder of which a quarter is there, and asks
of each of its pictures whether it is finished. The time is CPU seconds of this process; the memory
is what its peak grows by after the first page. What obstore takes for the list alone is told, too.
"""

import argparse
import multiprocessing
import os
import resource
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from atdsr import batch
from atdsr.base import stores
from atdsr.batch.staging import Stage
from script import run_script

PAGE = 1000


def main() -> None:
    """Plan a bucket, and print what it took."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--objects", type=int, default=1_000_000)
    objects = parser.parse_args().objects
    receiver, sender = multiprocessing.Pipe(duplex=False)
    server = multiprocessing.Process(target=_serve, args=(sender, objects), daemon=True)
    server.start()
    os.environ |= {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{receiver.recv()}",
        "AWS_SKIP_SIGNATURE": "true",
        "NO_PROXY": "127.0.0.1",
    }
    config = batch.BatchConfig(
        batch.Factor(2), models={2: ""}, recursive=True, shard=batch.Shard(3, 64)
    )
    folder = stores.locate("s3://bucket/in")
    if not isinstance(folder, stores.ObjectPath):
        raise TypeError("s3:// is a store")
    next(stores.list_objects(folder))  # what the libraries take is there

    before, start = _peak(), time.process_time()
    listed = sum(1 for _ in stores.list_objects(folder))
    ended = time.process_time()
    print(f"{listed:,} objects listed in {ended - start:.1f} s, {_grown(before)}")

    before, start = _peak(), time.process_time()
    plan = batch.plan(["s3://bucket/in"], "s3://bucket/out", config)
    ended = time.process_time()
    print(f"planned in {ended - start:.1f} s, {_grown(before)}: {plan.total:,} in the shard")

    stage, start = Stage(plan), time.process_time()
    finished = sum(stage.exists(item.target) for item in plan.items)
    ended = time.process_time()
    print(f"gone through in {ended - start:.1f} s, {_grown(before)}: {finished:,} are finished")
    server.terminate()


def _serve(sender: Any, objects: int) -> None:
    """Answer lists: all objects in `in/`, and every fourth of their outputs in `out/`."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            query = parse_qs(urlsplit(self.path).query)
            is_out = query["prefix"] == ["out/"]
            form = "out/{:04}/{:08}_x2.png" if is_out else "in/{:04}/{:08}.png"
            total = objects // 4 if is_out else objects
            first = int(query.get("continuation-token", ["0"])[0])
            last = min(first + PAGE, total)
            each = (
                "<Contents><Key>{}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
                '<ETag>"0123456789abcdef0123456789abcdef"</ETag><Size>1000</Size></Contents>'
            )
            names = (form.format(number // PAGE, number) for number in range(first, last))
            more = f"<NextContinuationToken>{last}</NextContinuationToken>" * (last < total)
            text = f"<ListBucketResult>{''.join(map(each.format, names))}{more}</ListBucketResult>"
            self.send_response(200)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        def do_HEAD(self) -> None:
            self.send_response(404)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    sender.send(server.server_port)
    server.serve_forever()


def _peak() -> int:
    """Return the most memory that this process has had so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _grown(before: int) -> str:
    return f"memory {(_peak() - before) / 2**20:.0f} MiB"


if __name__ == "__main__":
    run_script(main)
