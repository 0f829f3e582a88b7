package dev.lockstep.workers;

import org.springframework.data.redis.connection.RedisConnectionFactory;
import org.springframework.data.redis.connection.lettuce.LettuceConnectionFactory;

/** What two of the libraries connect with. */
final class Spring {
    private Spring() {}

    static RedisConnectionFactory connect(Settings settings) {
        var factory = new LettuceConnectionFactory(settings.redis().getHost(), settings.redis().getPort());
        factory.afterPropertiesSet();
        factory.start();
        return factory;
    }
}
