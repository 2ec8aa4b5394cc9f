# SPDX-License-Identifier: Apache-2.0
"""The executable that runtimes start for every pod: hand everything to the agent, print what it says.

It runs once for each ADD, DEL, CHECK, STATUS, GC and VERSION, so its start is its cost. Hence the odd rules
of this file: it imports nothing but modules that are built into the interpreter (``os``, ``json``, ``re``
or ``socket`` would double the start), it parses no JSON (the agent does), and it leaves by ``_exit``, which
skips the interpreter's tidying up.

The installer (``install.py``) writes one file into the runtime's directory: a stub with the interpreter's
path in its first line (``-IS``: isolated, without site), which holds this module twice, compiled for that
interpreter and as text. Measured against ``python3 -I -S -c pass`` (7.7 ms on two cores): the stub takes
1.01 times as long, this file as text 1.2 times, a stub that reads a .pyc beside it 0.95 times. The .pyc
would be a second file to keep in step, in a directory of executables, so the single file won. When the
interpreter is upgraded, its magic number no longer fits, and the stub compiles the text at each start: a
little slower, never broken.

The protocol is described in README.md of this distribution; the server is part of the agent. ``shim.c`` is
the same in C: change both, the tests compare them byte by byte. Everything here works with Python 3.9 or
newer, so annotations of newer syntax are strings.
"""

import _signal  # type: ignore[import-not-found]
import _socket
import posix

DEFAULT_SOCKET = b"/run/contivpp/cni.sock"
SUPPORTED_VERSIONS = ("0.3.1", "0.4.0", "1.0.0", "1.1.0")
COMMANDS = (b"ADD", b"DEL", b"CHECK", b"STATUS", b"GC", b"VERSION")
# Runtimes give an ADD two minutes. Ending first, with a reason, beats being killed without one.
DEADLINE = b"110"
DEADLINE_LENGTH = 16
STDIN_LIMIT = 1 << 20
ANSWER_HEADER_LIMIT = 32
ANSWER_LIMIT = 16 << 20
CHUNK = 1 << 16
BAD_DESCRIPTOR = 9  # EBADF of every Linux; importing `errno` for one number costs time

# Error codes of the CNI specification.
INVALID_ENVIRONMENT = 4
IO_FAILURE = 5
INVALID_CONFIGURATION = 7
TRY_AGAIN_LATER = 11
NOT_AVAILABLE = 50
INTERNAL = 999


