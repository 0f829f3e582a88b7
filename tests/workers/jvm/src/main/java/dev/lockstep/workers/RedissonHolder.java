package dev.lockstep.workers;

import java.time.Duration;
import java.util.concurrent.TimeUnit;
import org.redisson.Redisson;
import org.redisson.api.RLock;
import org.redisson.config.Config;

/** Redisson's RLock without a lease time: its watchdog renews. The TTL is the watchdog's timeout. */
final class RedissonHolder implements Holder {
    private final String name;
    private final RLock lock;

    RedissonHolder(Settings settings) {
        Config config = new Config();
        config.setThreads(2).setNettyThreads(2);
        settings.ttl().map(Duration::toMillis).ifPresent(config::setLockWatchdogTimeout);
        config.useSingleServer()
                .setAddress(settings.redis().toString())
                .setConnectionMinimumIdleSize(1)
                .setSubscriptionConnectionMinimumIdleSize(1);
        name = settings.name();
        lock = Redisson.create(config).getLock(name);
    }

    @Override
    public Class<?> library() {
        return Redisson.class;
    }

    @Override
    public String key() {
        return name;
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
