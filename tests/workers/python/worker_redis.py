"""Holds one lock with the package `redis`: its class Lock. Nothing renews but the command `extend`.

Without LOCK_TTL_MS the lock has no time to live, which is the library's default. LOCK_OWNER becomes the
first part of the token.
"""

import uuid

import redis
from protocol import serve, settings

given = settings()
# The lock is taken by one thread and released by another.
lock = redis.Redis.from_url(given.url).lock(given.name, timeout=given.ttl, thread_local=False)


class Worker:
    key = given.name

    def try_take(self) -> bool:
        token = given.owner and f"{given.owner}:{uuid.uuid4()}"
        return lock.acquire(blocking_timeout=1, token=token)

    def extend(self) -> None:
        lock.reacquire()

    def release(self) -> None:
        lock.release()


serve("redis", Worker())
