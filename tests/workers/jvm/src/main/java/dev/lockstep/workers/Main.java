package dev.lockstep.workers;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.redisson.api.RedissonClient;

/**
 * Commands from the standard input, events to the standard output, and a proper end; {@code ../README.md} describes the
 * protocol. In: the library's name as the argument. Out: one JSON object per line. No lock's value is ever written.
 */
final class Main {
    private static final Duration ATTEMPT = Duration.ofMillis(200);

    private final String name;
    private final Holder holder;
    private final BlockingQueue<String> commands = new LinkedBlockingQueue<>();
    private boolean held;
    private boolean taking;
    private volatile int status;

    private Main(String name, Holder holder) {
        this.name = name;
        this.holder = holder;
    }

    public static void main(String[] arguments) throws Exception {
        String name = arguments[0];
        Settings settings = Settings.fromEnvironment();
        Holder holder = switch (name) {
            case "redisson" -> new RedissonHolder(settings, RedissonClient::getLock);
            case "redisson-fair" -> new RedissonHolder(settings, RedissonClient::getFairLock);
            case "redisson-read" ->
                new RedissonHolder(settings, (client, lock) -> client.getReadWriteLock(lock).readLock());
            case "redisson-write" ->
                new RedissonHolder(settings, (client, lock) -> client.getReadWriteLock(lock).writeLock());
            case "shedlock" -> new ShedLockHolder(settings);
            case "spring-integration-redis" -> new SpringHolder(settings);
            default -> throw new IllegalArgumentException("there is no library " + name);
        };
        new Main(name, holder).serve();
    }

    private void serve() throws Exception {
        Thread worker = Thread.currentThread();
        // Here ends a SIGTERM. The usual status of such an end would say that the signal killed the process.
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            commands.add("quit");
            try {
                worker.join();
            } catch (InterruptedException interrupted) {
                Thread.currentThread().interrupt();
            }
            Runtime.getRuntime().halt(status);
        }));
        Thread reader = new Thread(this::read);
        reader.setDaemon(true);
        reader.start();
        emit("ready", "library", name, "version", version(), "key", holder.key());
        while (true) {
            String command = taking ? commands.poll() : commands.take();
            if ("quit".equals(command)) {
                break;
            }
            try {
                if (command == null) {
                    tryToTake();
                } else {
                    obey(command);
                }
            } catch (Exception error) {
                taking = taking && command != null;
                emit("failed", "command", command == null ? "take" : command, "error", error.toString());
            }
        }
        try {
            if (held) {
                release();
            }
        } catch (Exception error) {
            status = 1;
            emit("failed", "command", "quit", "error", error.toString());
        }
        // Past the libraries' threads; from the hook, this thread just ends.
        new Thread(() -> System.exit(status)).start();
    }

    private void read() {
        try (var input = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8))) {
            String line;
            while ((line = input.readLine()) != null) {
                commands.add(line.strip());
            }
        } catch (IOException gone) {
            // As at the end of the input: whoever drives this worker is gone.
        }
        commands.add("quit");
    }

    private void obey(String command) throws Exception {
        switch (command) {
            case "take" -> {
                if (held || taking) {
                    throw new IllegalStateException("the lock is held or being taken already");
                }
                taking = true;
            }
            case "release" -> {
                if (!held) {
                    throw new IllegalStateException("the lock is not held");
                }
                release();
            }
            case "extend" -> {
                holder.extend();
                emit("extended");
            }
            default -> throw new IllegalArgumentException("there is no such command");
        }
    }

    private void tryToTake() throws Exception {
        if (holder.take(ATTEMPT)) {
            taking = false;
            held = true;
            emit("taken");
        }
    }

    private void release() throws Exception {
        held = false;
        holder.release();
        emit("released");
    }

    /** The version in the name of the library's archive. */
    private String version() {
        String archive = holder.library().getProtectionDomain().getCodeSource().getLocation().getPath();
        Matcher version = Pattern.compile("-([0-9][^/]*)\\.jar$").matcher(archive);
        return version.find() ? version.group(1) : "unknown";
    }

    private static synchronized void emit(String event, String... more) {
        StringBuilder line = new StringBuilder("{\"event\":").append(quoted(event));
        for (int i = 0; i < more.length; i += 2) {
            line.append(',').append(quoted(more[i])).append(':').append(quoted(more[i + 1]));
        }
        System.out.println(line.append('}'));
    }

    private static String quoted(String text) {
        StringBuilder quoted = new StringBuilder("\"");
        for (char c : text.toCharArray()) {
            if (c == '"' || c == '\\') {
                quoted.append('\\').append(c);
            } else if (c < ' ') {
                quoted.append(String.format("\\u%04x", (int) c));
            } else {
                quoted.append(c);
            }
        }
        return quoted.append('"').toString();
    }
}
