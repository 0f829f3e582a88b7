"""What every worker of this folder has in common: settings from the environment, commands from the standard input,
events to the standard output, and a proper end. `../README.md` describes the protocol.

In: an object with `key`, `try_take()` (returns within about a second whether the lock was had), `release()`, and
`extend()` where the library doesn't renew by itself. Out: one JSON object per line. No lock's value is ever written.
"""

import json
import os
import signal
import sys
import threading
from dataclasses import dataclass
from importlib import metadata


@dataclass(frozen=True)
class Settings:
    url: str
    name: str
    ttl: float | None  # seconds; without it, the library's own default holds
    owner: str | None


def settings() -> Settings:
    url, name = os.environ.get("REDIS_URL"), os.environ.get("LOCK_NAME")
    if not url or not name:
        sys.exit("REDIS_URL and LOCK_NAME are needed: where the locks are, and the name of the one to take")
    if "," in url:
        sys.exit("this library locks in one Redis: give one address in REDIS_URL")
    ttl = os.environ.get("LOCK_TTL_MS")
    return Settings(url, name, int(ttl) / 1000 if ttl else None, os.environ.get("LOCK_OWNER") or None)


_writing = threading.Lock()


def emit(event: str, **more: str) -> None:
    with _writing:
        sys.stdout.write(json.dumps({"event": event, **more}) + "\n")
        sys.stdout.flush()


def said(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


class Stop(BaseException):
    """A signal asks the process to end."""


class Runner:
    def __init__(self, library: str, worker):
        self.library = library
        self.worker = worker
        self.stop = threading.Event()
        self.held = False
        self.taking: threading.Thread | None = None

    def take(self) -> None:
        if self.held or self.taking:
            raise RuntimeError("the lock is held or being taken already")
        # In a thread: a lock that another holds must not keep anybody from `quit`.
        self.taking = threading.Thread(target=self._take)
        self.taking.start()

    def _take(self) -> None:
        try:
            while not self.stop.is_set():
                if self.worker.try_take():
                    self.held = True
                    self.taking = None
                    emit("taken")
                    return
        except Exception as error:  # Whatever the library raises is for whoever reads the events.
            self.taking = None
            emit("failed", command="take", error=said(error))

    def release(self) -> None:
        if not self.held:
            raise RuntimeError("the lock is not held")
        self.held = False
        self.worker.release()
        emit("released")

    def extend(self) -> None:
        if not hasattr(self.worker, "extend"):
            raise RuntimeError(f"{self.library} renews by itself")
        self.worker.extend()
        emit("extended")

    def run(self) -> None:
        commands = {"take": self.take, "release": self.release, "extend": self.extend}
        try:
            for line in sys.stdin:
                name = line.strip()
                if name == "quit":
                    return
                try:
                    if name not in commands:
                        raise RuntimeError("there is no such command")
                    commands[name]()
                except Exception as error:
                    emit("failed", command=name, error=said(error))
            # The end of the input: whoever drives this worker is gone.
        except Stop:
            pass

    def end(self) -> int:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        self.stop.set()
        try:
            if taking := self.taking:
                taking.join()
            if self.held:
                self.release()
        except Exception as error:
            emit("failed", command="quit", error=said(error))
            return 1
        return 0


def serve(library: str, worker) -> None:
    def stop(_signal, _frame):
        raise Stop

    # A thread of the library that ends by an exception was the one that renewed.
    threading.excepthook = lambda ended: emit("lost", error=ended.exc_type.__name__)
    runner = Runner(library, worker)
    try:
        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)
        emit("ready", library=library, version=metadata.version(library), key=worker.key)
        runner.run()
    except Stop:
        pass
    status = runner.end()
    sys.stdout.flush()
    # Past the threads of libraries that would not end by themselves.
    os._exit(status)
