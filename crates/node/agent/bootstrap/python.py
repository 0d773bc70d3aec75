"""Runs a plain Python handler (`def handler(event, context)`) for the agent, with the standard library only.

The agent starts it in the function's folder and connects to $MAYFLY_SOCKET, which accepts once the handler is loaded.
A connection carries one call at a time, little-endian:
  request   u8 'I', u32 length, { u32 meta_length, meta JSON, event JSON }
  response  u8 'R', u32 length, result JSON
         or u8 'E', u32 length, {"errorType","errorMessage","stackTrace"}
An exclusive instance (MAYFLY_CONCURRENCY=1) runs every call on the main thread; a shared one has a thread for each
connection.
"""

import importlib
import json
import os
import select
import signal
import socket
import struct
import sys
import time

CALL, RESULT, ERROR = b"IRE"
HEAD = struct.Struct("<BI")
HEAD_META = struct.Struct("<BII")
READ_SIZE = 64 << 10

ROOT = os.environ.get("LAMBDA_TASK_ROOT") or os.getcwd()
EXCLUSIVE = int(os.environ.get("MAYFLY_CONCURRENCY") or 1) <= 1


class Fault(Exception):
    """What is wrong with the function's shape; `kind` is the `errorType` that the caller sees."""

    def __init__(self, kind, message):
        super().__init__(message)
        self.kind = kind


# ---- loading --------------------------------------------------------------------------------------------------------


def load(entry):
    """`src/app.main` → the function `main` of the module `src.app`."""
    module_name, dot, function = entry.rpartition(".")
    if not dot or not module_name or not function:
        raise Fault("Runtime.MalformedHandlerName", f'"{entry}" is no handler: write file.function')
    if sys.path and sys.path[0] == os.path.dirname(os.path.abspath(__file__)):
        del sys.path[0]
    packages = os.path.join(ROOT, ".mayfly", "python")
    sys.path[:0] = [ROOT, packages] if os.path.isdir(packages) else [ROOT]
    module = importlib.import_module(module_name.replace("/", "."))
    handler = getattr(module, function, None)
    if not callable(handler):
        raise Fault("Runtime.HandlerNotFound", f'{module_name} has no function "{function}"')
    return handler


# ---- calling --------------------------------------------------------------------------------------------------------


class Context:
    """Lambda's context object."""

    identity = None
    client_context = None
    log_group_name = os.environ.get("AWS_LAMBDA_LOG_GROUP_NAME")

    def __init__(self, meta):
        self.aws_request_id = meta["id"]
        self.function_name = meta["function"]
        self.function_version = meta["revision"]
        self.memory_limit_in_mb = str(meta["memory_mb"])
        self._deadline_ms = meta["deadline_ms"]

    @property
    def invoked_function_arn(self):
        return f"arn:aws:lambda:local:000000000000:function:{self.function_name}:{self.function_version}"

    @property
    def log_stream_name(self):
        return os.environ.get("AWS_LAMBDA_LOG_STREAM_NAME") or f"{self.function_name}/{self.function_version}"

    def get_remaining_time_in_millis(self):
        return max(0, int(self._deadline_ms - time.time() * 1000))

    def log(self, message):
        sys.stdout.write(str(message))


def call(handler, payload, meta_length):
    """The response frame for `payload` (meta and event); a `SystemExit` of the handler passes through."""
    try:
        try:
            meta = json.loads(str(payload[:meta_length], "utf-8"))
            event = json.loads(str(payload[meta_length:], "utf-8")) if len(payload) > meta_length else {}
        except ValueError as error:
            raise Fault("Runtime.UnmarshalError", f"the event is no JSON: {error}") from None
        if EXCLUSIVE:
            set_trace(meta.get("trace"))
        response = result_frame(handler(event, Context(meta)))
    except SystemExit:
        raise
    except BaseException as error:  # asyncio.CancelledError and its like are the function's, too
        response = failure(error)
    flush()
    return response


def set_trace(trace, environ=os.environ):
    if trace is not None:
        environ["_X_AMZN_TRACE_ID"] = trace
    elif "_X_AMZN_TRACE_ID" in environ:
        del environ["_X_AMZN_TRACE_ID"]


def flush():
    """Output has to be in the pipe before the answer is: the agent tells the calls' lines apart by that order."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, OSError, ValueError):
            pass  # The function closed or replaced it.


# ---- answers --------------------------------------------------------------------------------------------------------


def number_of(value):
    """What boto3 hands out for a number, as Lambda's own client writes it."""
    decimal = sys.modules.get("decimal")
    if decimal and isinstance(value, decimal.Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")


encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=number_of).encode
encode_ascii = json.JSONEncoder(allow_nan=False, separators=(",", ":"), default=number_of).encode


def result_frame(result):
    try:
        try:
            body = encode(result).encode()
        except UnicodeEncodeError:  # half of a surrogate pair has no UTF-8, but it has an escape
            body = encode_ascii(result).encode()
    except Exception as error:
        raise Fault("Runtime.MarshalError", f"the result is no JSON: {error}") from None
    return HEAD.pack(RESULT, len(body)) + body


def failure(error):
    shown, trace = described(error)
    complain(shown)
    try:
        message = str(error)
    except Exception:
        message = "(the error has no text)"
    kind = error.kind if isinstance(error, Fault) else type(error).__name__
    body = encode_ascii({"errorType": kind, "errorMessage": message, "stackTrace": trace}).encode()
    return HEAD.pack(ERROR, len(body)) + body


