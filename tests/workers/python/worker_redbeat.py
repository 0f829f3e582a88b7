"""Holds the lock of a Celery beat with the package `celery-redbeat`: Celery's own beat service with RedBeat's scheduler,
which takes the lock when it starts, extends it with every tick, and releases it when it stops. Nothing is scheduled.

LOCK_NAME is the key prefix without its colon, `redbeat` by default in the library: the key is `redbeat::lock`.
Without LOCK_TTL_MS the library's times hold: 1500 s, extended every 300 s. LOCK_OWNER is written into the hash
`instances`, under the lock's token, once the library has the lock: it takes no token from an application.
"""

import threading

from celery import Celery
from celery.beat import Service
from celery.signals import beat_init
from protocol import serve, settings
from redbeat import RedBeatScheduler
from redbeat.schedulers import get_redis

given = settings()
app = Celery("worker", broker=given.url)
app.conf.update(redbeat_redis_url=given.url, redbeat_key_prefix=f"{given.name}:", redbeat_redis_options={})
if given.ttl is not None:
    # The library's proportion: the lock outlives four ticks. It extends by whole seconds.
    app.conf.update(redbeat_lock_timeout=int(given.ttl), beat_max_loop_interval=int(given.ttl) / 5)


taken = threading.Event()


@beat_init.connect
def register(sender, **_):
    """Runs after the library's own receiver, which was connected first and takes the lock."""
    lock = sender.scheduler.lock
    if lock is None:
        return
    if given.owner:
        get_redis(app).hset("instances", lock.local.token, given.owner)
    taken.set()


class Worker:
    key = f"{given.name}::lock"

    def __init__(self):
        self.service = None

    def start(self) -> None:
        self.service = Service(app, scheduler_cls=RedBeatScheduler)
        self.thread = threading.Thread(target=self.service.start, daemon=True)
        self.thread.start()

    def try_take(self) -> bool:
        # The service waits for the lock by itself, as long as it takes.
        if self.service is None:
            self.start()
        return taken.wait(1)

    def release(self) -> None:
        self.service.stop()
        self.thread.join()
        self.service = None
        taken.clear()


serve("celery-redbeat", Worker())
