// Holds the lock of one job with the package `bullmq`, by working on that job: the library renews meanwhile. With
// LOCK_OWNER the worker has a name, which the library writes beside the lock, into field `pb` of the job.

import { Queue, Worker } from 'bullmq';
import { deferred, emit, only, serve, settings } from './protocol.mjs';

const { urls, name, ttl, owner, job: jobId } = settings();
const connection = { url: only(urls, 'bullmq') };
// Without a TTL: the library's own times.
const times = ttl ? { lockDuration: ttl, stalledInterval: Math.ceil(ttl / 2) } : {};
let taken;
let work;

const queue = new Queue(name, { connection });
const worker = new Worker(
  name,
  async () => {
    work = deferred();
    taken.resolve();
    await work.promise;
  },
  { connection, autorun: false, drainDelay: 1, ...times, ...(owner ? { name: owner } : {}) },
);
queue.on('error', () => {}); // Both connect again by themselves.
worker.on('error', () => {});
worker.on('lockRenewalFailed', () => emit('lost', { error: 'lockRenewalFailed' }));

serve('bullmq', {
  key: `bull:${name}:${jobId}:lock`,
  async take(stop) {
    taken = deferred();
    stop.addEventListener('abort', () => taken.reject(new Error('stopped')));
    worker.resume();
    // The job that another worker has is a job of this id too; adding it again then does nothing.
    const add = () => queue.add('work', {}, { jobId, removeOnComplete: true, removeOnFail: true }).catch(() => {});
    const again = setInterval(add, 200);
    try {
      await add();
      await taken.promise;
    } finally {
      clearInterval(again);
    }
    // So that it takes no further job after this one.
    await worker.pause(true);
  },
  async release() {
    const completed = deferred();
    worker.once('completed', completed.resolve);
    worker.once('failed', (_job, error) => completed.reject(error));
    work.resolve();
    await completed.promise;
  },
  async close() {
    await worker.close(true);
    await queue.close();
  },
});
