// SPDX-License-Identifier: Apache-2.0
/*
 * The executable that runtimes start for every pod, for hosts without Python: shim.py once more, in C.
 *
 * Both say the same in the same bytes; one test suite runs over both, and a fuzzer compares them. Change them
 * together. What is explained in shim.py is not explained again. What is so because of C:
 *
 * - The deadline's signal handler tells the error itself and ends the process. A flag would leave a gap between
 *   looking and waiting, in which the signal is lost. So all that the handler reaches is async-signal-safe.
 * - No memory is allocated: the buffers have the protocol's limits (pages that are not used cost nothing), and
 *   what has no useful limit (a path, the environment) goes out piece by piece.
 */

#define _XOPEN_SOURCE 700

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define DEFAULT_SOCKET "/run/contivpp/cni.sock"
#define SUPPORTED_VERSIONS "\"0.3.1\",\"0.4.0\",\"1.0.0\",\"1.1.0\""
#define NEWEST_VERSION "1.1.0"
#define SOCKET_SLOT 108 /* sun_path, with its closing NUL */
#define DEADLINE_SECONDS 110
#define DEADLINE_LENGTH 16
#define STDIN_LIMIT (1 << 20)
#define ANSWER_HEADER_LIMIT 32
#define ANSWER_LIMIT (16 << 20)
#define CHUNK (1 << 16)
#define VERSION_WINDOW 64
#define VERSION_LIMIT 16
#define REPLACEMENT 0xFFFD
#define DIGITS "0123456789"

/* Error codes of the CNI specification. */
enum {
	INVALID_ENVIRONMENT = 4,
	IO_FAILURE = 5,
	INVALID_CONFIGURATION = 7,
	TRY_AGAIN_LATER = 11,
	NOT_AVAILABLE = 50,
};

/*
 * The installer recognises the program by the marker (native.py has the same), and writes the socket's path
 * behind it. volatile: the compiler must not take the path for known.
 */
static const volatile struct {
	char marker[44];
	char path[SOCKET_SLOT];
} slot = {"# contivpp-cni: native program, its socket: ", DEFAULT_SOCKET};

extern char **environ;

static const char *command = "";
static const char *socket_path = "";
static char default_socket[SOCKET_SLOT];
static const char *deadline = "110";
static char deadline_text[DEADLINE_LENGTH + sizeof " s"];
static int connection = -1;
static char configuration[STDIN_LIMIT + CHUNK];
static volatile size_t configuration_size; /* the handler reads it */
static char answer[ANSWER_HEADER_LIMIT + ANSWER_LIMIT + CHUNK];
static size_t answer_size;
static char output[CHUNK];
static size_t output_size;
static int sink = STDOUT_FILENO; /* where output goes */
static bool sink_failed;

/* --- output */

/* For a runtime that hands us a descriptor of its own that does not block. */
static void set_blocking(int descriptor) {
	int flags = fcntl(descriptor, F_GETFL);
	if (flags >= 0)
		fcntl(descriptor, F_SETFL, flags & ~O_NONBLOCK);
}

static void write_all(const char *text, size_t size) {
	while (size > 0 && !sink_failed) {
		ssize_t written = write(sink, text, size);
		if (written >= 0) {
			text += written;
			size -= (size_t)written;
		} else if (errno == EAGAIN) {
			set_blocking(sink);
		} else if (errno != EINTR) {
			sink_failed = true;
		}
	}
}

static void flush(void) {
	write_all(output, output_size);
	output_size = 0;
}

static void put_bytes(const char *text, size_t size) {
	for (size_t index = 0; index < size; index++) {
		if (output_size == sizeof output)
			flush();
		output[output_size++] = text[index];
	}
}

static void put(const char *text) {
	put_bytes(text, strlen(text));
}

static void put_number(size_t number) {
	if (number >= 10)
		put_number(number / 10);
	put_bytes(&DIGITS[number % 10], 1);
}

static void put_unicode(unsigned number) {
	put("\\u");
	for (int shift = 12; shift >= 0; shift -= 4)
		put_bytes(&"0123456789abcdef"[number >> shift & 0xF], 1);
}

