// Holds one lock in one or more independent Redis servers with the package `redlock`: its `using` renews by itself.
// LOCK_OWNER becomes the first part of the value, through the only place where the library lets it in.

import { randomUUID } from 'node:crypto';
import { Redis } from 'ioredis';
import Redlock from 'redlock';
import { deferred, emit, serve, settings } from './protocol.mjs';

const { urls, name, ttl, owner } = settings();
const clients = urls.map((url) => {
  const client = new Redis(url);
  client.on('error', () => {}); // The library counts a server that fails as a vote against.
  return client;
});
// The library extends half a second before the end, by default. Where a short TTL is asked for, on a machine that is busy
// with tests, that would be too late now and then.
const locks = new Redlock(clients, ttl ? { automaticExtensionThreshold: Math.max(500, ttl / 2) } : {});
if (owner) locks._random = () => `${owner}:${randomUUID()}`;
let release;
let ended;

serve('redlock', {
  key: name,
  async take(stop) {
    for (;;) {
      const taken = deferred();
      const work = deferred();
      ended = locks.using([name], ttl ?? 10_000, async (signal) => {
        signal.addEventListener('abort', () => emit('lost', { error: String(signal.error?.name) }));
        taken.resolve();
        await work.promise;
      });
      // It ends before it took the lock only if it couldn't take it.
      ended.catch(taken.reject);
      release = work.resolve;
      try {
        await taken.promise;
        if (!stop.aborted) return;
        release();
        await ended;
      } catch (error) {
        if (error.name !== 'ExecutionError') throw error;
      }
      if (stop.aborted) throw new Error('stopped');
    }
  },
  async release() {
    release();
    await ended;
  },
  async close() {
    for (const client of clients) client.disconnect();
  },
});
