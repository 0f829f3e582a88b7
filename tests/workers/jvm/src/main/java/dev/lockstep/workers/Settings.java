package dev.lockstep.workers;

import java.net.URI;
import java.time.Duration;
import java.util.Optional;

/** What a worker is told by its environment; {@code ../README.md} describes it. Without a TTL, the library's own holds. */
record Settings(URI redis, String name, Optional<Duration> ttl, Optional<String> owner) {
    static Settings fromEnvironment() {
        String url = needed("REDIS_URL");
        if (url.contains(",")) {
            throw new IllegalArgumentException("this library locks in one Redis: give one address in REDIS_URL");
        }
        Optional<Duration> ttl = variable("LOCK_TTL_MS").map(Long::valueOf).map(Duration::ofMillis);
        return new Settings(URI.create(url), needed("LOCK_NAME"), ttl, variable("LOCK_OWNER"));
    }

    private static String needed(String name) {
        return variable(name).orElseThrow(() -> new IllegalArgumentException(name + " is needed, see the README"));
    }

    private static Optional<String> variable(String name) {
        return Optional.ofNullable(System.getenv(name)).filter(value -> !value.isEmpty());
    }
}