/* One character of a JSON string in ASCII. */
static void put_character(unsigned number) {
	if (number >= 0x10000) { /* a surrogate pair */
		put_unicode(0xD800 + ((number - 0x10000) >> 10));
		put_unicode(0xDC00 + ((number - 0x10000) & 0x3FF));
	} else if (number < 0x20 || number >= 0x7F) {
		put_unicode(number);
	} else {
		if (number == '"' || number == '\\')
			put("\\");
		put_bytes(&(char){(char)number}, 1);
	}
}

/*
 * Decode one UTF-8 sequence of text, or replace the longest beginning of one, as Python does. Returns the bytes
 * taken. The second byte of some sequences is limited: no surrogates, nothing longer than it need be.
 */
static size_t decode(const char *text, size_t size, unsigned *number) {
	unsigned first = (unsigned char)text[0];
	unsigned lowest = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
	unsigned highest = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
	size_t length = first < 0x80 ? 1 : first < 0xC2 ? 0 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : first < 0xF5 ? 4 : 0;
	size_t taken = 1;
	*number = length == 0 ? REPLACEMENT : length == 1 ? first : first & (0x7Fu >> length);
	for (; taken < length; taken++) {
		unsigned next = taken < size ? (unsigned char)text[taken] : 0;
		if (next < lowest || next > highest) {
			*number = REPLACEMENT;
			break;
		}
		*number = *number << 6 | (next & 0x3F);
		lowest = 0x80;
		highest = 0xBF;
	}
	return taken;
}

static void say(const char *text) {
	size_t size = strlen(text);
	while (size > 0) {
		unsigned number;
		size_t taken = decode(text, size, &number);
		put_character(number);
		text += taken;
		size -= taken;
	}
}

/* --- cniVersion of the configuration's outermost object: a scan, not a parser */

/* The index behind the closing quote of the string whose opening quote is at start. */
static size_t end_of_string(size_t start) {
	for (size_t position = start + 1; position < configuration_size; position++) {
		if (configuration[position] == '"')
			return position + 1;
		if (configuration[position] == '\\')
			position++;
	}
	return configuration_size;
}

/* The length of the short string behind `:`, which begins at *start; 0 if it does not look like a version. */
static size_t version_after(size_t position, size_t *start) {
	size_t window = configuration_size - position, letters = 0;
	size_t end = position + (window < VERSION_WINDOW ? window : VERSION_WINDOW);
	for (const char *sign = ":\""; *sign != '\0'; sign++) {
		while (position < end && isspace((unsigned char)configuration[position]))
			position++;
		if (position == end || configuration[position++] != *sign)
			return 0;
	}
	for (*start = position; position < end && configuration[position] != '"'; position++) {
		if (isalnum((unsigned char)configuration[position]))
			letters++;
		else if (configuration[position] != '.' && configuration[position] != '-')
			return 0;
	}
	size_t length = position - *start;
	return position < end && letters > 0 && length <= VERSION_LIMIT ? length : 0;
}

static bool is_version_key(size_t position, size_t end) {
	static const char key[] = "\"cniVersion\"";
	return end - position == strlen(key) && memcmp(configuration + position, key, strlen(key)) == 0;
}

static void put_configured_version(void) {
	long depth = 0;
	size_t next;
	for (size_t position = 0; position < configuration_size; position = next) {
		char byte = configuration[position];
		next = byte == '"' ? end_of_string(position) : position + 1;
		depth += (byte == '{' || byte == '[') - (byte == '}' || byte == ']');
		if (depth == 1 && is_version_key(position, next)) {
			size_t start, length = version_after(next, &start);
			if (length > 0) {
				put_bytes(configuration + start, length);
				return;
			}
		}
	}
	put(NEWEST_VERSION);
}

/* --- ends of the process */

/* Closing matters where stdout was closed: then the connection has its number. */
static void take_stdout(void) {
	static const struct itimerval never;
	setitimer(ITIMER_REAL, &never, NULL);
	close(connection);
	sink = STDOUT_FILENO;
	sink_failed = false;
	output_size = 0;
}

static _Noreturn void leave(int status) {
	flush();
	_exit(sink_failed && status == 0 ? 1 : status); /* nobody listens: the status is all that is left */
}

static void begin_json(void) {
	take_stdout();
	put("{\"cniVersion\":\"");
	put_configured_version();
	put("\",");
}

