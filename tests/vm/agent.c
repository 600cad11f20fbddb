// SPDX-License-Identifier: MIT
// A stand-in for the companion: the smallest agent that the module's protocol (kmod/tlsdev.h) allows.
// It checks no certificate and knows just enough of the ctl grammar to try the module. Test use only.
//
//   agent CERT KEY      prints "ready" once it serves; "handshake ID HEX", "adopt ID BLOB",
//                       "closed ID" as they come. A line on stdin: "query N" prints the status.
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "../../kmod/tlsdev.h"
#include "ktls.h"

enum { CONNECTIONS = 65536 };

// What is known of a connection; the slot is its number. One thread a ctl write uses it.
struct connection {
    uint64_t id;
    int carrier;
    int version;
    int timeout;
    int busy;  // a handshake is under way, or was
    char ciphers[256];
    char cert[256], key[256];
};

static int device;
static const char *default_cert, *default_key;
static struct connection *connections[CONNECTIONS];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static struct connection *find(uint64_t id) {
    uint32_t number = (uint32_t)id;
    return number < CONNECTIONS ? connections[number] : NULL;
}

static struct connection *add(uint64_t id) {
    struct connection *connection = calloc(1, sizeof(*connection));
    connection->id = id;
    connection->carrier = -1;
    connection->version = TLS1_3_VERSION;
    connection->timeout = 30;
    snprintf(connection->cert, sizeof(connection->cert), "%s", default_cert);
    snprintf(connection->key, sizeof(connection->key), "%s", default_key);
    connections[(uint32_t)id % CONNECTIONS] = connection;
    return connection;
}

static int set_state(uint64_t id, uint32_t state, int error, int carrier) {
    struct tlsdev_set_state set = {.id = id, .state = state, .error = error, .carrier = carrier};
    return ioctl(device, TLSDEV_IOC_STATE, &set);
}

static int answer(uint64_t id, uint32_t seq, int error) {
    struct tlsdev_answer message = {.id = id, .seq = seq, .error = error};
    return ioctl(device, TLSDEV_IOC_ANSWER, &message);
}

// ---- ctl lines ----

// A write to ctl, as its thread has it.
struct lines {
    struct connection *connection;
    struct tlsdev_event event;
    int answered;
    char text[TLSDEV_LINES_MAX + 1];
};

static int run_fd(struct lines *lines) {
    if (lines->connection->carrier >= 0) return EBUSY;
    if (lines->event.carrier_error) return lines->event.carrier_error;
    if (lines->event.carriers == 0) return EINVAL;
    struct tlsdev_carrier carrier = {.id = lines->event.id, .seq = lines->event.seq, .index = 0};
    int fd = ioctl(device, TLSDEV_IOC_CARRIER, &carrier);
    if (fd < 0) return errno;
    int type, listening;
    socklen_t length = sizeof(type);
    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) || type != SOCK_STREAM ||
        getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &length) || listening) {
        close(fd);
        return EOPNOTSUPP;
    }
    lines->connection->carrier = fd;
    return 0;
}

static int run_handshake(struct lines *lines, int server, const char *name) {
    struct connection *connection = lines->connection;
    if (connection->carrier < 0) return ENOTCONN;
    if (__atomic_exchange_n(&connection->busy, 1, __ATOMIC_RELAXED)) return EBUSY;
    if (set_state(connection->id, TLSDEV_STATE_HANDSHAKING, 0, -1)) return EBUSY;
    if (lines->event.flags & TLSDEV_LINES_NONBLOCK) {
        answer(lines->event.id, lines->event.seq, EINPROGRESS);
        lines->answered = 1;
    }
    struct ktls ktls = {.fd = connection->carrier, .server = server, .version = connection->version,
                        .name = name && *name ? name : NULL, .seconds = connection->timeout,
                        .ciphers = connection->ciphers[0] ? connection->ciphers : NULL,
                        .cert = connection->cert, .key = connection->key};
    int error = ktls_handshake(&ktls) ? errno : 0;
    if (!error && set_state(connection->id, TLSDEV_STATE_KERNEL, 0, connection->carrier)) error = errno;
    if (error) set_state(connection->id, TLSDEV_STATE_FAILED, error, -1);
    OPENSSL_cleanse(&ktls, sizeof(ktls));
    close(connection->carrier);
    connection->carrier = -1;
    char blob[64];
    struct tlsdev_blob message = {.id = connection->id, .address = (uintptr_t)blob};
    message.length = (uint32_t)snprintf(blob, sizeof(blob), "connection %u", (unsigned)connection->id);
    ioctl(device, TLSDEV_IOC_BLOB, &message);
    return error;
}

static int run_end(struct lines *lines, uint32_t how) {
    struct tlsdev_end end = {.id = lines->event.id, .how = how};
    return ioctl(device, TLSDEV_IOC_END, &end) ? errno : 0;
}

