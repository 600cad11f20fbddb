// SPDX-License-Identifier: MIT
// Hostile use, seeded and bounded: clients that do all that a client can do wrong, agents that answer
// nonsense, kill -9 for both at random moments, and attempts to unload the module meanwhile. At the end
// everything is killed; the module must then unload.
//
//   storm SECONDS SEED MODULE AGENT CERT KEY
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../../kmod/tlsdev.h"
#include "ktls.h"

enum { CLIENTS = 6 };

// What was done, over all processes: a storm in which nothing succeeds tries little.
struct counters { unsigned opened, established, bytes_in, bytes_out, handshakes[140]; };
static struct counters *counters;

static char *volatile nowhere = (char *)8;

static const char *module_path, *agent_path, *cert, *key;

// ---- chance ----

static uint64_t chance_state;

static uint32_t chance(uint32_t below) {
    chance_state ^= chance_state << 13;
    chance_state ^= chance_state >> 7;
    chance_state ^= chance_state << 17;
    return below ? (uint32_t)(chance_state >> 16) % below : 0;
}

static void seed(uint64_t with) { chance_state = with * 0x9e3779b97f4a7c15u + 1; }

static void nap(uint32_t milliseconds) { usleep(chance(milliseconds * 1000) + 1); }

static void random_bytes(void *to, size_t count) {
    for (unsigned char *at = to; count--; at++) *at = (unsigned char)chance(256);
}

// ---- a client ----

static unsigned ctl_major, data_major;

static void read_majors(void) {
    FILE *devices = fopen("/proc/devices", "r");
    char line[128], name[64];
    unsigned major;
    while (devices && fgets(line, sizeof(line), devices)) {
        if (sscanf(line, "%u %63s", &major, name) != 2) continue;
        if (!strcmp(name, "tlsctl")) ctl_major = major;
        if (!strcmp(name, "tlsdata")) data_major = major;
    }
    if (devices) fclose(devices);
}

static int open_node(unsigned major, unsigned number, int flags) {
    char path[64];
    snprintf(path, sizeof(path), "/tmp/storm.%d.%u", (int)getpid(), number);
    unlink(path);
    if (mknod(path, S_IFCHR | 0666, makedev(major, number))) return -1;
    int fd = open(path, flags | O_CLOEXEC);
    unlink(path);
    return fd;
}

static int tcp_pair(int ends[2]) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof(address);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ends[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int result = bind(listener, (struct sockaddr *)&address, length) || listen(listener, 1) ||
                 getsockname(listener, (struct sockaddr *)&address, &length) ||
                 connect(ends[0], (struct sockaddr *)&address, length);
    ends[1] = result ? -1 : accept(listener, NULL, NULL);
    close(listener);
    return result;
}

// The other end: behaves for a while, then in some way or other does not.
static void play_peer(int fd, int server, int version) {
    static char bytes[65536];
    struct ktls ktls = {.fd = fd, .server = server, .version = version, .cert = cert, .key = key, .seconds = 2};
    if (chance(12) == 0) {
        random_bytes(bytes, 64);
        (void)!write(fd, bytes, 64);
        return;
    }
    if (ktls_handshake(&ktls)) return;
    for (unsigned i = 0; i < chance(40); i++) {
        switch (chance(12)) {
            case 0: nap(20); break;
            case 1: case 2: case 3: case 4: send(fd, bytes, chance(sizeof(bytes)), MSG_DONTWAIT | MSG_NOSIGNAL); break;
            case 5: case 6: case 7: case 8: recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT); break;
            case 9: {  // a control record of any type and content
                char space[CMSG_SPACE(1)] = {0};
                struct iovec vec = {bytes, chance(400)};
                struct msghdr message = {.msg_iov = &vec, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof(space)};
                struct cmsghdr *header = CMSG_FIRSTHDR(&message);
                header->cmsg_level = 282;
                header->cmsg_type = 1;
                header->cmsg_len = CMSG_LEN(1);
                *CMSG_DATA(header) = (unsigned char)(chance(4) ? 20 + chance(5) : chance(256));
                random_bytes(bytes, 400);
                if (chance(2)) vec.iov_len = 2, bytes[0] = 1, bytes[1] = 0;  // close_notify
                sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
                break;
            }
            case 10: shutdown(fd, SHUT_WR); break;
            case 11: {
                struct linger linger = {1, 0};
                setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
                return;
            }
        }
    }
}

static const char *const words[] = {"fd", "client", "server", "close", "hangup", "verify", "version", "sleep", "timeout",
                                    "0", "1", "3", "-1", "99999999999", "''", "'", "\t", "\n", "fd 0", "fd 1 2", "0.01"};

