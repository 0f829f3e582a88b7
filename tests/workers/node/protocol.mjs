// What every worker of this folder has in common: settings from the environment, commands from the standard input,
// events to the standard output, and a proper end. `../README.md` describes the protocol.
//
// In: an object with `key`, `take(stop)`, `release()`, `close()`, and `extend()` where the library doesn't renew by
// itself. Out: one JSON object per line. No lock's value is ever written.

import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';

export function settings() {
  const { REDIS_URL, LOCK_NAME, LOCK_TTL_MS, LOCK_OWNER, LOCK_JOB } = process.env;
  if (!REDIS_URL || !LOCK_NAME) {
    throw new Error('REDIS_URL and LOCK_NAME are needed: where the locks are, and the name of the one to take');
  }
  return {
    urls: REDIS_URL.split(','),
    name: LOCK_NAME,
    // Without it, the library's own default holds.
    ttl: LOCK_TTL_MS ? Number(LOCK_TTL_MS) : undefined,
    owner: LOCK_OWNER || undefined,
    job: LOCK_JOB || 'job',
  };
}

export function only(urls, library) {
  if (urls.length > 1) throw new Error(`${library} locks in one Redis: give one address in REDIS_URL`);
  return urls[0];
}

export function emit(event, more = {}) {
  process.stdout.write(`${JSON.stringify({ event, ...more })}\n`);
}

// The installed version, as the package itself says it.
export function version(library) {
  const entry = createRequire(import.meta.url).resolve(library);
  const folder = entry.slice(0, entry.lastIndexOf(`/node_modules/${library}/`));
  return JSON.parse(readFileSync(`${folder}/node_modules/${library}/package.json`, 'utf8')).version.replace(/^v/, "");
}

function said(error) {
  return error instanceof Error ? `${error.name}: ${error.message}` : String(error);
}

export function serve(library, worker) {
  const stop = new AbortController();
  let held = false;
  let taking;

  const commands = {
    async take() {
      if (held || taking) throw new Error('the lock is held or being taken already');
      // Not awaited by the reader of commands: a lock that another holds must not keep it from `quit`.
      taking = worker.take(stop.signal).then(
        () => {
          held = true;
          emit('taken');
        },
        (error) => {
          if (!stop.signal.aborted) emit('failed', { command: 'take', error: said(error) });
        },
      ).finally(() => { taking = undefined; });
    },
    async release() {
      if (!held) throw new Error('the lock is not held');
      held = false;
      await worker.release();
      emit('released');
    },
    async extend() {
      if (!worker.extend) throw new Error(`${library} renews by itself`);
      await worker.extend();
      emit('extended');
    },
    async quit() {
      await end();
    },
  };

  let ending;
  function end() {
    ending ??= (async () => {
      stop.abort();
      await taking;
      if (held) await commands.release();
      await worker.close();
    })().then(
      () => process.exit(0),
      (error) => {
        emit('failed', { command: 'quit', error: said(error) });
        process.exit(1);
      },
    );
    return ending;
  }

  process.on('SIGTERM', end);
  process.on('SIGINT', end);
  let turn = Promise.resolve();
  createInterface({ input: process.stdin })
    .on('line', (line) => {
      const name = line.trim();
      turn = turn.then(async () => {
        if (!Object.hasOwn(commands, name)) throw new Error('there is no such command');
        await commands[name]();
      }).catch((error) => emit('failed', { command: name, error: said(error) }));
    })
    // Whoever drives this worker is gone.
    .on('close', end);
  emit('ready', { library, version: version(library), key: worker.key });
}

// Something that is resolved from elsewhere.
export function deferred() {
  let resolve;
  let reject;
  const promise = new Promise((yes, no) => {
    resolve = yes;
    reject = no;
  });
  return { promise, resolve, reject };
}