static int run_line(struct lines *lines, char *line) {
    struct connection *connection = lines->connection;
    char verb[32] = "", word[256] = "";
    sscanf(line, "%31s %255s", verb, word);
    if (!strcmp(verb, "fd")) return run_fd(lines);
    if (!strcmp(verb, "client")) return run_handshake(lines, 0, word);
    if (!strcmp(verb, "server")) return run_handshake(lines, 1, NULL);
    if (!strcmp(verb, "close")) return run_end(lines, TLSDEV_END_WRITING);
    if (!strcmp(verb, "hangup")) return run_end(lines, TLSDEV_END_ALL);
    if (!strcmp(verb, "verify")) return 0;
    if (!strcmp(verb, "version")) {
        connection->version = strcmp(word, "1.2") ? TLS1_3_VERSION : TLS1_2_VERSION;
        return 0;
    }
    if (!strcmp(verb, "timeout")) return (connection->timeout = atoi(word)) > 0 ? 0 : EINVAL;
    if (!strcmp(verb, "ciphers")) {
        snprintf(connection->ciphers, sizeof(connection->ciphers), "%s", word);
        return 0;
    }
    if (!strcmp(verb, "sleep")) {  // of the tests: an answer that is late
        usleep((useconds_t)(atof(word) * 1e6));
        return 0;
    }
    return EINVAL;
}

static void *run_lines(void *argument) {
    struct lines *lines = argument;
    int error = 0;
    char *rest = lines->text;
    while (!error && rest && *rest) {
        char *line = strsep(&rest, "\n");
        error = run_line(lines, line);
    }
    if (!lines->answered) answer(lines->event.id, lines->event.seq, error);
    free(lines);
    return NULL;
}

static void start_lines(const struct tlsdev_event *event, const char *text) {
    struct lines *lines = calloc(1, sizeof(*lines));
    pthread_t thread;
    lines->event = *event;
    lines->connection = find(event->id);
    memcpy(lines->text, text, event->length);
    if (!lines->connection) lines->connection = add(event->id);
    if (pthread_create(&thread, NULL, run_lines, lines)) {
        answer(event->id, event->seq, EAGAIN);
        free(lines);
        return;
    }
    pthread_detach(thread);
}

// ---- events ----

static void say(const char *what, uint64_t id, const unsigned char *bytes, size_t length, int hex) {
    pthread_mutex_lock(&lock);
    printf("%s %u ", what, (unsigned)id);
    for (size_t i = 0; i < length; i++) printf(hex ? "%02x" : "%c", bytes[i]);
    putchar('\n');
    fflush(stdout);
    pthread_mutex_unlock(&lock);
}

static void on_event(const struct tlsdev_event *event, const unsigned char *payload) {
    uint64_t id = event->id;
    switch (event->type) {
        case TLSDEV_EVENT_OPEN:
            add(id);
            set_state(id, TLSDEV_STATE_NEW, 0, -1);
            break;
        case TLSDEV_EVENT_ADOPT:
            add(id);
            say("adopt", id, payload, event->length, 0);
            break;
        case TLSDEV_EVENT_LINES: start_lines(event, (const char *)payload); break;
        case TLSDEV_EVENT_INTERRUPT: say("interrupt", id, NULL, 0, 0); break;
        case TLSDEV_EVENT_HANDSHAKE: say("handshake", id, payload, event->length, 1); break;
        case TLSDEV_EVENT_CLOSED:
            // The slot is not freed: a thread may be at it still. A test agent may leak.
            say("closed", id, NULL, 0, 0);
            ioctl(device, TLSDEV_IOC_FORGET, &id);
            break;
    }
}

static void query(unsigned number) {
    struct connection *connection = number < CONNECTIONS ? connections[number] : NULL;
    struct tlsdev_status status = {.id = connection ? connection->id : 0};
    int error = ioctl(device, TLSDEV_IOC_QUERY, &status) ? errno : 0;
    pthread_mutex_lock(&lock);
    printf("status %u error=%d state=%u reason=%d flags=%u read_error=%d alert_in=%u alert_out=%u "
           "data_in=%llu data_out=%llu records_in=%llu records_out=%llu wire_in=%llu wire_out=%llu\n",
           number, error, status.state, status.error, status.flags, status.read_error, status.alert_in,
           status.alert_out, status.data_in, status.data_out, status.records_in, status.records_out,
           status.wire_in, status.wire_out);
    fflush(stdout);
    pthread_mutex_unlock(&lock);
}

static void serve(void) {
    static unsigned char buffer[TLSDEV_EVENT_MAX];
    struct pollfd polls[2] = {{.fd = device, .events = POLLIN}, {.fd = 0, .events = POLLIN}};
    for (;;) {
        poll(polls, 2, -1);
        if (polls[1].revents) {
            char line[64];
            if (!fgets(line, sizeof(line), stdin)) return;
            query((unsigned)atoi(line + strlen("query ")));
        }
        if (polls[0].revents) {
            ssize_t n = read(device, buffer, sizeof(buffer));
            if (n > 0) on_event((struct tlsdev_event *)buffer, buffer + sizeof(struct tlsdev_event));
            else if (errno != EAGAIN && errno != EINTR) return;
        }
    }
}

// The nodes that the companion would show in its tree: DIRECTORY/N/ctl and data, here by major.
static void print_devices(void) {
    struct tlsdev_info info;
    if (ioctl(device, TLSDEV_IOC_INFO, &info) || info.version != TLSDEV_VERSION) exit(111);
    printf("ready %u %u\n", info.ctl_major, info.data_major);
    fflush(stdout);
}

int main(int argc, char **argv) {
    if (argc != 3) return 100;
    default_cert = argv[1];
    default_key = argv[2];
    signal(SIGPIPE, SIG_IGN);
    setvbuf(stdin, NULL, _IONBF, 0);
    device = open("/dev/tlsagent", O_RDWR | O_CLOEXEC | O_NONBLOCK);
    if (device < 0) {
        perror("/dev/tlsagent");
        return 111;
    }
    print_devices();
    serve();
    return 0;
}
