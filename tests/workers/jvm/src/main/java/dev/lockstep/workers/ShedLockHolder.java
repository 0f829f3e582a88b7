package dev.lockstep.workers;

import java.time.Duration;
import java.time.Instant;
import java.util.Optional;
import net.javacrumbs.shedlock.core.LockConfiguration;
import net.javacrumbs.shedlock.core.LockProvider;
import net.javacrumbs.shedlock.core.SimpleLock;
import net.javacrumbs.shedlock.provider.redis.spring.RedisLockProvider;

/** ShedLock's lock of a scheduled task, with its provider for Redis as it comes. The TTL is lockAtMostFor. */
final class ShedLockHolder implements Holder {
    private final String name;
    private final Duration atMost;
    private final LockProvider provider;
    private Optional<SimpleLock> lock = Optional.empty();

    ShedLockHolder(Settings settings) {
        name = settings.name();
        // The library has no time of its own.
        atMost = settings.ttl().orElse(Duration.ofSeconds(10));
        provider = new RedisLockProvider(Spring.connect(settings));
    }

    @Override
    public Class<?> library() {
        return LockProvider.class;
    }

    @Override
    public String key() {
        return "job-lock:default:" + name;
    }

    @Override
    public boolean take(Duration wait) throws InterruptedException {
        lock = provider.lock(new LockConfiguration(Instant.now(), name, atMost, Duration.ZERO));
        if (lock.isEmpty()) {
            // The library skips a task whose lock another has; the next run of the schedule tries again.
            Thread.sleep(wait.toMillis());
        }
        return lock.isPresent();
    }

    @Override
    public void extend() {
        lock = lock.orElseThrow().extend(atMost, Duration.ZERO);
        lock.orElseThrow(() -> new IllegalStateException("the lock is not there any more"));
    }

    @Override
    public void release() {
        lock.orElseThrow().unlock();
    }
}