static void write_nonsense(int ctl) {
    static char text[20000];
    size_t length = 0;
    if (chance(4) == 0) {
        length = chance(sizeof(text));
        random_bytes(text, length);
    } else {
        for (unsigned i = 0; i < chance(12); i++)
            length += (size_t)snprintf(text + length, 32, "%s%s", words[chance(sizeof(words) / sizeof(*words))], chance(4) ? " " : "\n");
    }
    (void)!write(ctl, text, length);
}

static int any_descriptor(int ctl) {
    int ends[2];
    switch (chance(9)) {
        case 0: return open("/dev/null", O_RDWR);
        case 1: return open("/", O_RDONLY);
        case 2: return open("/proc/self/maps", O_RDONLY);
        case 3: return epoll_create1(0);
        case 4: return pipe(ends) ? -1 : ends[chance(2)];
        case 5: return socketpair(AF_UNIX, SOCK_STREAM, 0, ends) ? -1 : ends[0];
        case 6: return socket(AF_INET, SOCK_STREAM, 0);
        case 7: return memfd_create("x", 0);
        default: return ctl;
    }
}

static void use_data(int data) {
    static char bytes[100000];
    struct pollfd polled = {.fd = data, .events = POLLIN | POLLOUT};
    struct iovec vec[2] = {{bytes, chance(1000)}, {bytes, chance(50000)}};
    int ends[2];
    ssize_t n;
    switch (chance(9)) {
        case 0:
            n = read(data, bytes, chance(sizeof(bytes)));
            if (n > 0) __sync_fetch_and_add(&counters->bytes_in, (unsigned)n);
            break;
        case 1:
            n = write(data, bytes, chance(sizeof(bytes)));
            if (n > 0) __sync_fetch_and_add(&counters->bytes_out, (unsigned)n);
            break;
        case 2: (void)!readv(data, vec, 2); break;
        case 3: (void)!writev(data, vec, 2); break;
        case 4: poll(&polled, 1, (int)chance(20)); break;
        case 5:
            if (pipe2(ends, O_NONBLOCK)) break;
            (void)!splice(data, NULL, ends[1], NULL, 65536, SPLICE_F_NONBLOCK);
            (void)!splice(ends[0], NULL, data, NULL, 65536, SPLICE_F_NONBLOCK);
            close(ends[0]), close(ends[1]);
            break;
        case 6: (void)!read(data, nowhere, 100); break;
        case 7: (void)!write(data, nowhere, 100); break;
        case 8: fcntl(data, F_SETFL, chance(2) ? O_NONBLOCK : 0); break;
    }
}

// The owner has the socket, too, and may do with it behind the module's back what he likes.
static void use_carrier(int fd) {
    static char bytes[1000];
    struct sockaddr nowhere_at_all = {.sa_family = AF_UNSPEC};
    struct linger linger = {1, (int)chance(3)};
    int value = (int)chance(4000);
    switch (chance(9)) {
        case 0: send(fd, bytes, chance(sizeof(bytes)), MSG_DONTWAIT | MSG_NOSIGNAL | (chance(2) ? MSG_MORE : 0)); break;
        case 1: recv(fd, bytes, chance(sizeof(bytes)), MSG_DONTWAIT | (chance(2) ? MSG_PEEK : 0)); break;
        case 2: shutdown(fd, (int)chance(3)); break;
        case 3: connect(fd, &nowhere_at_all, sizeof(nowhere_at_all)); break;
        case 4: listen(fd, 1); break;
        case 5: setsockopt(fd, IPPROTO_TCP, 31, "tls", 4); break;
        case 6: setsockopt(fd, 282, 1 + (int)chance(4), bytes, chance(60)); break;
        case 7: setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)); break;
        case 8: setsockopt(fd, SOL_SOCKET, chance(2) ? SO_SNDBUF : SO_RCVBUF, &value, sizeof(value)); break;
    }
}

