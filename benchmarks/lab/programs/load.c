/* load - the load generator and backend of the benchmarks, in one thread and one epoll loop.
 *
 *   load --target ADDRESS:PORT --backend ADDRESS:PORT --proto tcp|ws|http
 *        --pattern pingpong|down|up|connect|idle|handshake [--conns N] [--size BYTES]
 *        [--pipeline N] [--cached] [--tls] [--tls-version any|1.2|1.3] [--src-count N]
 *        [--ramp N] [--ramp-timeout S] [--warmup S] [--duration S] [--hold S]
 *        [--account FILE] [--watch PID]... [--check]
 *
 * pingpong  each connection sends messages, --pipeline of them at a time, and waits for echoes
 * down, up  the backend, or the client, sends messages without end
 * connect   each connection is opened, echoes one message, is closed, and is opened again
 * idle      each connection echoes one message; "HOLD N" is printed, and nothing happens until
 *           a line comes on standard input or --hold seconds have passed
 * handshake each connection is opened, does the whole handshake of TLS, is closed, and is opened
 *           again; X25519 and ECDSA are insisted on, and no session is resumed
 *
 * With --proto http, pingpong and connect send GETs, whose answers have --size bytes; with
 * --cached they are such as a cache may keep.
 *
 * Clients and backend are one process, so that no work is lost between the two: one core
 * carries more load than a proxy on one core asks for. Every byte that comes is compared.
 *
 * The CPU time of the proxy is read at both ends of the window: from --account, a control
 * group's cpuacct.usage or cpu.stat, or from the schedstat of all threads of each --watch.
 *
 * At the end one line of JSON is printed. --check only reads the arguments. All state is
 * global, for there is one loop in one process.
 */
#include "backend.h"
#include "clients.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>

/* ------------------------------------------------------------------------ accounts */

#define CORES 256

typedef struct {
    uint64_t time, proxy, self; /* ns, ns, us */
    uint64_t cores[CORES][8];   /* user, nice, system, idle, waiting, hard, soft, steal: ticks */
    int core_count;
} Reading;

static Reading before, after;

/* The first number in a file; cpu.stat begins with a word and counts in us. */
static uint64_t read_number(const char *path)
{
    static const char word[] = "usage_usec ";
    char text[64] = {0};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return 0;
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    if (n <= 0) return 0;
    if (strncmp(text, word, sizeof word - 1)) return strtoull(text, NULL, 10);
    return strtoull(text + sizeof word - 1, NULL, 10) * 1000;
}

static uint64_t read_threads(int pid)
{
    char folder[64], path[400];
    uint64_t sum = 0;
    snprintf(folder, sizeof folder, "/proc/%d/task", pid);
    DIR *tasks = opendir(folder);
    if (!tasks) return 0;
    for (struct dirent *task; (task = readdir(tasks));) {
        if (!isdigit((unsigned char)task->d_name[0])) continue;
        snprintf(path, sizeof path, "%s/%s/schedstat", folder, task->d_name);
        sum += read_number(path);
    }
    closedir(tasks);
    return sum;
}

static void read_cores(Reading *r)
{
    char line[512];
    FILE *file = fopen("/proc/stat", "r");
    if (!file) return;
    while (fgets(line, sizeof line, file)) {
        int core, used;
        if (sscanf(line, "cpu%d%n", &core, &used) != 1 || core < 0 || core >= CORES) continue;
        char *p = line + used;
        for (int i = 0; i < 8; i++) r->cores[core][i] = strtoull(p, &p, 10);
        if (core >= r->core_count) r->core_count = core + 1;
    }
    fclose(file);
}

