"""Drives both bootstraps through their socket, as the agent does: `python3 -m unittest` in this folder."""

import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
START_MAX_SECS = 20
ANSWER_MAX_SECS = 20


class Instance:
    """One running bootstrap over a folder with the given files."""

    def __init__(self, command, files, handler, concurrency=1, env=None):
        self.folder = tempfile.TemporaryDirectory(prefix="mayfly-bootstrap-")
        root = os.path.join(self.folder.name, "code")
        for name, text in files.items():
            path = os.path.join(root, name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
        self.socket_path = os.path.join(self.folder.name, "s")
        # The agent clears the environment; so does this.
        self.process = subprocess.Popen(
            command,
            cwd=root,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={
                "PATH": os.environ["PATH"],
                "MAYFLY_SOCKET": self.socket_path,
                "MAYFLY_CONCURRENCY": str(concurrency),
                "_HANDLER": handler,
                "LAMBDA_TASK_ROOT": root,
                **(env or {}),
            },
        )
        self.connections = []

    def connect(self):
        """A new connection, once the socket accepts."""
        deadline = time.monotonic() + START_MAX_SECS
        while True:
            connection = Connection(self.socket_path)
            if connection.open():
                self.connections.append(connection)
                return connection
            if self.process.poll() is not None:
                raise AssertionError(f"exited with {self.process.returncode}: {self.finish()[1]}")
            if time.monotonic() > deadline:
                raise AssertionError("never accepted")
            time.sleep(0.005)

    def finish(self):
        """Waits for the exit: status, stderr, stdout."""
        out, err = self.process.communicate(timeout=ANSWER_MAX_SECS)
        return self.process.returncode, err.decode(), out.decode()

    def close(self):
        for connection in self.connections:
            connection.socket.close()
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()
        self.folder.cleanup()


class Connection:
    def __init__(self, path):
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(ANSWER_MAX_SECS)

    def open(self):
        try:
            self.socket.connect(self.path)
            return True
        except (FileNotFoundError, ConnectionRefusedError):
            self.socket.close()
            return False

    def send(self, event, **meta):
        self.socket.sendall(frame(event, **meta))

    def receive(self):
        """Kind and parsed payload of the next response; `None` at the end."""
        head = self.read(5)
        if head is None:
            return None
        kind, length = struct.unpack("<cI", head)
        return kind.decode(), json.loads(self.read(length))

    def read(self, length):
        data = b""
        while len(data) < length:
            more = self.socket.recv(length - len(data))
            if not more:
                return None
            data += more
        return data

    def call(self, event, **meta):
        self.send(event, **meta)
        return self.receive()


def frame(event, **meta):
    meta = {
        "id": "8a8b1b5e-0000-4000-8000-000000000001",
        "deadline_ms": int(time.time() * 1000) + 30_000,
        "function": "hello",
        "revision": "3",
        "memory_mb": 256,
        **meta,
    }
    head = json.dumps(meta).encode()
    body = event if isinstance(event, bytes) else json.dumps(event, ensure_ascii=False).encode()
    payload = struct.pack("<I", len(head)) + head + body
    return struct.pack("<cI", b"I", len(payload)) + payload


class Contract:
    """What both languages promise; the subclasses bring the sources."""

    def instance(self, handler="index.main", files=None, **more):
        files = {f"index.{self.ext}": self.source} if files is None else files
        instance = Instance(self.command, files, handler, **more)
        self.addCleanup(instance.close)
        return instance

    def connection(self, handler, **more):
        return self.instance(handler, **more).connect()

    def test_many_calls_on_one_connection(self):
        connection = self.connection("index.main")
        for n in range(200):
            self.assertEqual(connection.call({"n": n}), ("R", {"n": n + 1}))

    def test_nothing_becomes_null(self):
        self.assertEqual(self.connection("index.nothing").call({}), ("R", None))

    def test_context(self):
        kind, context = self.connection("index.context").call({}, trace="Root=1-x")
        self.assertEqual(kind, "R")
        left = context.pop("left")
        self.assertTrue(25_000 < left <= 30_000, left)
        self.assertEqual(
            context,
            {
                "id": "8a8b1b5e-0000-4000-8000-000000000001",
                "name": "hello",
                "version": "3",
                "memory": "256",
                "arn": "arn:aws:lambda:local:000000000000:function:hello:3",
                "trace": "Root=1-x",
            },
        )

    def test_trace_belongs_to_its_call(self):
        connection = self.connection("index.context")
        self.assertEqual(connection.call({}, trace="Root=1-x")[1]["trace"], "Root=1-x")
        self.assertIsNone(connection.call({})[1].get("trace"))

    def test_error_is_answered_and_logged(self):
        instance = self.instance("index.fail")
        connection = instance.connect()
        kind, error = connection.call({"why": "no 🦋"})
        self.assertEqual((kind, error["errorType"], error["errorMessage"]), ("E", self.error_type, "no 🦋"))
        self.assertIn(f"index.{self.ext}", error["stackTrace"][0])
        self.assertNotIn(self.command[-1], json.dumps(error["stackTrace"][:1]))
        # It serves on.
        self.assertEqual(connection.call({"why": "again"})[1]["errorMessage"], "again")
        instance.process.terminate()
        status, err, _ = instance.finish()
        self.assertEqual(status, 0)
        self.assertIn("no 🦋", err)

    def test_circular_result(self):
        connection = self.connection("index.circular")
        kind, error = connection.call({})
        self.assertEqual((kind, error["errorType"]), ("E", "Runtime.MarshalError"))

    def test_result_without_json(self):
        kind, error = self.connection("index.strange").call({})
        self.assertEqual((kind, error["errorType"]), ("E", "Runtime.MarshalError"))

    def test_event_without_json(self):
        connection = self.connection("index.main")
        for bad in (b"{", b"\xff\xfe", b"nul"):
            kind, error = connection.call(bad)
            self.assertEqual((kind, error["errorType"]), ("E", "Runtime.UnmarshalError"), bad)
        self.assertEqual(connection.call({"n": 1}), ("R", {"n": 2}))

    def test_empty_event(self):
        self.assertEqual(self.connection("index.echo").call(b""), ("R", {}))

    def test_unicode(self):
        connection = self.connection("index.echo")
        for text in ("grüße", "你好", "🦋👩‍👩‍👧", "\u2028 \u0000 \" \\", "\u07ff\u0800\uffff"):
            self.assertEqual(connection.call({"t": text}), ("R", {"t": text}))
        self.assertEqual(connection.call(b'"\\ud83d"'), ("R", "\ud83d"))

    def test_large_event(self):
        connection = self.connection("index.echo")
        text = "0123456789é🦋" * ((5 << 20) // 16 + 1)
        self.assertGreater(len(text.encode()), 5 << 20)
        self.assertEqual(connection.call({"t": text}), ("R", {"t": text}))
        self.assertEqual(connection.call({"t": "x"}), ("R", {"t": "x"}))

    def test_sizes_around_the_read_buffer(self):
        connection = self.connection("index.echo")
        base = len(frame({"t": ""}))
        for size in (65_535, 65_536, 65_537, 131_072, 131_073):
            text = "x" * (size - base)
            self.assertEqual(connection.call({"t": text}), ("R", {"t": text}), size)

    def test_byte_by_byte(self):
        connection = self.connection("index.main")
        for byte in frame({"n": 41}):
            connection.socket.sendall(bytes([byte]))
            time.sleep(0.0005)
        self.assertEqual(connection.receive(), ("R", {"n": 42}))
        self.assertEqual(connection.call({"n": 1}), ("R", {"n": 2}))

    def test_split_at_every_place(self):
        connection = self.connection("index.main")
        whole = frame({"n": 41})
        for at in range(1, len(whole)):
            connection.socket.sendall(whole[:at])
            time.sleep(0.0005)
            connection.socket.sendall(whole[at:])
            self.assertEqual(connection.receive(), ("R", {"n": 42}), at)

    def test_two_connections_take_turns(self):
        instance = self.instance()
        one, two = instance.connect(), instance.connect()
        for n in range(20):
            self.assertEqual(one.call({"n": n}), ("R", {"n": n + 1}))
            self.assertEqual(two.call({"n": -n}), ("R", {"n": 1 - n}))
        one.socket.close()
        self.assertEqual(two.call({"n": 5}), ("R", {"n": 6}))
        self.assertEqual(instance.connect().call({"n": 6}), ("R", {"n": 7}))

    def test_shared_instance_overlaps_calls(self):
        instance = self.instance("index.meet", concurrency=4)
        connections = [instance.connect() for _ in range(3)]
        for connection in connections:
            connection.send({"wanted": 3})
        for connection in connections:
            self.assertEqual(connection.receive(), ("R", 3))

    def test_shared_instance_exits_by_handler(self):
        instance = self.instance("index.quit", concurrency=4)
        self.assertIsNone(instance.connect().call({"status": 3}))
        self.assertEqual(instance.finish()[0], 3)

    def test_client_that_goes_away(self):
        instance = self.instance("index.nap")
        connection = instance.connect()
        connection.send({"ms": 100})
        connection.socket.close()
        half = instance.connect()
        half.socket.sendall(frame({})[:20])
        half.socket.close()
        self.assertEqual(instance.connect().call({"ms": 1}), ("R", "woke"))

    def test_unknown_frame_closes_the_connection(self):
        instance = self.instance()
        connection = instance.connect()
        connection.socket.sendall(b"GET / HTTP/1.1\r\n\r\n")
        try:
            self.assertIsNone(connection.receive())
        except ConnectionResetError:
            pass
        self.assertEqual(instance.connect().call({"n": 1}), ("R", {"n": 2}))

    def test_exit_in_handler(self):
        instance = self.instance("index.quit")
        self.assertIsNone(instance.connect().call({"status": 7}))
        self.assertEqual(instance.finish()[0], 7)

    def test_output_precedes_the_answer(self):
        instance = self.instance("index.talk")
        connection = instance.connect()
        for n in range(50):
            self.assertEqual(connection.call({"n": n})[0], "R")
            # Nothing is waited for: what was written must be there.
            ready, _, _ = select.select([instance.process.stdout], [], [], 0)
            self.assertTrue(ready, "the answer overtook the output")
            self.assertEqual(os.read(instance.process.stdout.fileno(), 1 << 16), f"call {n} 🦋\nno newline".encode())

    def test_sigterm_when_idle(self):
        instance = self.instance()
        self.assertEqual(instance.connect().call({"n": 1})[0], "R")
        instance.process.terminate()
        self.assertEqual(instance.finish()[0], 0)

    def test_sigterm_lets_the_call_finish(self):
        for concurrency in (1, 4):
            instance = self.instance("index.nap", concurrency=concurrency)
            connection = instance.connect()
            connection.send({"ms": 300, "say": True})
            instance.process.stdout.readline()  # it is inside the call
            instance.process.send_signal(signal.SIGTERM)
            self.assertEqual(connection.receive(), ("R", "woke"))
            self.assertEqual(instance.finish()[0], 0)

    def load_fault(self, handler, files, *parts):
        status, err, _ = self.instance(handler, files=files).finish()
        self.assertEqual(status, 1, err)
        for part in parts:
            self.assertIn(part, err)
        return err

    def test_load_faults(self):
        source = {f"index.{self.ext}": self.source}
        self.load_fault("missing.main", source, "missing")
        self.load_fault("index.missing", source, "Runtime.HandlerNotFound", '"missing"')
        self.load_fault("index", source, "Runtime.MalformedHandlerName", '"index"')
        self.load_fault("", source, "Runtime.MalformedHandlerName")
        self.load_fault("index.main", {f"index.{self.ext}": self.broken}, "SyntaxError", f"index.{self.ext}")
        self.load_fault("index.main", {f"index.{self.ext}": self.throws}, "no luck", f"index.{self.ext}")

    def test_handler_in_a_folder(self):
        files = {f"src/deep/app.{self.ext}": self.source}
        self.assertEqual(self.connection("src/deep/app.main", files=files).call({"n": 1}), ("R", {"n": 2}))


class Node(Contract, unittest.TestCase):
    command = ["node", os.path.join(HERE, "node.mjs")]
    ext = "js"
    error_type = "TypeError"
    broken = "exports.main = async (event => {"
    throws = "throw new Error('no luck');"
    source = """
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
exports.main = async (event) => ({ n: event.n + 1 });
exports.nothing = async () => {};
exports.echo = async (event) => event;
exports.context = async (event, c) => ({
  id: c.awsRequestId, name: c.functionName, version: c.functionVersion, memory: c.memoryLimitInMB,
  arn: c.invokedFunctionArn, left: c.getRemainingTimeInMillis(), trace: process.env._X_AMZN_TRACE_ID,
});
exports.fail = async (event) => { throw new TypeError(event.why); };
exports.circular = async () => { const o = {}; o.o = o; return o; };
exports.strange = async () => ({ n: 1n });
exports.nap = async (event) => { if (event.say) console.log('in'); await sleep(event.ms); return 'woke'; };
exports.quit = async (event) => process.exit(event.status);
exports.talk = async (event) => { console.log(`call ${event.n} 🦋`); process.stdout.write('no newline'); };
let here = 0;
exports.meet = async (event) => { here += 1; while (here < event.wanted) await sleep(1); return here; };

exports.plain = (event) => ({ n: event.n + 1 });
exports.silent = (event) => {};
exports.callback = (event, context, callback) => setTimeout(() => callback(null, { n: event.n + 1 }), 5);
exports.callbackNow = (event, context, callback) => callback(null, 'now');
exports.callbackFails = (event, context, callback) => callback(new RangeError('far'));
exports.callbackString = (event, context, callback) => callback('just text');
exports.hidden = (...args) => { setTimeout(() => args[2](null, 'hidden'), 5); };
let late = 0;
exports.waits = (event, context, callback) => { callback(null, () => 0); setTimeout(() => { late += 1; }, 50); };
exports.waited = (event, context, callback) => {
  if (event.ask) return callback(null, late);
  context.callbackWaitsForEmptyEventLoop = event.wait;
  setTimeout(() => { late += 1; }, 200);
  callback(null, late);
};
exports.done = (event, context) => { context.succeed('done'); };
exports.throwsNow = (event) => { throw new Error('now'); };
exports.throwsText = async () => { throw 'text'; };
exports.throwsNothing = async () => { throw undefined; };
exports.uncaught = (event, context, callback) => { setTimeout(() => { throw new Error('out of reach'); }, 1); };
exports.unhandled = async () => { Promise.reject(new Error('nobody')); await sleep(1000); };
exports.bulk = async () => { console.log('x'.repeat(1 << 20)); process.exit(0); };
exports.nested = { deep: { main: async () => 'nested' } };
"""

    def test_ways_to_answer(self):
        for handler, answer in [
            ("plain", ("R", {"n": 2})),
            ("silent", ("R", None)),
            ("callback", ("R", {"n": 2})),
            ("callbackNow", ("R", "now")),
            ("hidden", ("R", "hidden")),
            ("done", ("R", "done")),
            ("waits", ("R", None)),
            ("nested.deep.main", ("R", "nested")),
        ]:
            for concurrency in (1, 4):
                with self.subTest(handler=handler, concurrency=concurrency):
                    connection = self.connection(f"index.{handler}", concurrency=concurrency)
                    for _ in range(3):
                        self.assertEqual(connection.call({"n": 1}), answer)

    def test_ways_to_fail(self):
        for handler, kind, message in [
            ("callbackFails", "RangeError", "far"),
            ("callbackString", "string", "just text"),
            ("throwsNow", "Error", "now"),
            ("throwsText", "string", "text"),
            ("throwsNothing", "undefined", "undefined"),
        ]:
            with self.subTest(handler=handler):
                result, error = self.connection(f"index.{handler}").call({})
                self.assertEqual((result, error["errorType"], error["errorMessage"]), ("E", kind, message))

    def test_callback_waits_for_the_event_loop(self):
        connection = self.connection("index.waited")
        connection.call({"wait": True})
        self.assertEqual(connection.call({"ask": True}), ("R", 1))
        connection.call({"wait": False})
        self.assertEqual(connection.call({"wait": False}), ("R", 1))

    def test_new_connection_while_the_loop_is_awaited(self):
        instance = self.instance("index.callback")
        one, two = instance.connect(), instance.connect()
        one.send({"n": 1})
        self.assertEqual(instance.connect().call({"n": 3}), ("R", {"n": 4}))
        self.assertEqual(one.receive(), ("R", {"n": 2}))
        self.assertEqual(two.call({"n": 2}), ("R", {"n": 3}))

    def test_lost_errors_end_the_process(self):
        for handler, text in (("uncaught", "out of reach"), ("unhandled", "nobody")):
            with self.subTest(handler=handler):
                instance = self.instance(f"index.{handler}")
                self.assertIsNone(instance.connect().call({}))
                status, err, _ = instance.finish()
                self.assertEqual(status, 1)
                self.assertIn(f"Error: {text}", err)
                self.assertIn("index.js", err)

    def test_exit_keeps_the_output(self):
        instance = self.instance("index.bulk")
        instance.connect().send({})
        self.assertEqual(len(instance.finish()[2]), (1 << 20) + 1)

    def test_module_kinds(self):
        esm = "export const main = async (e) => ({ n: e.n + 1 });"
        by_default = "export default { main: async (e) => ({ n: e.n + 1 }) };"
        awaited = "const one = await Promise.resolve(1); export const main = async (e) => ({ n: e.n + one });"
        computed = "module.exports = { ['ma' + 'in']: async (e) => ({ n: e.n + 1 }) };"
        module = '{"type":"module"}'
        for files in (
            {"index.mjs": esm},
            {"index.mjs": by_default},
            {"index.mjs": awaited},
            {"index.cjs": computed},
            {"index.js": computed},
            {"index.js": esm, "package.json": module},
            {"index.cjs": computed, "package.json": module},
        ):
            with self.subTest(files=files):
                self.assertEqual(self.connection("index.main", files=files).call({"n": 1}), ("R", {"n": 2}))

    def test_listener_for_sigterm_comes_first(self):
        source = "process.on('SIGTERM', () => console.log('bye')); exports.main = async () => 1;"
        instance = self.instance(files={"index.js": source})
        instance.connect().call({})
        instance.process.terminate()
        self.assertEqual(instance.finish(), (0, "", "bye\n"))


class Python(Contract, unittest.TestCase):
    command = [sys.executable, "-B", os.path.join(HERE, "python.py")]
    ext = "py"
    error_type = "ValueError"
    broken = "def main(event, context:\n    pass"
    throws = "raise RuntimeError('no luck')"
    source = """
import os, sys, time
from decimal import Decimal
def main(event, context): return {"n": event["n"] + 1}
def nothing(event, context): pass
def echo(event, context): return event
def context(event, c):
    return {"id": c.aws_request_id, "name": c.function_name, "version": c.function_version,
            "memory": c.memory_limit_in_mb, "arn": c.invoked_function_arn,
            "left": c.get_remaining_time_in_millis(), "trace": os.environ.get("_X_AMZN_TRACE_ID")}
def fail(event, context): raise ValueError(event["why"])
def circular(event, context):
    a = []
    a.append(a)
    return a
def strange(event, context): return {"s": {1, 2}}
def nap(event, context):
    if event.get("say"): print("in")
    time.sleep(event["ms"] / 1000)
    return "woke"
def quit(event, context): sys.exit(event["status"])
def talk(event, context):
    print(f"call {event['n']} 🦋")
    sys.stdout.write("no newline")
here = 0
def meet(event, context):
    global here
    here += 1
    while here < event["wanted"]: time.sleep(0.001)
    return here

def nan(event, context): return float("nan")
def decimals(event, context): return [Decimal("3"), Decimal("1.5")]
def deep(event, context):
    value = []
    for _ in range(100_000): value = [value]
    return value
def quit_text(event, context): sys.exit("enough")
def log_stream(event, context): return context.log_stream_name
def closes_stdout(event, context): sys.stdout.close()
class Odd(Exception):
    def __str__(self): raise RuntimeError("no text")
def odd(event, context): raise Odd()
def cancelled(event, context):
    import asyncio
    raise asyncio.CancelledError("by itself")
"""

    def test_answers_of_its_own(self):
        self.assertEqual(self.connection("index.decimals").call({}), ("R", [3, 1.5]))
        self.assertEqual(self.connection("index.log_stream").call({}), ("R", "hello/3"))
        self.assertEqual(self.connection("index.cancelled").call({})[1]["errorType"], "CancelledError")
        self.assertEqual(self.connection("index.odd").call({})[1]["errorType"], "Odd")
        for handler in ("nan", "deep"):
            self.assertEqual(self.connection(f"index.{handler}").call({})[1]["errorType"], "Runtime.MarshalError")
        connection = self.connection("index.closes_stdout")
        self.assertEqual([connection.call({}) for _ in range(2)], [("R", None)] * 2)

    def test_exit_with_a_text(self):
        for concurrency in (1, 4):
            instance = self.instance("index.quit_text", concurrency=concurrency)
            self.assertIsNone(instance.connect().call({}))
            self.assertEqual(instance.finish()[:2], (1, "enough\n"))

    def test_packages_of_the_build(self):
        files = {
            "index.py": "import shelf, helper\ndef main(event, context): return [shelf.NAME, helper.NAME]",
            "helper.py": "NAME = 'from the folder'",
            ".mayfly/python/shelf.py": "NAME = 'from pip'",
            ".mayfly/python/helper.py": "NAME = 'never'",
        }
        self.assertEqual(self.connection("index.main", files=files).call({}), ("R", ["from pip", "from the folder"]))

    def test_traceback_begins_in_the_function(self):
        err = self.load_fault("index.main", {"index.py": "import absent_module"}, "No module named 'absent_module'")
        self.assertNotIn("python.py", err)
        self.assertNotIn("importlib", err)


if __name__ == "__main__":
    unittest.main()