static _Noreturn void fail_with(size_t code, const char *const *pieces) {
	begin_json();
	put("\"code\":");
	put_number(code);
	put(",\"msg\":\"");
	while (*pieces != NULL)
		say(*pieces++);
	put("\"}\n");
	leave(1);
}
#define fail(code, ...) fail_with(code, (const char *const[]){__VA_ARGS__, NULL})

static bool is_command(void) {
	static const char *const commands[] = {"ADD", "DEL", "CHECK", "STATUS", "GC", "VERSION"};
	for (size_t index = 0; index < sizeof commands / sizeof *commands; index++)
		if (strcmp(command, commands[index]) == 0)
			return true;
	return false;
}

static _Noreturn void unavailable(const char *reason, const char *detail) {
	if (!is_command())
		fail(INVALID_ENVIRONMENT, "CNI_COMMAND is ", command,
		     ", which is not served: give ADD, DEL, CHECK, STATUS, GC or VERSION");
	fail(strcmp(command, "STATUS") == 0 ? NOT_AVAILABLE : TRY_AGAIN_LATER, "the Contiv-VPP agent did not serve ",
	     command, " on socket ", socket_path, ": ", reason, detail,
	     ". Check that the agent runs on this node, see its log, and that it serves CNI on this socket; "
	     "the runtime tries again.");
}

/* --- deadline */

static bool is_decimal(const char *text) {
	size_t whole = strspn(text, DIGITS);
	size_t point = text[whole] == '.';
	size_t length = whole + point + strspn(text + whole + point, DIGITS);
	return text[length] == '\0' && length > point && length <= DEADLINE_LENGTH;
}

static double deadline_seconds(void) {
	double seconds = is_decimal(deadline) ? strtod(deadline, NULL) : 0;
	if (!(seconds > 0 && seconds <= DEADLINE_SECONDS))
		fail(INVALID_ENVIRONMENT, "CONTIVPP_CNI_DEADLINE is ", deadline,
		     ": give seconds, more than 0 and at most 110");
	return seconds;
}

static void ring(int number) {
	(void)number;
	unavailable("no answer within ", deadline_text);
}

static void start_timer(double seconds) {
	struct sigaction action = {.sa_handler = ring};
	long whole = (long)seconds;
	/* One more microsecond: 0 would mean never. */
	struct itimerval timer = {.it_value = {whole, (long)((seconds - (double)whole) * 999999) + 1}};
	sigset_t alarms;
	strcat(strcpy(deadline_text, deadline), " s"); /* its length is limited */
	sigemptyset(&action.sa_mask);
	sigaction(SIGALRM, &action, NULL);
	sigemptyset(&alarms);
	sigaddset(&alarms, SIGALRM);
	sigprocmask(SIG_UNBLOCK, &alarms, NULL); /* a blocked signal is inherited */
	setitimer(ITIMER_REAL, &timer, NULL);
}

/* --- the call */

static void read_stdin(void) {
	if (isatty(STDIN_FILENO))
		return; /* somebody tries it by hand; there is no configuration to wait for */
	while (configuration_size <= STDIN_LIMIT) {
		ssize_t got = read(STDIN_FILENO, configuration + configuration_size, CHUNK);
		if (got > 0) {
			configuration_size += (size_t)got;
		} else if (got == 0 || errno == EBADF) {
			return; /* the end; or closed, which is the same as empty */
		} else if (errno == EAGAIN) {
			set_blocking(STDIN_FILENO);
		} else if (errno != EINTR) {
			fail(IO_FAILURE, "the network configuration cannot be read from stdin: ", strerror(errno));
		}
	}
	fail(INVALID_CONFIGURATION, "the network configuration on stdin is larger than 1048576 bytes: "
	                            "shorten the file in the runtime's CNI configuration directory");
}

/* Variables of CNI go to the agent; of a name that is there twice, the first, as getenv has it. */
static bool is_passed(size_t index) {
	const char *entry = environ[index], *end = strchr(entry, '=');
	if (strncmp(entry, "CNI_", 4) != 0 || end == NULL)
		return false;
	for (size_t earlier = 0; earlier < index; earlier++)
		if (strncmp(environ[earlier], entry, (size_t)(end - entry) + 1) == 0)
			return false;
	return true;
}

