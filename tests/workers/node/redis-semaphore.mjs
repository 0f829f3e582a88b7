// Holds a mutex, or the only permit of a semaphore, with the package `redis-semaphore`, which renews by itself.
// LOCK_OWNER becomes the first part of the identifier.

import { randomUUID } from 'node:crypto';
import { Redis } from 'ioredis';
import semaphores from 'redis-semaphore';
import { emit, only, serve, settings } from './protocol.mjs';

const kind = process.argv[2];
const { urls, name, ttl, owner } = settings();
const client = new Redis(only(urls, 'redis-semaphore'));
client.on('error', () => {}); // It connects again by itself.
const options = {
  // Not for ever, so that a stop is noticed between two attempts.
  acquireTimeout: 500,
  retryInterval: 50,
  onLockLost: (error) => emit('lost', { error: error.name }),
  ...(ttl ? { lockTimeout: ttl } : {}),
};
let lock;

function make() {
  const own = { ...options, ...(owner ? { identifier: `${owner}:${randomUUID()}` } : {}) };
  return kind === 'mutex'
    ? new semaphores.Mutex(client, name, own)
    : new semaphores.Semaphore(client, name, 1, own);
}

serve('redis-semaphore', {
  key: `${kind}:${name}`,
  async take(stop) {
    lock = make();
    while (!(await lock.tryAcquire(stop))) {
      if (stop.aborted) throw new Error('stopped');
    }
  },
  async release() {
    await lock.release();
  },
  async close() {
    client.disconnect();
  },
});