static void play_connection(void) {
    char line[128], text[32] = "";
    int ends[2], data = -1, second = -1;
    int ctl = open("/dev/tls", O_RDWR | (chance(4) ? 0 : O_NONBLOCK));
    if (ctl < 0) {
        nap(50);
        read_majors();
        return;
    }
    __sync_fetch_and_add(&counters->opened, 1);
    if (read(ctl, text, sizeof(text) - 1) <= 0) text[0] = 0;
    const unsigned number = (unsigned)atoi(text);
    if (chance(6) == 0) write_nonsense(ctl);
    if (chance(8) == 0) {
        snprintf(line, sizeof(line), chance(3) ? "fd %d\n" : "fd %d 0\n", any_descriptor(ctl));
        (void)!write(ctl, line, strlen(line));
    }
    if (tcp_pair(ends)) {
        close(ctl);
        return;
    }
    const int server = (int)chance(2), tls13 = chance(3) > 0;
    pid_t peer = fork();
    if (peer == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(ends[0]), close(ctl);
        play_peer(ends[1], !server, tls13 == (chance(10) > 0) ? TLS1_3_VERSION : TLS1_2_VERSION);
        _exit(0);
    }
    close(ends[1]);
    snprintf(line, sizeof(line), "fd %d\nversion %s\ntimeout 2\n%s\n", ends[0], tls13 ? "1.3" : "1.2", server ? "server" : "client");
    const int said = write(ctl, line, strlen(line)) < 0 ? errno : 0;
    __sync_fetch_and_add(&counters->handshakes[said < 140 ? said : 0], 1);
    if (chance(2)) close(ends[0]), ends[0] = -1;
    data = open_node(data_major, number, O_RDWR);
    if (data >= 0) __sync_fetch_and_add(&counters->established, 1);
    second = open_node(chance(2) ? data_major : ctl_major, chance(8) ? number : chance(1 << 20), O_RDWR | O_NONBLOCK);
    pid_t sibling = data >= 0 && chance(3) == 0 ? fork() : -1;
    if (sibling == 0) prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (unsigned i = 0; i < chance(60); i++) {
        if (data >= 0 && chance(8)) use_data(chance(5) ? data : second);
        else if (chance(20) == 0) (void)!write(ctl, chance(2) ? "close\n" : "hangup\n", 6 + chance(2));
        else if (chance(10) == 0) write_nonsense(ctl);
        if (ends[0] >= 0 && chance(20) == 0) use_carrier(ends[0]);
    }
    if (sibling == 0) _exit(0);
    if (sibling > 0 && chance(2)) kill(sibling, SIGKILL);
    kill(peer, SIGKILL);
    int last[4] = {ctl, data, second, ends[0]};
    for (unsigned i = 0; i < 4; i++) {
        unsigned other = chance(4);
        int swap = last[i];
        last[i] = last[other];
        last[other] = swap;
    }
    for (unsigned i = 0; i < 4; i++)
        if (last[i] >= 0) close(last[i]);
    while (waitpid(-1, NULL, WNOHANG) > 0) continue;
    closefrom(3);
}

static void play_client(uint64_t with) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGPIPE, SIG_IGN);
    seed(with);
    read_majors();
    for (;;) {
        alarm(6);  // a blocking read of a peer that says nothing ends so; the parent starts another
        play_connection();
    }
}

// ---- an agent that answers nonsense ----

static void send_nonsense(int device, const struct tlsdev_event *event) {
    union {
        struct tlsdev_answer answer;
        struct tlsdev_carrier carrier;
        struct tlsdev_set_state state;
        struct tlsdev_blob blob;
        struct tlsdev_end end;
        struct tlsdev_status status;
        uint64_t id;
        unsigned char bytes[256];
    } message;
    static const unsigned long commands[] = {TLSDEV_IOC_INFO, TLSDEV_IOC_ANSWER, TLSDEV_IOC_CARRIER, TLSDEV_IOC_STATE,
                                             TLSDEV_IOC_BLOB, TLSDEV_IOC_END, TLSDEV_IOC_QUERY, TLSDEV_IOC_FORGET};
    random_bytes(&message, sizeof(message));
    if (chance(10)) message.id = event->id;
    unsigned long command = chance(10) ? commands[chance(8)] : chance(1u << 31);
    if (chance(3)) switch (command) {  // near to sense
        case TLSDEV_IOC_ANSWER: case TLSDEV_IOC_CARRIER:
            message.answer.seq = event->seq;
            message.answer.error = (int)chance(140);
            if (command == TLSDEV_IOC_CARRIER) message.carrier.index = chance(3);
            break;
        case TLSDEV_IOC_STATE:
            message.state.state = chance(9);
            message.state.error = chance(2) ? 0 : (int)chance(140);
            message.state.carrier = (int)chance(12);
            break;
        case TLSDEV_IOC_BLOB:
            message.blob.address = chance(3) ? (uintptr_t)&message : chance(1u << 31);
            message.blob.length = chance(5000);
            break;
        case TLSDEV_IOC_END: message.end.how = chance(4); break;
    }
    int fd = ioctl(device, command, chance(20) ? (void *)&message : (void *)8);
    if (command == TLSDEV_IOC_CARRIER && fd > 16) close(fd);
}