static void take_reading(Reading *r)
{
    struct rusage usage;
    memset(r, 0, sizeof *r);
    r->time = now();
    if (options.account) r->proxy = read_number(options.account);
    for (int i = 0; i < options.watching; i++) r->proxy += read_threads(options.watched[i]);
    getrusage(RUSAGE_SELF, &usage);
    r->self = (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000 +
              (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
    read_cores(r);
}

/* ------------------------------------------------------------------------ report */

static void print_count(const char *name, uint64_t value)
{
    printf("\"%s\": %llu, ", name, (unsigned long long)value);
}

static void print_cores(void)
{
    printf("\"cpu\": [");
    for (int k = 0; k < after.core_count; k++) {
        double spent[8], all = 0;
        for (int i = 0; i < 8; i++) {
            spent[i] = (double)(after.cores[k][i] - before.cores[k][i]);
            all += spent[i];
        }
        if (all == 0) all = 1;
        printf("%s{\"busy\": %.3f, \"steal\": %.3f}", k ? ", " : "",
               1 - (spent[3] + spent[4]) / all, spent[7] / all);
    }
    printf("]}\n");
}

static void report(void)
{
    uint64_t messages = counts.messages - counts_before.messages;
    uint64_t bytes = counts.bytes - counts_before.bytes;
    phase = OVER;
    printf("{\"secs\": %.6f, ", (double)(after.time - before.time) / 1e9);
    print_count("msgs", messages);
    print_count("bytes", options.pattern == UP ? messages * MIB : bytes);
    print_count("conns_done", counts.cycles - counts_before.cycles);
    print_count("opened", (uint64_t)opened);
    print_count("errors", counts.errors);
    print_count("bad", counts.bad);
    print_count("boundary", counts.boundary);
    print_count("backend_faults", backend.faults);
    print_count("backend_asked", backend.asked - backend_before.asked);
    print_count("backend_accepted", backend.accepted - backend_before.accepted);
    print_count("proxy_ns", after.proxy - before.proxy);
    print_count("self_us", after.self - before.self);
    printf("\"lat_us\": {\"p50\": %.1f, \"p90\": %.1f, \"p99\": %.1f, \"max\": %.1f}, ",
           latency_below(.5), latency_below(.9), latency_below(.99), (double)latency_max / 1e3);
    print_cores();
    fflush(stdout);
}

/* ------------------------------------------------------------------------ loop */

static void serve_events(void)
{
    struct epoll_event events[512];
    int n = epoll_wait(poller, events, 512, 10);
    if (n < 0 && errno != EINTR) die("epoll_wait");
    for (int i = 0; i < n; i++) {
        Socket *s = events[i].data.ptr;
        if (s->kind == CLIENT) client_event((Client *)s, events[i].events);
        else if (s->kind == SERVED) served_event((Served *)s, events[i].events);
        else backend_accept(s);
    }
    served_bury();
}

static double since(uint64_t time) { return (double)(now() - time) / 1e9; }

/* Serve until all that can be opened is open. */
static void run_opening(void)
{
    uint64_t begun = now();
    open_more();
    while (phase == OPENING) {
        serve_events();
        if (since(begun) < options.patience && opened + dead < options.connections) continue;
        if (phase == OPENING) {
            fprintf(stderr, "%d of %d are open\n", opened, options.connections);
            opening_ended();
        }
    }
}

static void run_idle(void)
{
    struct pollfd input = {.fd = 0, .events = POLLIN};
    take_reading(&before);
    printf("HOLD %d\n", opened);
    fflush(stdout);
    while (since(all_open) < options.hold && poll(&input, 1, 0) <= 0) serve_events();
    take_reading(&after);
}

static void run_window(void)
{
    while (since(all_open) < options.warm_up) serve_events();
    counts_before = counts;
    backend_before = backend;
    phase = MEASURING;
    take_reading(&before);
    while (since(before.time) < options.duration && dead < options.connections) serve_events();
    take_reading(&after);
}

/* ------------------------------------------------------------------------ arguments */

static void refuse(const char *what, const char *which)
{
    fprintf(stderr, "load: %s %s\n", what, which);
    exit(2);
}

/* The place of a word in a list that NULL ends. */
static int choose(const char *word, const char *const *words)
{
    for (int i = 0; words[i]; i++)
        if (!strcmp(word, words[i])) return i;
    refuse("there is no", word);
    return -1;
}

static double number(const char *name, const char *text, double least, double most)
{
    char *end;
    double value = strtod(text, &end);
    if (*end || end == text || !(value >= least && value <= most)) refuse("wrong value:", name);
    return value;
}

static void read_protocol(const char *word)
{
    static const char *const protocols[] = {"tcp", "ws", "http", NULL};
    int which = choose(word, protocols);
    options.is_websocket = which == 1;
    options.is_http = which == 2;
}

static void read_option(const char *name, const char *value)
{
    static const char *const patterns[] = {"pingpong", "down",      "up", "connect",
                                           "idle",     "handshake", NULL};
    static const char *const versions[] = {"any", "1.2", "1.3", NULL};
    static const int numbers[] = {0, TLS1_2_VERSION, TLS1_3_VERSION};
    static const struct {
        const char *name;
        int *to;
    } integers[] = {{"--conns", &options.connections},
                    {"--pipeline", &options.in_flight},
                    {"--ramp", &options.opening},
                    {"--src-count", &options.sources}};
    static const struct {
        const char *name;
        double *to;
    } seconds[] = {{"--warmup", &options.warm_up},
                   {"--duration", &options.duration},
                   {"--hold", &options.hold},
                   {"--ramp-timeout", &options.patience}};
    for (size_t i = 0; i < sizeof integers / sizeof *integers; i++)
        if (!strcmp(name, integers[i].name)) {
            *integers[i].to = (int)number(name, value, 1, 1000000);
            return;
        }
    for (size_t i = 0; i < sizeof seconds / sizeof *seconds; i++)
        if (!strcmp(name, seconds[i].name)) {
            *seconds[i].to = number(name, value, 0, 1e6);
            return;
        }
    if (!strcmp(name, "--target")) options.target = value;
    else if (!strcmp(name, "--backend")) options.backend = value;
    else if (!strcmp(name, "--account")) options.account = value;
    else if (!strcmp(name, "--pattern")) options.pattern = choose(value, patterns);
    else if (!strcmp(name, "--proto")) read_protocol(value);
    else if (!strcmp(name, "--tls-version"))
        options.tls_version = numbers[choose(value, versions)];
    else if (!strcmp(name, "--size")) options.size = (size_t)number(name, value, MARK, MAX_SIZE);
    else if (!strcmp(name, "--watch")) {
        if (options.watching == 256) refuse("too many of", name);
        options.watched[options.watching++] = (int)number(name, value, 1, INT32_MAX);
    } else refuse("there is no option", name);
}

/* Not everything goes together. */
static void check_options(void)
{
    int pattern = options.pattern;
    if (options.is_http && pattern != PINGPONG && pattern != CONNECT)
        refuse("--proto http is for", "pingpong and connect");
    if (options.is_http && options.in_flight > 1) refuse("--proto http has no", "--pipeline");
    if (options.is_cached && !options.is_http) refuse("--cached is for", "--proto http");
    if (pattern == HANDSHAKE && (!options.is_tls || options.is_websocket))
        refuse("handshake is for", "--proto tcp --tls");
    if (options.tls_version && !options.is_tls) refuse("--tls-version is for", "--tls");
}

/* Whether only the arguments are to be checked. */
static int read_arguments(char **words)
{
    int is_check = 0;
    for (; *words; words++) {
        if (!strcmp(*words, "--tls")) options.is_tls = 1;
        else if (!strcmp(*words, "--cached")) options.is_cached = 1;
        else if (!strcmp(*words, "--check")) is_check = 1;
        else if (!words[1]) refuse("no value for", *words);
        else {
            read_option(words[0], words[1]);
            words++;
        }
    }
    check_options();
    if (!is_check && (!options.target || !options.backend))
        refuse("give", "--target and --backend");
    return is_check;
}

static void make_clients(void)
{
    static const char key[] = "dGhlIHNhbXBsZSBub25jZQ==";
    target = parse_address(options.target);
    accept_for(key, sizeof key - 1, accept_wanted);
    snprintf(upgrade, sizeof upgrade,
             "GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
             "Connection: Upgrade\r\nSec-WebSocket-Key: %s\r\nSec-WebSocket-Version: 13\r\n\r\n",
             key);
    if (options.is_tls) {
        /* As clients of WebSockets do (RFC 7301 section 6); opaque TCP passes it over. */
        static const unsigned char protocols[] = "\x08http/1.1";
        client_tls = checked(SSL_CTX_new(TLS_client_method()));
        if (SSL_CTX_set_alpn_protos(client_tls, protocols, sizeof protocols - 1))
            refuse("no ALPN", "OpenSSL");
        /* What clients prefer differs by the version of OpenSSL, and so does what it costs.
         * P-256 is for certificates; TLS 1.2 has one list for both. */
        if (SSL_CTX_set1_groups_list(client_tls, "X25519:P-256") != 1 ||
            SSL_CTX_set_min_proto_version(client_tls, options.tls_version) != 1 ||
            SSL_CTX_set_max_proto_version(client_tls, options.tls_version) != 1)
            refuse("no such TLS", "OpenSSL");
        SSL_CTX_set_verify(client_tls, SSL_VERIFY_NONE, NULL);
        SSL_CTX_set_mode(client_tls, SSL_MODE_ENABLE_PARTIAL_WRITE |
                                         SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                         SSL_MODE_RELEASE_BUFFERS);
    }
    clients = checked(calloc((size_t)options.connections, sizeof *clients));
    for (int i = 0; i < options.connections; i++) {
        clients[i].id = (uint32_t)i;
        clients[i].socket.fd = -1;
        clients[i].times = checked(calloc((size_t)options.in_flight, sizeof(uint64_t)));
    }
}

int main(int count, char **words)
{
    (void)count;
    signal(SIGPIPE, SIG_IGN);
    if (read_arguments(words + 1)) return 0;
    poller = epoll_create1(EPOLL_CLOEXEC);
    if (poller < 0) die("epoll_create1");
    make_pattern();
    make_units();
    make_clients();
    backend_listen(options.backend);
    run_opening();
    if (options.pattern == IDLE) run_idle();
    else run_window();
    report();
    return 0;
}
