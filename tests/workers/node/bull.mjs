// Holds the lock of one job with the package `bull`, by working on that job: the library renews meanwhile. LOCK_OWNER is
// written into the hash `instances`, under the token that is the value of all locks of this process.

import Queue from 'bull';
import { deferred, emit, only, serve, settings } from './protocol.mjs';

const { urls, name, ttl, owner, job: jobId } = settings();
// Without a TTL: the library's own times.
const times = ttl ? { lockDuration: ttl, lockRenewTime: ttl / 2, stalledInterval: ttl / 2, guardInterval: 250 } : {};
const queue = new Queue(name, only(urls, 'bull'), { settings: times });
queue.on('error', () => {}); // It connects again by itself.
// Only of errors: that another has the lock, the library doesn't tell.
queue.on('lock-extension-failed', (_job, error) => emit('lost', { error: error.name }));
let taken;
let work;

await queue.pause(true, true);
if (owner) await queue.client.hset('instances', queue.token, owner);
queue.process(async () => {
  work = deferred();
  taken.resolve();
  await work.promise;
}).catch(() => {});

serve('bull', {
  key: `bull:${name}:${jobId}:lock`,
  async take(stop) {
    taken = deferred();
    stop.addEventListener('abort', () => taken.reject(new Error('stopped')));
    await queue.resume(true);
    // The job that another worker has is a job of this id too; adding it again then does nothing.
    const add = () => queue.add({}, { jobId, removeOnComplete: true, removeOnFail: true }).catch(() => {});
    const again = setInterval(add, 200);
    try {
      await add();
      await taken.promise;
    } finally {
      clearInterval(again);
    }
    // So that it takes no further job after this one.
    await queue.pause(true, true);
  },
  async release() {
    const completed = deferred();
    queue.once('completed', completed.resolve);
    queue.once('failed', (_job, error) => completed.reject(error));
    work.resolve();
    await completed.promise;
  },
  async close() {
    await queue.close(true);
  },
});