static void play_agent(uint64_t with) {
    static unsigned char buffer[TLSDEV_EVENT_MAX];
    struct tlsdev_event event = {0};
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    seed(with);
    int device = open("/dev/tlsagent", O_RDWR | O_NONBLOCK);
    if (device < 0) _exit(0);
    for (;;) {
        ssize_t n = read(device, buffer, chance(20) ? sizeof(buffer) : chance(sizeof(buffer)));
        if (n > 0) memcpy(&event, buffer, sizeof(event));
        if (n > 0 && event.type == TLSDEV_EVENT_OPEN && chance(8)) {
            struct tlsdev_set_state set = {.id = event.id, .state = TLSDEV_STATE_NEW, .carrier = -1};
            ioctl(device, TLSDEV_IOC_STATE, &set);
        }
        if (n > 0 && event.type == TLSDEV_EVENT_CLOSED && chance(8)) ioctl(device, TLSDEV_IOC_FORGET, &event.id);
        for (unsigned i = 0; i < chance(6); i++) send_nonsense(device, &event);
        if (n <= 0) nap(2);
    }
}

// ---- the parent ----

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static double agent_dies_at;

// Most live long enough for some handshakes; some die in the middle of the first, or talk nonsense.
static pid_t start_agent(void) {
    const int sane = chance(4) > 0;
    agent_dies_at = now() + (sane && chance(4) ? 2 + chance(8000) / 1e3 : chance(1500) / 1e3);
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (!sane) play_agent(chance_state);
        int null = open("/dev/null", O_RDWR), ends[2];
        (void)!pipe(ends);  // its stdin stays open and silent
        dup2(ends[0], 0), dup2(null, 1), dup2(null, 2);
        execl(agent_path, agent_path, cert, key, NULL);
        _exit(111);
    }
    return pid;
}

static pid_t start_client(unsigned which) {
    uint64_t with = chance_state + which;
    pid_t pid = fork();
    if (pid == 0) {
        (void)!setsid();
        play_client(with);
    }
    return pid;
}

static int unload(void) { return (int)syscall(SYS_delete_module, "tlsdev", O_NONBLOCK); }

static int load(void) {
    int fd = open(module_path, O_RDONLY | O_CLOEXEC);
    int result = (int)syscall(SYS_finit_module, fd, "", 0);
    close(fd);
    return result;
}

int main(int argc, char **argv) {
    if (argc != 7) return 100;
    const time_t until = time(NULL) + atoi(argv[1]);
    counters = mmap(NULL, sizeof(*counters), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    seed((uint64_t)atoll(argv[2]));
    module_path = argv[3], agent_path = argv[4], cert = argv[5], key = argv[6];
    pid_t agent = start_agent(), clients[CLIENTS];
    unsigned agents = 1, killed = 0, refused = 0, unloaded = 0;
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    for (unsigned i = 0; i < CLIENTS; i++) clients[i] = start_client(i);

    while (time(NULL) < until) {
        nap(150);
        if (now() > agent_dies_at) {
            kill(agent, SIGKILL);
            waitpid(agent, NULL, 0);
            agent = start_agent();
            agents++;
        }
        if (chance(12) == 0) kill(clients[chance(CLIENTS)], SIGKILL), killed++;
        if (chance(20) == 0) {
            if (unload() == 0) unloaded++, load();
            else refused++;
        }
        for (pid_t pid; (pid = waitpid(-1, NULL, WNOHANG)) > 0;) {
            for (unsigned i = 0; i < CLIENTS; i++)
                if (pid == clients[i]) clients[i] = start_client(i);
            if (pid == agent) agent = start_agent(), agents++;
        }
    }

    kill(agent, SIGKILL);
    for (unsigned i = 0; i < CLIENTS; i++) kill(clients[i], SIGKILL);
    const time_t patience = time(NULL) + 40;
    int gone;
    do {
        while (waitpid(-1, NULL, WNOHANG) > 0) continue;
        usleep(100000);
    } while ((gone = unload()) && time(NULL) < patience);
    printf("%u opened, %u established, %u bytes read, %u written\n", counters->opened, counters->established,
           counters->bytes_in, counters->bytes_out);
    printf("handshakes:");
    for (int error = 0; error < 140; error++)
        if (counters->handshakes[error]) printf(" %u %s", counters->handshakes[error], error ? strerrorname_np(error) : "made");
    printf("\n%u agents, %u clients killed, unloading refused %u times and granted %u times, at the end: %s\n", agents, killed,
           refused, unloaded, gone ? strerror(errno) : "unloaded");
    if (gone) return 1;
    return load() ? 1 : 0;
}
