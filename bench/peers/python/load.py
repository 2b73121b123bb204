"""The Python library `batched` under the load of bench/suites/functions.ts.

Reads one JSON object from the command line: batchSize, inFlight (a list), timeoutsMs (a list), seconds. Prints one that
says the versions and, for every number in flight and every timeout, how many items were answered per second and how
many microseconds of CPU time an item took.
"""

import asyncio
import json
import platform
import sys
import time
from importlib.metadata import version

from batched import aio


# A coroutine: the library moves every batch of a plain function to another thread, which costs it somewhat more.
async def increment(items: list[int]) -> list[int]:
    return [item + 1 for item in items]


async def check(batch_size: int) -> None:
    """A contender that answers wrongly may be as fast as it likes."""
    batched = aio.dynamically(increment, batch_size=batch_size)
    if await asyncio.gather(*(batched(i) for i in range(100))) != list(range(1, 101)):
        raise RuntimeError("the answers are wrong")


async def measured(batch_size: int, in_flight: int, timeout_ms: float, seconds: float) -> dict[str, float]:
    batched = aio.dynamically(increment, batch_size=batch_size, timeout_ms=timeout_ms)

    async def run(end: float) -> int:
        async def client(number: int) -> int:
            answered = 0
            while time.perf_counter() < end:
                await batched(number + answered)
                answered += 1
            return answered

        return sum(await asyncio.gather(*(client(number) for number in range(in_flight))))

    await run(time.perf_counter() + seconds / 4)
    cpu_start = time.process_time()
    start = time.perf_counter()
    answered = await run(start + seconds)
    return {
        "itemsPerSecond": answered / (time.perf_counter() - start),
        "us": 1e6 * (time.process_time() - cpu_start) / answered,
    }


def main() -> None:
    load = json.loads(sys.argv[1])
    batch_size = load["batchSize"]
    asyncio.run(check(batch_size))
    # An event loop for each run: a batcher polls its queue until the loop ends, in the way of those after it.
    runs = [
        {
            "inFlight": in_flight,
            "timeoutMs": timeout_ms,
            **asyncio.run(measured(batch_size, in_flight, timeout_ms, load["seconds"])),
        }
        for in_flight in load["inFlight"]
        for timeout_ms in load["timeoutsMs"]
    ]
    print(json.dumps({"python": platform.python_version(), "batched": version("batched"), "runs": runs}))


main()
