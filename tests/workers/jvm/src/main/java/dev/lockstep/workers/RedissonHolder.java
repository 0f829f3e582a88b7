package dev.lockstep.workers;

import java.time.Duration;
import java.util.concurrent.TimeUnit;
import java.util.function.BiFunction;
import org.redisson.Redisson;
import org.redisson.api.RLock;
import org.redisson.api.RedissonClient;
import org.redisson.client.codec.StringCodec;
import org.redisson.config.Config;

/**
 * Redisson's RLock without a lease time: its watchdog renews. The TTL is the watchdog's timeout. The owner is written into
 * the hash {@code instances}, under the client's id, which stands in the fields of all its locks.
 */
final class RedissonHolder implements Holder {
    private final String name;
    private final RLock lock;

    RedissonHolder(Settings settings, BiFunction<RedissonClient, String, RLock> kind) {
        Config config = new Config();
        config.setThreads(2).setNettyThreads(2);
        settings.ttl().map(Duration::toMillis).ifPresent(config::setLockWatchdogTimeout);
        config.useSingleServer()
                .setAddress(settings.redis().toString())
                .setConnectionMinimumIdleSize(1)
                .setSubscriptionConnectionMinimumIdleSize(1);
        name = settings.name();
        RedissonClient client = Redisson.create(config);
        settings.owner().ifPresent(owner -> client.getMap("instances", StringCodec.INSTANCE).put(client.getId(), owner));
        lock = kind.apply(client, name);
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
