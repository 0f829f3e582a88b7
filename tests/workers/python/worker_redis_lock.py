"""Holds one lock with the package `python-redis-lock`, which renews by itself where there is a time to live.

Without LOCK_TTL_MS the lock has none, which is the library's default. LOCK_OWNER becomes the
first part of the lock's id.
"""

import math
import uuid

import redis
import redis_lock
from protocol import serve, settings

given = settings()
client = redis.StrictRedis.from_url(given.url)


class Worker:
    key = f"lock:{given.name}"

    def __init__(self):
        self.lock = self.new()

    def new(self) -> redis_lock.Lock:
        # The library knows whole seconds only.
        expire = None if given.ttl is None else math.ceil(given.ttl)
        own = given.owner and f"{given.owner}:{uuid.uuid4()}"
        return redis_lock.Lock(client, given.name, expire=expire, id=own, auto_renewal=expire is not None)

    def try_take(self) -> bool:
        return self.lock.acquire(timeout=1)

    def release(self) -> None:
        self.lock.release()
        # Its id is made with the object: a new one for the next time.
        self.lock = self.new()


serve("python-redis-lock", Worker())
