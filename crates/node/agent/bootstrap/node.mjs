// Runs a plain Node handler (`exports.handler = async (event, context) => …`) for the agent, without dependencies.
//
// The agent starts it in the function's folder and connects to $MAYFLY_SOCKET, which accepts once the handler is loaded.
// A connection carries one call at a time, little-endian:
//   request   u8 'I', u32 length, { u32 meta_length, meta JSON, event JSON }
//   response  u8 'R', u32 length, result JSON
//          or u8 'E', u32 length, {"errorType","errorMessage","stackTrace"}
// Handlers are called by Lambda's rules: a promise, else the callback, else `null` once the event loop is empty.
// One rule is added: a function of fewer than three parameters may return its answer as a plain value.

import fs from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { inspect } from 'node:util';

const CALL = 0x49;
const RESULT = 0x52;
const ERROR = 0x45;
const HEAD = 5;
const META = HEAD + 4;

const root = process.env.LAMBDA_TASK_ROOT || process.cwd();
const exclusive = !(Number(process.env.MAYFLY_CONCURRENCY) > 1);

/** Calls that have no answer yet. */
let busy = 0;
let stopping = false;

// ---- loading -------------------------------------------------------------------------------------------------------

/** `src/app.main` → the function `main` of `src/app.{js,cjs,mjs}`; more dots name a nested export, as in Lambda. */
async function load(entry) {
  const [, stem, names] = /^((?:.*\/)?[^./]+)\.(.+)$/.exec(entry ?? '') ?? [];
  if (!stem) throw new Fault('Runtime.MalformedHandlerName', `"${entry}" is no handler: write file.export`);
  const base = path.resolve(root, stem);
  const file = ['.js', '.cjs', '.mjs'].map((ext) => base + ext).find((name) => fs.existsSync(name));
  if (!file) throw new Fault('Runtime.ImportModuleError', `there is no ${stem}.js, .cjs or .mjs in ${root}`);
  const module = await import(pathToFileURL(file).href);
  const pick = (from) => names.split('.').reduce((value, name) => value?.[name], from);
  const handler = pick(module) ?? pick(module.default);
  if (typeof handler !== 'function') {
    throw new Fault('Runtime.HandlerNotFound', `${path.relative(root, file)} exports no function "${names}"`);
  }
  return handler;
}

/** What is wrong with the function's shape; the bootstrap's own stack would say nothing about it. */
class Fault extends Error {
  constructor(name, message) {
    super(message);
    this.name = name;
    this.stack = `${name}: ${message}`;
  }
}

// ---- calling -------------------------------------------------------------------------------------------------------

let arn = '';
let arnOf = '';

function contextOf(meta, settle) {
  const key = `${meta.function}:${meta.revision}`;
  if (key !== arnOf) {
    arnOf = key;
    arn = `arn:aws:lambda:local:000000000000:function:${key}`;
  }
  const deadline = meta.deadline_ms;
  return {
    awsRequestId: meta.id,
    functionName: meta.function,
    functionVersion: meta.revision,
    memoryLimitInMB: String(meta.memory_mb),
    invokedFunctionArn: arn,
    logGroupName: process.env.AWS_LAMBDA_LOG_GROUP_NAME,
    logStreamName: process.env.AWS_LAMBDA_LOG_STREAM_NAME,
    callbackWaitsForEmptyEventLoop: true,
    getRemainingTimeInMillis: () => Math.max(0, deadline - Date.now()),
    done: settle,
    succeed: (result) => settle(null, result),
    fail: (error) => settle(error ?? 'handled'),
  };
}

/** Answers `frame` on `connection`, exactly once. */
function call(handler, connection, frame, length) {
  busy += 1;
  let answered = false;
  const answer = (bytes) => {
    if (answered) return;
    answered = true;
    busy -= 1;
    connection.answer(bytes);
  };
  const succeed = (result) => answer(resultFrame(result));
  const fail = (error) => answer(failure(error));

  let meta;
  let event;
  try {
    const at = META + frame.readUInt32LE(HEAD);
    meta = JSON.parse(frame.toString('utf8', META, at));
    event = at === length ? {} : JSON.parse(frame.toString('utf8', at, length));
  } catch (error) {
    return fail(new Fault('Runtime.UnmarshalError', `the event is no JSON: ${error.message}`));
  }
  if (exclusive && meta.trace !== process.env._X_AMZN_TRACE_ID) trace(meta.trace);

  // The callback, and what happens for its lack. A shared instance's loop is never empty under load, so there the
  // callback answers at once.
  let settled = false;
  const idle = () => settled || succeed(null);
  const settle = (error, result) => {
    if (settled) return;
    settled = true;
    const finish = () => (error === null || error === undefined ? succeed(result) : fail(error));
    if (exclusive && context.callbackWaitsForEmptyEventLoop) awaitEmpty(finish);
    else finish();
  };
  const context = contextOf(meta, settle);

  let result;
  try {
    result = handler(event, context, settle);
  } catch (error) {
    return fail(error);
  }
  if (typeof result?.then === 'function') result.then(succeed, fail);
  else if (result !== undefined && handler.length < 3) succeed(result);
  else if (!settled) awaitEmpty(idle);
}

function trace(id) {
  if (id === undefined) delete process.env._X_AMZN_TRACE_ID;
  else process.env._X_AMZN_TRACE_ID = id;
}

