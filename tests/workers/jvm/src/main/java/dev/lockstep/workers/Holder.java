package dev.lockstep.workers;

import java.time.Duration;

/** A lock of one library. All calls come from one thread, as some libraries make the thread part of the holder. */
interface Holder {
    /** A class of the library: its archive says which version it is. */
    Class<?> library();

    /** The key that the lock has. */
    String key();

    /** Tries for about so long to take the lock, and says whether it has it. */
    boolean take(Duration wait) throws Exception;

    void release() throws Exception;

    /** Extends the lock to its whole time to live, where the library doesn't renew by itself. */
    default void extend() throws Exception {
        throw new UnsupportedOperationException("the library renews by itself");
    }
}
