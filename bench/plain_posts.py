"""What is possible at most: a process that only posts, with the same client, bodies and headers as the runner.

``python -m bench.plain_posts COUNT EACH``, addresses as JSON on stdin: ``EACH`` requests at once to each address.
Prints one JSON object: requests, seconds, CPU seconds, peak memory.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time
from collections.abc import Iterator

import aiohttp

from actions.channels import CHANNELS
from actions.channels.channel import Job, Services
from actions.exchange import Request
from actions.transport.sender import USER_AGENT
from bench.webhooks import event


def _request() -> Request:
    """A webhook's request, as its channel makes it."""
    config = {"url": "http://127.0.0.1/"}
    job = Job(event(0, config["url"], "plain"), config, {}, Services(), "delivery", 0)
    step = next(CHANNELS["WebhookAction"].exchange(job))
    assert isinstance(step, Request)
    return step


async def _post(session: aiohttp.ClientSession, url: str, request: Request, left: Iterator[int]) -> None:
    for _ in left:
        async with session.post(url, data=request.body, headers=request.headers, allow_redirects=False) as response:
            await response.read()
            assert response.status == 200


async def _run(count: int, each: int, urls: list[str]) -> dict[str, float]:
    request = _request()
    left = iter(range(count))
    connector = aiohttp.TCPConnector(limit=0)
    headers = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity"}
    async with aiohttp.ClientSession(
        connector=connector, cookie_jar=aiohttp.DummyCookieJar(), headers=headers
    ) as session:
        began_s, began_cpu_s = time.monotonic(), time.process_time()
        await asyncio.gather(*(_post(session, url, request, left) for _ in range(each) for url in urls))
        return {
            "records": count,
            "seconds": time.monotonic() - began_s,
            "cpu_seconds": time.process_time() - began_cpu_s,
            "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_run(int(sys.argv[1]), int(sys.argv[2]), json.load(sys.stdin)))))