/* A failure is passed over: the agent may have refused, with an answer, before it had read everything. */
static void send_request(void) {
	size_t block = 0;
	for (size_t index = 0; environ[index] != NULL; index++)
		block += is_passed(index) ? strlen(environ[index]) + 1 : 0;
	sink = connection;
	put("contivpp-cni/1 ");
	put_number(block);
	put(" ");
	put_number(configuration_size);
	put("\n");
	for (size_t index = 0; environ[index] != NULL; index++)
		if (is_passed(index))
			put_bytes(environ[index], strlen(environ[index]) + 1);
	put_bytes(configuration, configuration_size);
	flush();
}

static void connect_agent(void) {
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	size_t length = strlen(socket_path);
	if (length >= sizeof address.sun_path)
		unavailable("AF_UNIX path too long", "");
	memcpy(address.sun_path, socket_path, length);
	connection = socket(AF_UNIX, SOCK_STREAM, 0);
	if (connection < 0)
		unavailable(strerror(errno), "");
	while (connect(connection, (struct sockaddr *)&address, sizeof address) < 0)
		if (errno != EINTR)
			unavailable(strerror(errno), "");
}

static void receive_more(void) {
	ssize_t got;
	do
		got = recv(connection, answer + answer_size, CHUNK, 0);
	while (got < 0 && errno == EINTR);
	if (got < 0)
		unavailable("the connection broke: ", strerror(errno));
	if (got == 0)
		unavailable("it closed the connection before its answer was complete", "");
	answer_size += (size_t)got;
}

/* The beginning of the answer as a string, which ends early at a NUL. */
static const char *excerpt(size_t size) {
	answer[size] = '\0';
	return answer;
}

/* Read up to the end of the header, and return its length, less the newline. */
static size_t receive_header(void) {
	for (;;) {
		size_t seen = answer_size < ANSWER_HEADER_LIMIT ? answer_size : ANSWER_HEADER_LIMIT;
		const char *end = memchr(answer, '\n', seen);
		if (end != NULL)
			return (size_t)(end - answer);
		if (answer_size >= ANSWER_HEADER_LIMIT)
			unavailable("its answer does not begin with a header: ", excerpt(ANSWER_HEADER_LIMIT));
		receive_more();
	}
}

static _Noreturn void pass_answer(void) {
	size_t header = receive_header();
	size_t code_digits = strspn(answer, DIGITS); /* stops at the newline */
	const char *size_text = answer + code_digits + (code_digits < header);
	size_t size_digits = strspn(size_text, DIGITS);
	size_t status = strtoul(answer, NULL, 10), size = strtoul(size_text, NULL, 10);
	if (code_digits == 0 || answer[code_digits] != ' ' || size_digits == 0 ||
	    code_digits + 1 + size_digits != header || status > 255 || size > ANSWER_LIMIT)
		unavailable("the header of its answer is malformed: ", excerpt(header));
	if (status > 0 && size == 0)
		unavailable("its answer has an exit code, but no error text: ", excerpt(header));
	while (answer_size < header + 1 + size)
		receive_more();
	take_stdout();
	write_all(answer + header + 1, size);
	leave((int)status);
}

static const char *variable(const char *name, const char *otherwise) {
	const char *value = getenv(name);
	return value != NULL && *value != '\0' ? value : otherwise;
}

int main(void) {
	for (size_t index = 0; index < SOCKET_SLOT - 1; index++)
		default_socket[index] = slot.path[index];
	command = variable("CNI_COMMAND", "");
	socket_path = variable("CONTIVPP_CNI_SOCKET", default_socket);
	deadline = variable("CONTIVPP_CNI_DEADLINE", deadline);
	signal(SIGPIPE, SIG_IGN);
	double seconds = deadline_seconds();
	start_timer(seconds);
	read_stdin();
	if (*command == '\0')
		fail(INVALID_ENVIRONMENT, "CNI_COMMAND is not set: this is a CNI plugin, started by the container "
		                          "runtime (try CNI_COMMAND=VERSION)");
	if (strcmp(command, "VERSION") == 0) {
		begin_json();
		put("\"supportedVersions\":[" SUPPORTED_VERSIONS "]}\n");
		leave(0);
	}
	connect_agent();
	send_request();
	pass_answer();
}