def described(error):
    """For the log, and the stack's lines; the frames of this file and of importlib are left out."""
    if isinstance(error, Fault):
        return f"{error.kind}: {error}\n", []
    import traceback  # costs a millisecond that only errors need

    frames = error.__traceback__
    ours = (described.__code__.co_filename, importlib.__file__)
    while frames and (frames.tb_frame.f_code.co_filename in ours or "<frozen importlib" in frames.tb_frame.f_code.co_filename):
        frames = frames.tb_next
    trace = [line.rstrip("\n") for line in traceback.format_tb(frames)]
    return "".join(traceback.format_exception(type(error), error, frames)), trace


def complain(text):
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except (AttributeError, OSError, ValueError):
        pass  # Nobody reads it.


# ---- connections ----------------------------------------------------------------------------------------------------


def receive(connection, buffer):
    """The next call's payload and the length of its meta; `None` once the peer is gone."""
    try:
        read = connection.recv_into(buffer)
        while 0 < read < HEAD_META.size:
            more = connection.recv_into(memoryview(buffer)[read:])
            read = read + more if more else 0
        if not read:
            return None
        kind, length, meta_length = HEAD_META.unpack_from(buffer)
        if kind != CALL:
            complain(f"mayfly: a frame of kind {kind} is unknown\n")
            return None
        end = HEAD.size + length
        frame = memoryview(buffer) if read >= end else rest_of(connection, buffer, read, end)
    except OSError:
        return None
    return None if frame is None else (frame[HEAD_META.size : end], meta_length)


def rest_of(connection, buffer, read, end):
    """The frame of `end` bytes whose first `read` stand in `buffer`; `None` if the peer hangs up within it."""
    frame = memoryview(bytearray(end))
    frame[:read] = memoryview(buffer)[:read]
    while read < end:
        more = connection.recv_into(frame[read:])
        if not more:
            return None
        read += more
    return frame


def send(connection, response):
    try:
        connection.sendall(response)
    except OSError:
        pass  # The peer is gone; the next read says so.


class Signals:
    """Readable once a signal came. Who waits for this too misses none: the interpreter looks at its own mark only
    between bytecodes, not right before a wait."""

    def __init__(self):
        self.reader, self.writer = socket.socketpair()
        self.reader.setblocking(False)
        self.writer.setblocking(False)
        signal.set_wakeup_fd(self.writer.fileno(), warn_on_full_buffer=False)

    def fileno(self):
        return self.reader.fileno()

    def seen(self):
        """The handler itself runs by now."""
        self.reader.recv(64)


class Exclusive:
    """One call at a time, on the main thread."""

    def __init__(self, handler):
        self.handler = handler
        self.busy = False
        self.stopping = False

    def stop(self, *_):
        self.stopping = True
        if not self.busy:
            sys.exit(0)

    def run(self, listener):
        poll = select.epoll()
        poll.register(listener, select.EPOLLIN)
        signals = Signals()
        poll.register(signals, select.EPOLLIN)
        connections = {}
        buffer = bytearray(READ_SIZE)
        while not self.stopping:
            for fd, _ in poll.poll():
                connection = connections.get(fd)
                if fd == signals.fileno():
                    signals.seen()
                elif connection is None:  # it is the listener
                    connection, _ = listener.accept()
                    connections[connection.fileno()] = connection
                    poll.register(connection, select.EPOLLIN)
                elif not self.serve(connection, buffer):
                    poll.unregister(connection)
                    connections.pop(fd).close()

    def serve(self, connection, buffer):
        received = receive(connection, buffer)
        if received is None:
            return False
        self.busy = True
        send(connection, call(self.handler, *received))
        self.busy = False
        if self.stopping:
            sys.exit(0)
        return True


class Shared:
    """A thread for each connection."""

    def __init__(self, handler):
        import threading

        self.thread = threading.Thread
        self.lock = threading.Lock()
        self.handler = handler
        self.busy = 0
        self.stopping = False

    def stop(self, *_):
        # Without the lock, for which a signal must not wait: of this and `count`, the later sees the other's mark.
        self.stopping = True
        if self.busy == 0:
            leave(0)

    def run(self, listener):
        poll = select.epoll()
        poll.register(listener, select.EPOLLIN)
        signals = Signals()
        poll.register(signals, select.EPOLLIN)
        while True:
            for fd, _ in poll.poll():
                if fd == signals.fileno():
                    signals.seen()
                    continue
                connection, _ = listener.accept()
                self.thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        buffer = bytearray(READ_SIZE)
        try:
            while (received := receive(connection, buffer)) is not None:
                self.count(1)
                send(connection, call(self.handler, *received))
                self.count(-1)
                if self.stopping and self.busy == 0:
                    leave(0)
        except SystemExit as wish:
            # Python ends only the thread for it.
            leave(exit_status(wish.code))
        connection.close()

    def count(self, change):
        with self.lock:
            self.busy += change


def exit_status(code):
    """As the interpreter reads `SystemExit.code`."""
    if code is None or isinstance(code, int):
        return code or 0
    complain(f"{code}\n")
    return 1


def leave(status):
    """Ends the process from any thread."""
    flush()
    os._exit(status)


def main():
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)
    try:
        handler = load(os.environ.get("_HANDLER") or "")
    except Exception as error:
        complain(described(error)[0])
        sys.exit(1)
    server = (Exclusive if EXCLUSIVE else Shared)(handler)
    signal.signal(signal.SIGTERM, server.stop)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(os.environ["MAYFLY_SOCKET"])
    listener.listen(128)
    server.run(listener)


if __name__ == "__main__":
    main()
