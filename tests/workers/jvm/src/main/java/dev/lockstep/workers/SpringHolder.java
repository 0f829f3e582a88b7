package dev.lockstep.workers;

import java.time.Duration;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.Lock;
import org.springframework.integration.redis.util.RedisLockRegistry;
import org.springframework.scheduling.concurrent.ThreadPoolTaskScheduler;

/** A lock of Spring Integration's RedisLockRegistry, with a scheduler for renewals. */
final class SpringHolder implements Holder {
    private static final String REGISTRY = "registry";

    private final String name;
    private final Lock lock;

    SpringHolder(Settings settings) {
        name = settings.name();
        RedisLockRegistry registry = settings.ttl()
                .map(ttl -> new RedisLockRegistry(Spring.connect(settings), REGISTRY, ttl))
                .orElseGet(() -> new RedisLockRegistry(Spring.connect(settings), REGISTRY));
        ThreadPoolTaskScheduler scheduler = new ThreadPoolTaskScheduler();
        scheduler.initialize();
        registry.setRenewalTaskScheduler(scheduler);
        lock = registry.obtain(name);
    }

    @Override
    public Class<?> library() {
        return RedisLockRegistry.class;
    }

    @Override
    public String key() {
        return REGISTRY + ":" + name;
    }

    @Override
    public boolean take(Duration wait) throws InterruptedException {
        return lock.tryLock(wait.toMillis(), TimeUnit.MILLISECONDS);
    }

    @Override
    public void release() {
        lock.unlock();
    }
}