class CniError(Exception):
    """An error that this executable reports itself, as CNI error JSON."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class DeadlineError(Exception):
    """The timer rang. Raised by the signal handler, wherever the program happens to wait."""


def main(default_socket: bytes = DEFAULT_SOCKET) -> None:
    """Serve one call of the runtime and end the process."""
    configuration = bytearray()
    try:
        status, output = serve(posix.environ, default_socket, configuration)
    except CniError as failure:
        status, output = 1, error_json(failure.code, failure.message, configuration)
    except BaseException as error:  # a runtime cannot read a traceback
        message = f"contivpp CNI executable failed unexpectedly: {type(error).__name__}: {error}"
        status, output = 1, error_json(INTERNAL, message, configuration)
    try:
        write_all(output)
    except OSError:
        status = status or 1  # nobody listens; all that is left is the status
    posix._exit(status)


def serve(environment: "dict[bytes, bytes]", default_socket: bytes, configuration: bytearray) -> "tuple[int, bytes]":
    """Return exit status and text for stdout. `configuration` receives stdin, also when this fails."""
    command = environment.get(b"CNI_COMMAND", b"")
    path = environment.get(b"CONTIVPP_CNI_SOCKET") or default_socket
    deadline = environment.get(b"CONTIVPP_CNI_DEADLINE") or DEADLINE
    seconds = deadline_seconds(deadline)
    try:
        try:
            start_timer(seconds)
            read_stdin(configuration)
            if not command:
                raise CniError(
                    INVALID_ENVIRONMENT,
                    "CNI_COMMAND is not set: this is a CNI plugin, started by the container runtime "
                    "(try CNI_COMMAND=VERSION)",
                )
            if command == b"VERSION":
                return 0, version_json(configuration)
            return ask_agent(path, request(environment, configuration), command)
        finally:  # within the other `try`, as it may ring here, too
            _signal.setitimer(_signal.ITIMER_REAL, 0)
    except DeadlineError:
        raise unavailable(path, command, f"no answer within {printable(deadline)} s") from None


def deadline_seconds(text: bytes) -> float:
    """The deadline; the environment may shorten it, never lengthen it. Plain decimals: `float` takes more."""
    plain = len(text) <= DEADLINE_LENGTH and text.replace(b".", b"", 1).isdigit()
    seconds = float(text) if plain else 0.0
    if 0 < seconds <= float(DEADLINE):
        return seconds
    raise CniError(
        INVALID_ENVIRONMENT,
        f"CONTIVPP_CNI_DEADLINE is {printable(text)}: give seconds, more than 0 and at most {printable(DEADLINE)}",
    )


def start_timer(seconds: float) -> None:
    """One timer for the whole call, also for a stdin that never ends and a server that never accepts."""

    def ring(_number: int, _frame: object) -> None:
        raise DeadlineError

    _signal.signal(_signal.SIGALRM, ring)
    _signal.pthread_sigmask(_signal.SIG_UNBLOCK, (_signal.SIGALRM,))  # a blocked signal is inherited
    _signal.setitimer(_signal.ITIMER_REAL, seconds)


def read_stdin(configuration: bytearray) -> None:
    if posix.isatty(0):
        return  # somebody tries it by hand; there is no configuration to wait for
    while len(configuration) <= STDIN_LIMIT:
        try:
            chunk = posix.read(0, CHUNK)
        except BlockingIOError:
            posix.set_blocking(0, True)
            continue
        except OSError as error:
            if error.errno == BAD_DESCRIPTOR:
                return  # closed: the same as empty
            reason = f"the network configuration cannot be read from stdin: {error.strerror}"
            raise CniError(IO_FAILURE, reason) from None
        if not chunk:
            return
        configuration += chunk
    raise CniError(
        INVALID_CONFIGURATION,
        f"the network configuration on stdin is larger than {STDIN_LIMIT} bytes: "
        "shorten the file in the runtime's CNI configuration directory",
    )


def request(environment: "dict[bytes, bytes]", configuration: bytearray) -> bytes:
    block = b"".join([name + b"=" + value + b"\0" for name, value in environment.items() if name.startswith(b"CNI_")])
    return b"contivpp-cni/1 %d %d\n" % (len(block), len(configuration)) + block + configuration


def ask_agent(path: bytes, message: bytes, command: bytes) -> "tuple[int, bytes]":
    try:
        connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        connection.connect(path)
    except OSError as error:
        raise unavailable(path, command, error.strerror or str(error)) from None
    try:  # noqa: SIM105  (contextlib would have to be imported)
        connection.sendall(message)
    except OSError:
        pass  # the agent may have refused, with an answer, before it had read everything
    try:
        return receive_answer(connection)
    except OSError as error:
        raise unavailable(path, command, f"the connection broke: {error.strerror or error}") from None
    except ValueError as error:
        raise unavailable(path, command, str(error)) from None
    finally:
        connection.close()  # where stdout was closed, the connection has its number, and would get the output


def receive_answer(connection: _socket.socket) -> "tuple[int, bytes]":
    """Read `<exit-code> <bytes>`, a newline, so many bytes; ignore what follows. ValueError: malformed."""
    answer = bytearray()
    while True:
        end = answer.find(b"\n", 0, ANSWER_HEADER_LIMIT)
        if end >= 0:
            break
        if len(answer) >= ANSWER_HEADER_LIMIT:
            raise ValueError(f"its answer does not begin with a header: {excerpt(answer, ANSWER_HEADER_LIMIT)}")
        receive_more(connection, answer)
    code, _, size = bytes(answer[:end]).partition(b" ")
    if not (code.isdigit() and size.isdigit()) or int(code) > 255 or int(size) > ANSWER_LIMIT:
        raise ValueError(f"the header of its answer is malformed: {excerpt(answer, end)}")
    status, start, stop = int(code), end + 1, end + 1 + int(size)
    while len(answer) < stop:
        receive_more(connection, answer)
    if status and start == stop:
        raise ValueError(f"its answer has an exit code, but no error text: {excerpt(answer, end)}")
    return status, bytes(answer[start:stop])


def receive_more(connection: _socket.socket, answer: bytearray) -> None:
    chunk = connection.recv(CHUNK)
    if not chunk:
        raise ValueError("it closed the connection before its answer was complete")
    answer += chunk


def excerpt(answer: bytearray, size: int) -> str:
    return printable(answer[:size].partition(b"\0")[0])


def unavailable(path: bytes, command: bytes, reason: str) -> CniError:
    """The agent cannot serve. STATUS has a code of its own for that; all else the runtime tries again.

    Which commands there are, the agent knows better than this; but what is no command, no runtime should repeat.
    """
    if command not in COMMANDS:
        return CniError(
            INVALID_ENVIRONMENT,
            f"CNI_COMMAND is {printable(command)}, which is not served: give ADD, DEL, CHECK, STATUS, GC or VERSION",
        )
    code = NOT_AVAILABLE if command == b"STATUS" else TRY_AGAIN_LATER
    return CniError(
        code,
        f"the Contiv-VPP agent did not serve {printable(command)} on socket {printable(path)}: {reason}. "
        "Check that the agent runs on this node, see its log, and that it serves CNI on this socket; "
        "the runtime tries again.",
    )


def version_json(configuration: bytearray) -> bytes:
    versions = ",".join([f'"{version}"' for version in SUPPORTED_VERSIONS])
    version = quoted(configured_version(configuration))
    return f'{{"cniVersion":{version},"supportedVersions":[{versions}]}}\n'.encode()


def error_json(code: int, message: str, configuration: bytearray) -> bytes:
    version = quoted(configured_version(configuration))
    return f'{{"cniVersion":{version},"code":{code},"msg":{quoted(message)}}}\n'.encode()


def configured_version(configuration: bytearray) -> str:
    """`cniVersion` of the configuration's outermost object (prevResult has one, too), or our newest.

    A scan, not a parser: of text that is no JSON it makes no sense, and says the default.
    """
    depth = position = 0
    while position < len(configuration):
        character = chr(configuration[position])
        if character == '"':
            end = end_of_string(configuration, position)
            if depth == 1 and configuration[position:end] == b'"cniVersion"':
                version = version_after(configuration, end)
                if version:
                    return version
            position = end
            continue
        if character in "{[":
            depth += 1
        elif character in "}]":
            depth -= 1
        position += 1
    return SUPPORTED_VERSIONS[-1]


def end_of_string(text: bytearray, start: int) -> int:
    """The index behind the closing quote of the string whose opening quote is at `start`."""
    position = start + 1
    while True:
        quote = text.find(b'"', position)
        if quote < 0:
            return len(text)
        backslash = text.find(b"\\", position, quote)
        if backslash < 0:
            return quote + 1
        position = backslash + 2


def version_after(text: bytearray, position: int) -> str:
    """The short string behind `:`, or nothing if it does not look like a version."""
    parts = bytes(text[position : position + 64]).split(b'"', 2)
    if len(parts) < 3 or parts[0].strip() != b":" or len(parts[1]) > 16:
        return ""
    return parts[1].decode() if parts[1].replace(b".", b"").replace(b"-", b"").isalnum() else ""


def printable(raw: "bytes | bytearray") -> str:
    return raw.decode("utf-8", "replace")


def quoted(text: str) -> str:
    """`text` as a JSON string in ASCII."""
    parts = ['"']
    for character in text:
        number = ord(character)
        if character in '"\\':
            parts.append("\\" + character)
        elif 0x20 <= number < 0x7F:
            parts.append(character)
        elif number < 0x10000:
            parts.append(f"\\u{number:04x}")
        else:  # a surrogate pair
            number -= 0x10000
            parts.append(f"\\u{0xD800 + (number >> 10):04x}\\u{0xDC00 + (number & 0x3FF):04x}")
    parts.append('"')
    return "".join(parts)


def write_all(output: bytes) -> None:
    view = memoryview(output)
    while view:
        try:
            view = view[posix.write(1, view) :]
        except BlockingIOError:
            posix.set_blocking(1, True)


if __name__ == "__main__":
    main()