// ---- an empty event loop -------------------------------------------------------------------------------------------

/** What waits for the function to have nothing left to do. */
const whenEmpty = new Set();

/** Takes our own sockets out of the count, so that Node says `beforeExit` once only they are left. */
function awaitEmpty(then) {
  whenEmpty.add(then);
  if (whenEmpty.size === 1) holders((held) => held.unref());
}

process.on('beforeExit', () => {
  if (whenEmpty.size === 0) return;
  holders((held) => held.ref());
  const due = [...whenEmpty];
  whenEmpty.clear();
  for (const then of due) then();
});

function holders(act) {
  act(server);
  for (const connection of connections) act(connection.socket);
}

// ---- answers -------------------------------------------------------------------------------------------------------

function resultFrame(result) {
  let text;
  try {
    text = JSON.stringify(result) ?? 'null';
  } catch (error) {
    return failure(new Fault('Runtime.MarshalError', `the result is no JSON: ${error.message}`));
  }
  return frameOf(RESULT, text);
}

function failure(error) {
  print(described(error));
  const own = typeof error?.stack === 'string';
  return frameOf(ERROR, JSON.stringify({
    errorType: own ? String(error.name) : typeof error,
    errorMessage: own ? String(error.message) : shown(error),
    stackTrace: own ? error.stack.split('\n').filter((line) => /^ +at /.test(line)).map((line) => line.trim()) : [],
  }));
}

/** For the log: stack, cause and fields. */
function described(error) {
  return error instanceof Fault || typeof error === 'string' ? String(error.stack ?? error) : inspect(error);
}

/** What was thrown, if it was no `Error`. */
function shown(value) {
  return typeof value === 'string' ? value : inspect(value, { breakLength: Infinity });
}

/** Head and body in one buffer: one write. */
function frameOf(kind, text) {
  const length = Buffer.byteLength(text);
  const bytes = Buffer.allocUnsafe(HEAD + length);
  bytes[0] = kind;
  bytes.writeUInt32LE(length, 1);
  bytes.write(text, HEAD);
  return bytes;
}

// ---- connections ---------------------------------------------------------------------------------------------------

const connections = new Set();

class Connection {
  /** A frame that has not arrived whole, and how much of it has. */
  partial = null;
  filled = 0;

  constructor(handler, socket) {
    this.handler = handler;
    this.socket = socket;
    connections.add(this);
    if (whenEmpty.size > 0) socket.unref();
    socket.on('data', (chunk) => this.take(chunk));
    socket.on('error', () => {}); // the peer is gone; `close` follows
    socket.on('close', () => connections.delete(this));
  }

  take(chunk) {
    if (this.filled > 0) chunk = this.resume(chunk);
    while (chunk.length >= HEAD) {
      if (chunk[0] !== CALL) {
        print(`mayfly: a frame of kind ${chunk[0]} is unknown`);
        return this.socket.destroy();
      }
      const length = HEAD + chunk.readUInt32LE(1);
      if (length > chunk.length) break;
      call(this.handler, this, chunk, length);
      if (length === chunk.length) return;
      chunk = chunk.subarray(length);
    }
    if (chunk.length > 0) this.keep(chunk);
  }

  /** Keeps the start of a frame, in a buffer of the frame's size once that is known. */
  keep(chunk) {
    this.partial = Buffer.allocUnsafe(chunk.length < HEAD ? HEAD : HEAD + chunk.readUInt32LE(1));
    this.filled = chunk.copy(this.partial);
  }

  /** Puts `chunk` behind what was kept; what is then left to parse. */
  resume(chunk) {
    if (this.filled < HEAD) {
      const joined = Buffer.concat([this.partial.subarray(0, this.filled), chunk]);
      this.filled = 0;
      return joined;
    }
    const taken = chunk.copy(this.partial, this.filled);
    this.filled += taken;
    if (this.filled === this.partial.length) {
      const frame = this.partial;
      this.partial = null;
      this.filled = 0;
      call(this.handler, this, frame, frame.length);
    }
    return chunk.subarray(taken);
  }

  answer(bytes) {
    if (stopping && busy === 0) this.socket.write(bytes, leave);
    else this.socket.write(bytes);
  }
}

// ---- the process ---------------------------------------------------------------------------------------------------

/** Writes to stderr at once, so that nothing is lost by an exit. */
function print(text) {
  try {
    fs.writeSync(2, `${text}\n`);
  } catch {
    // Nobody reads it.
  }
}

function die(error) {
  print(described(error));
  process.exit(1);
}

function leave() {
  process.exit(0);
}

process.on('uncaughtException', die);
process.on('unhandledRejection', die);
process.on('SIGTERM', () => {
  stopping = true;
  server?.close();
  if (busy === 0) setImmediate(leave); // the function's own SIGTERM listeners come first
});

// Output has to be in the pipe before the answer is: the agent tells the calls' lines apart by that order.
for (const stream of [process.stdout, process.stderr]) stream._handle?.setBlocking?.(true);

let server;
try {
  const handler = await load(process.env._HANDLER);
  server = net.createServer((socket) => new Connection(handler, socket));
  server.listen(process.env.MAYFLY_SOCKET);
} catch (error) {
  die(error);
}
